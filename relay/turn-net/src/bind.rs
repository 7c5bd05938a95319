//! Listeners' sockets: one for each worker on each address.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
};

use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, Socket, Type};
use turn_proto::Transport;

/// How long the queue of connections that wait to be accepted is.
const BACKLOG: i32 = 1024;

/// What the kernel keeps for a listener whose worker is busy, in bytes. It gives less where
/// `net.core.rmem_max` says so.
const LISTENER_BUFFER: usize = 4 << 20;

/// A port to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSpec {
    /// Its name in the configuration.
    pub name: String,
    /// UDP or TCP.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listener {name:?} cannot listen on {transport} {address}")]
pub struct BindError {
    /// Its name in the configuration.
    pub name: String,
    /// UDP or TCP.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// The sockets of one worker, in the order of the listeners.
#[derive(Debug)]
pub struct BoundListeners {
    pub(crate) udp: Vec<UdpSocket>,
    pub(crate) tcp: Vec<TcpListener>,
}

/// Opens all listeners, once for each worker.
///
/// # Errors
/// When one of them cannot be opened; also when another program has its port, although the workers'
/// sockets could share it.
pub fn bind(listeners: &[ListenerSpec], workers: usize) -> Result<Vec<BoundListeners>, BindError> {
    for listener in listeners {
        // The workers' sockets share their port with each other, and so they would with those of
        // another process of the same user. One socket that shares with nobody tells.
        open(listener, Sharing::Nobody).map_err(|source| error(listener, source))?;
    }
    (0..workers)
        .map(|_| {
            let mut bound = BoundListeners { udp: Vec::new(), tcp: Vec::new() };
            for listener in listeners {
                let socket =
                    open(listener, Sharing::Workers).map_err(|source| error(listener, source))?;
                match listener.transport {
                    Transport::Udp => bound.udp.push(socket.into()),
                    Transport::Tcp => {
                        socket.listen(BACKLOG).map_err(|source| error(listener, source))?;
                        bound.tcp.push(socket.into());
                    }
                }
            }
            Ok(bound)
        })
        .collect()
}

/// Whether an address is one of this machine's, so that sockets can be bound to it.
#[must_use]
pub fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn error(listener: &ListenerSpec, source: io::Error) -> BindError {
    let ListenerSpec { name, transport, address } = listener.clone();
    BindError { name, transport, address, source }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Nobody,
    Workers,
}

fn open(listener: &ListenerSpec, sharing: Sharing) -> io::Result<Socket> {
    let (kind, protocol) = match listener.transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(listener.address), kind, Some(protocol))?;
    if listener.address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if listener.transport == Transport::Tcp {
        // Connections of an earlier process that are still closing must not keep us out.
        socket.set_reuse_address(true)?;
    }
    if sharing == Sharing::Workers {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&listener.address.into())?;
    if listener.transport == Transport::Udp {
        may_fragment(&socket, listener.address, true)?;
        socket.set_recv_buffer_size(LISTENER_BUFFER)?;
        socket.set_send_buffer_size(LISTENER_BUFFER)?;
    }
    Ok(socket)
}

/// Says whether datagrams of a socket may be fragmented on their way. Linux forbids it by default;
/// a relay leaves it to the client (RFC 8656, section 14).
pub(crate) fn may_fragment(
    socket: &impl std::os::fd::AsFd,
    local: SocketAddr,
    may: bool,
) -> io::Result<()> {
    if local.is_ipv4() {
        let mode = if may { Ipv4PathMtuDiscovery::DONT } else { Ipv4PathMtuDiscovery::PROBE };
        set_ip_mtu_discover(socket, mode)?;
    } else {
        let mode = if may { Ipv6PathMtuDiscovery::DONT } else { Ipv6PathMtuDiscovery::PROBE };
        set_ipv6_mtu_discover(socket, mode)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_another_socket_has_is_an_error_that_names_the_listener() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let spec = |port| ListenerSpec {
                name: "edge".to_owned(),
                transport,
                address: SocketAddr::from(([127, 0, 0, 1], port)),
            };
            let first = bind(&[spec(0)], 1).expect("a free port");
            let port = match transport {
                Transport::Udp => first[0].udp[0].local_addr(),
                Transport::Tcp => first[0].tcp[0].local_addr(),
            };
            let taken = spec(port.expect("bound").port());
            let error = bind(std::slice::from_ref(&taken), 1).expect_err("taken");
            assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains("\"edge\""), "{error}");
            drop(first);
            assert_eq!(bind(&[taken], 3).expect("free again").len(), 3);
        }
    }
}
