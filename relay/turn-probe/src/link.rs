//! A client's socket.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream, UdpSocket},
};
use tokio_rustls::TlsConnector;
use turn_client::FrameBuffer;

use crate::{Cause, Exchange, Side, Target, Transport, Trust, secure_datagrams::SecureDatagrams};

/// A header of the PROXY protocol, version 2, of a load balancer that connects for itself: command
/// LOCAL, no addresses.
const PROXY_LOCAL: &[u8; 16] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// TCP, or TLS over it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// A socket that is connected to the server.
pub(crate) enum Link {
    Udp(UdpSocket),
    Dtls(SecureDatagrams),
    Stream { stream: Pin<Box<dyn Stream>>, frames: FrameBuffer },
}

/// Where a socket is bound: at any port of the address that was asked for, or of any address of the
/// server's family.
fn local(server: SocketAddr, bind: Option<IpAddr>) -> SocketAddr {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(bind.unwrap_or(any), 0)
}

impl Link {
    pub(crate) async fn connect(target: &Target) -> Result<Self, Cause> {
        match target.transport {
            Transport::Udp => Ok(Self::Udp(udp(target).await?)),
            Transport::Dtls => {
                let link = SecureDatagrams::connect(udp(target).await?, trust(target)?).await?;
                Ok(Self::Dtls(link))
            }
            Transport::Tcp => Ok(Self::stream(tcp(target).await?)),
            Transport::Tls => {
                let trust = trust(target)?;
                let connector = TlsConnector::from(trust.tls());
                let stream = connector
                    .connect(trust.name(target.server.ip()), tcp(target).await?)
                    .await
                    .map_err(|error| handshake_failed(&error))?;
                Ok(Self::stream(stream))
            }
        }
    }

    fn stream(stream: impl Stream + 'static) -> Self {
        Self::Stream { stream: Box::pin(stream), frames: FrameBuffer::new() }
    }

    /// Reads once. Losing a race against something else loses no bytes.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.recv(buffer).await,
            Self::Dtls(link) => link.read(buffer).await,
            Self::Stream { stream, .. } => stream.read(buffer).await,
        }
    }

    pub(crate) async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(message).await.map(|_| ()),
            Self::Dtls(link) => link.write(message).await,
            Self::Stream { stream, .. } => {
                stream.write_all(message).await?;
                stream.flush().await
            }
        }
    }

    /// Says to a DTLS server that nothing more comes, so that it need not wait. A stream just ends.
    pub(crate) fn say_goodbye(&mut self) {
        if let Self::Dtls(link) = self {
            link.say_goodbye();
        }
    }

    /// Gives what was read to the probe.
    pub(crate) fn deliver(
        &mut self,
        now: std::time::Instant,
        exchange: &mut Exchange,
        side: Side,
        read: &[u8],
    ) -> Result<(), Cause> {
        match self {
            Self::Dtls(_) | Self::Stream { .. } if read.is_empty() => return Err(Cause::Closed),
            Self::Udp(_) | Self::Dtls(_) => exchange.handle_input(now, side, read),
            Self::Stream { frames, .. } => {
                frames.push(read);
                while let Some(message) = frames.next_frame().map_err(|_| Cause::NotTurn)? {
                    exchange.handle_input(now, side, message);
                }
            }
        }
        Ok(())
    }
}

/// What a handshake of TLS has failed of.
fn handshake_failed(error: &io::Error) -> Cause {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(fault)) => fault.into(),
        Some(_) | None => Cause::Handshake(format!("TLS: {error}")),
    }
}

fn trust(target: &Target) -> Result<&Trust, Cause> {
    let nobody = || Cause::Handshake(format!("{}: nobody is trusted", target.transport));
    target.trust.as_ref().ok_or_else(nobody)
}

/// A socket at any port of the prober's.
pub(crate) async fn udp_socket(target: &Target) -> io::Result<UdpSocket> {
    UdpSocket::bind(local(target.server, target.bind)).await
}

async fn udp(target: &Target) -> io::Result<UdpSocket> {
    let socket = udp_socket(target).await?;
    socket.connect(target.server).await?;
    Ok(socket)
}

async fn tcp(target: &Target) -> io::Result<TcpStream> {
    let local = local(target.server, target.bind);
    let socket = match local {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(local)?;
    let mut stream = socket.connect(target.server).await?;
    stream.set_nodelay(true)?;
    // A packet that does not get through holds up all that comes after it, the end of the allocation
    // and of the connection among it. A reset does not wait, and the server keeps nothing of the probe.
    stream.set_zero_linger()?;
    if target.as_proxy {
        stream.write_all(PROXY_LOCAL).await?;
    }
    Ok(stream)
}
