//! Relayed addresses that peers connect to, and that connections to peers come from (RFC 6062).

use std::{io, net::SocketAddr};

use mio::{
    Interest, Registry, Token,
    net::{TcpListener, TcpStream},
};
use socket2::{Domain, Protocol, Socket, Type};
use turn_proto::{FiveTuple, OpenError, RelayedId};

use crate::{client_path::ClientPath, log_budget::log_rarely};

/// How many connections of peers may wait to be accepted.
const BACKLOG: i32 = 16;

/// The listening socket of one relayed transport address.
pub(crate) struct RelayedListener {
    pub(crate) id: RelayedId,
    /// How the client is reached.
    pub(crate) path: ClientPath,
    pub(crate) client: FiveTuple,
    pub(crate) socket: TcpListener,
}

impl RelayedListener {
    /// Opens the socket. Connections to peers come from the same port, so the sockets have to share
    /// it with each other; one that shares with nobody finds out first whether another program has
    /// it.
    pub(crate) fn open(
        registry: &Registry,
        token: Token,
        id: RelayedId,
        local: SocketAddr,
        path: ClientPath,
        client: FiveTuple,
    ) -> Result<Self, OpenError> {
        let open = || {
            bound(local, false)?.listen(BACKLOG)?;
            let socket = bound(local, true)?;
            socket.listen(BACKLOG)?;
            let mut socket = TcpListener::from_std(socket.into());
            registry.register(&mut socket, token, Interest::READABLE)?;
            Ok(Self { id, path, client, socket })
        };
        open().map_err(|error: io::Error| {
            if error.kind() == io::ErrorKind::AddrInUse {
                return OpenError::PortTaken;
            }
            log_rarely!(WARN, %local, %error, "no relayed socket");
            OpenError::Unavailable
        })
    }

    pub(crate) fn close(mut self, registry: &Registry) {
        // The descriptor is closed with the socket, which unregisters it too.
        let _closed_anyway = registry.deregister(&mut self.socket);
    }
}

/// Begins a connection from a relayed address to a peer. It is there when it becomes writable.
pub(crate) fn connect(
    registry: &Registry,
    token: Token,
    local: SocketAddr,
    peer: SocketAddr,
) -> io::Result<TcpStream> {
    let socket = bound(local, true)?;
    match socket.connect(&peer.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let mut stream = TcpStream::from_std(socket.into());
    registry.register(&mut stream, token, Interest::WRITABLE)?;
    Ok(stream)
}

/// Whether a connection that was begun is there. `None`: not yet.
pub(crate) fn is_connected(stream: &TcpStream) -> Option<bool> {
    if !matches!(stream.take_error(), Ok(None)) {
        return Some(false);
    }
    match stream.peer_addr() {
        Ok(_) => Some(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
        Err(_) => Some(false),
    }
}

fn bound(local: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(local), Type::STREAM, Some(Protocol::TCP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier allocation that are still closing must not keep us out.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_listens_and_connects_but_never_with_another_program() {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = bound(local, true).expect("a free port");
        first.listen(1).expect("listening");
        let local = first.local_addr().expect("bound").as_socket().expect("an address");
        let error = bound(local, false).and_then(|socket| socket.listen(1)).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let peer = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let registry = mio::Poll::new().expect("a poll");
        let to = peer.local_addr().expect("bound");
        let _begun = connect(registry.registry(), Token(0), local, to).expect("begun");
        assert_eq!(peer.accept().expect("accepted").1, local);
    }
}
