//! A client's stream of bytes: TCP, or TLS over it, with or without a load balancer's header before.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr},
    sync::Arc,
};

use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

use crate::{
    Protocol,
    proxy_header::{self, ProxyHeader},
};

/// The first byte of a TLS handshake: a record of that type. No STUN message and no ChannelData
/// starts with it (RFC 7983, section 7).
const TLS_HANDSHAKE: u8 = 0x16;

/// A client's stream.
pub(crate) struct ClientStream {
    pub(crate) tcp: TcpStream,
    layer: Layer,
}

enum Layer {
    /// A load balancer has to say first whom it connects for.
    Header,
    /// Nothing has come that tells what is spoken.
    Undecided,
    Plain,
    Tls(Box<ServerConnection>),
}

/// What the beginning of a stream has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Not enough has come.
    Waiting,
    /// The load balancer has said whom it connects for: client and server. `None`: for itself.
    Header(Option<(SocketAddr, SocketAddr)>),
    /// It is the load balancer's turn, and that is no header.
    NoHeader,
    /// Plain TCP.
    Plain,
    /// TLS.
    Tls,
    /// The client has ended the connection.
    Ended,
}

impl ClientStream {
    /// A connection that was accepted.
    pub(crate) const fn new(tcp: TcpStream, behind_proxy: bool) -> Self {
        let layer = if behind_proxy { Layer::Header } else { Layer::Undecided };
        Self { tcp, layer }
    }

    /// Whether messages can be read.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.layer, Layer::Plain | Layer::Tls(_))
    }

    /// Goes one step towards messages. `tls` is what a handshake is done with.
    pub(crate) fn open(
        &mut self,
        protocol: Protocol,
        tls: Option<&Arc<ServerConfig>>,
    ) -> io::Result<Opening> {
        match self.layer {
            Layer::Header => self.read_header(),
            Layer::Undecided => self.decide(protocol, tls),
            Layer::Plain => Ok(Opening::Plain),
            Layer::Tls(_) => Ok(Opening::Tls),
        }
    }

    fn read_header(&mut self) -> io::Result<Opening> {
        let mut bytes = [0; proxy_header::MAX_LEN];
        let Some(seen) = self.peek(&mut bytes)? else { return Ok(Opening::Waiting) };
        if seen == 0 {
            return Ok(Opening::Ended);
        }
        match proxy_header::parse(&bytes[..seen]) {
            ProxyHeader::Complete { len, addresses } => {
                // It has been seen, so it is there.
                self.tcp.read_exact(&mut bytes[..len])?;
                self.layer = Layer::Undecided;
                Ok(Opening::Header(addresses))
            }
            ProxyHeader::Incomplete => Ok(Opening::Waiting),
            ProxyHeader::Malformed => Ok(Opening::NoHeader),
        }
    }

    fn decide(
        &mut self,
        protocol: Protocol,
        tls: Option<&Arc<ServerConfig>>,
    ) -> io::Result<Opening> {
        let is_tls = match protocol {
            Protocol::Tls => true,
            Protocol::Auto => {
                let mut first = [0];
                match self.peek(&mut first)? {
                    None => return Ok(Opening::Waiting),
                    Some(0) => return Ok(Opening::Ended),
                    Some(_) => first[0] == TLS_HANDSHAKE,
                }
            }
            Protocol::Tcp | Protocol::Udp | Protocol::Dtls => false,
        };
        if !is_tls {
            self.layer = Layer::Plain;
            return Ok(Opening::Plain);
        }
        let config = tls.ok_or_else(|| io::Error::other("no certificate"))?;
        let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        self.layer = Layer::Tls(Box::new(session));
        Ok(Opening::Tls)
    }

    /// Looks at what has come, and leaves it there; `None` when nothing has.
    fn peek(&self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        match self.tcp.peek(bytes) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a TLS handshake is under way.
    pub(crate) fn is_handshaking(&self) -> bool {
        matches!(&self.layer, Layer::Tls(session) if session.is_handshaking())
    }

    /// Whether something that was encrypted waits for the client to read.
    pub(crate) fn has_output(&self) -> bool {
        matches!(&self.layer, Layer::Tls(session) if session.wants_write())
    }

    /// Says that nothing more comes, once all that was written has left: `WouldBlock` before that.
    pub(crate) fn end_writing(&mut self) -> io::Result<()> {
        if let Layer::Tls(session) = &mut self.layer {
            drain(session, &mut self.tcp)?;
            session.send_close_notify();
            drain(session, &mut self.tcp)?;
        }
        self.tcp.shutdown(Shutdown::Write)
    }

    /// Says that nothing more comes, as far as the client takes it at once.
    pub(crate) fn say_goodbye(&mut self) {
        if let Layer::Tls(session) = &mut self.layer {
            session.send_close_notify();
            let _gone_already = drain(session, &mut self.tcp);
        }
    }
}

/// Writes what has been encrypted; `WouldBlock` when the client does not take all of it.
fn drain(session: &mut ServerConnection, tcp: &mut TcpStream) -> io::Result<()> {
    while session.wants_write() {
        if session.write_tls(tcp)? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// The same, where what is left can wait.
fn drain_some(session: &mut ServerConnection, tcp: &mut TcpStream) -> io::Result<()> {
    match drain(session, tcp) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        result => result,
    }
}

/// An error of TLS comes out as [`io::ErrorKind::InvalidData`] with a [`rustls::Error`] within.
impl Read for ClientStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let session = match &mut self.layer {
            Layer::Header | Layer::Undecided => return Err(io::ErrorKind::WouldBlock.into()),
            Layer::Plain => return self.tcp.read(out),
            Layer::Tls(session) => session,
        };
        loop {
            match session.reader().read(out) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Without a word of farewell, but the connection has ended all the same.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            if session.read_tls(&mut self.tcp)? == 0 {
                return Ok(0);
            }
            let processed = session.process_new_packets();
            // An alert too, if there is one to send.
            let drained = drain_some(session, &mut self.tcp);
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            drained?;
        }
    }
}

/// Takes a frame only once the one before has left: what waits, waits where the oldest of it can
/// still be dropped.
impl Write for ClientStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let session = match &mut self.layer {
            Layer::Header | Layer::Undecided => return Err(io::ErrorKind::WouldBlock.into()),
            Layer::Plain => return self.tcp.write(bytes),
            Layer::Tls(session) => session,
        };
        drain(session, &mut self.tcp)?;
        let taken = session.writer().write(bytes)?;
        drain_some(session, &mut self.tcp)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.layer {
            Layer::Tls(session) => drain_some(session, &mut self.tcp),
            Layer::Header | Layer::Undecided | Layer::Plain => Ok(()),
        }
    }
}
