//! Relayed sockets: what peers see of an allocation.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
};

use mio::{Interest, Registry, Token, net::UdpSocket};
use turn_proto::{IcmpError, OpenError, PeerAddr, RelayedId};

use crate::{bind::may_fragment, client_path::ClientPath, icmp, log_budget::log_rarely};

/// The socket of one relayed transport address.
pub(crate) struct RelayedSocket {
    pub(crate) id: RelayedId,
    /// How the client is reached.
    pub(crate) path: ClientPath,
    socket: UdpSocket,
    local: SocketAddr,
    fragments: bool,
}

impl RelayedSocket {
    /// Opens the socket. It shares its port with nobody, so that the kernel finds out when another
    /// program has it.
    pub(crate) fn open(
        registry: &Registry,
        token: Token,
        id: RelayedId,
        local: SocketAddr,
        path: ClientPath,
    ) -> Result<Self, OpenError> {
        let open = || {
            let mut socket = UdpSocket::bind(local)?;
            may_fragment(&socket, local, true)?;
            icmp::queue_errors(&socket, local)?;
            registry.register(&mut socket, token, Interest::READABLE)?;
            Ok(Self { id, path, socket, local, fragments: true })
        };
        open().map_err(|error: io::Error| {
            if error.kind() == io::ErrorKind::AddrInUse {
                return OpenError::PortTaken;
            }
            log_rarely!(WARN, %local, %error, "no relayed socket");
            OpenError::Unavailable
        })
    }

    /// Takes the socket out of the poll: what comes to it waits in the kernel.
    pub(crate) fn release(&mut self, registry: &Registry) {
        // It is in the poll, or it would not be here.
        let _left_anyway = registry.deregister(&mut self.socket);
    }

    /// Serves the socket from now on, for a client that is reached otherwise than before.
    pub(crate) fn take_in(
        &mut self,
        registry: &Registry,
        token: Token,
        id: RelayedId,
        path: ClientPath,
    ) -> io::Result<()> {
        (self.id, self.path) = (id, path);
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    pub(crate) fn close(mut self, registry: &Registry) {
        // The descriptor is closed with the socket, which unregisters it too: an error here says
        // nothing that anybody could act on.
        let _closed_anyway = registry.deregister(&mut self.socket);
    }

    pub(crate) fn send(
        &mut self,
        payload: &[u8],
        peer: PeerAddr,
        dont_fragment: bool,
    ) -> io::Result<()> {
        if self.fragments == dont_fragment {
            may_fragment(&self.socket, self.local, !dont_fragment)?;
            self.fragments = !dont_fragment;
        }
        let mut sent = self.socket.send_to(payload, peer.0);
        if sent.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
            // It may be what came back for another datagram, to another peer: the kernel tells it
            // once, to whoever calls next.
            sent = self.socket.send_to(payload, peer.0);
        }
        sent.map(|_sent| ())
    }

    /// What came back for a datagram that was sent, and to which peer; `None` when that is all.
    pub(crate) fn next_error(&self) -> Option<(PeerAddr, IcmpError)> {
        loop {
            match icmp::next_error(&self.socket) {
                Ok(Some((peer, error))) => return Some((PeerAddr(peer), error)),
                // It did not come by ICMP.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_no_more) => return None,
            }
        }
    }
}

impl AsFd for RelayedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
