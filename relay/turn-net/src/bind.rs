//! Listeners' sockets: one for each worker on each address.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
};

use ipnet::IpNet;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Socket, Type};

use crate::Protocol;

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
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
    /// Where connections come from that begin with a header of the PROXY protocol.
    pub proxies: Vec<IpNet>,
}

impl ListenerSpec {
    /// What no two listeners have in common: a set of ports, TCP's or UDP's, and a place in it.
    #[must_use]
    pub const fn socket(&self) -> (bool, SocketAddr) {
        (self.protocol.is_stream(), self.address)
    }
}

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listener {name:?} cannot listen on {protocol} {address}")]
pub struct BindError {
    /// Its name in the configuration.
    pub name: String,
    /// What was to be spoken there.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// The sockets of one worker, in the order of the listeners.
#[derive(Debug, Default)]
pub struct BoundListeners {
    pub(crate) datagram: Vec<(UdpSocket, ListenerSpec)>,
    pub(crate) stream: Vec<(TcpListener, ListenerSpec)>,
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
            let mut bound = BoundListeners::default();
            for listener in listeners {
                bound.add(listener).map_err(|source| error(listener, source))?;
            }
            Ok(bound)
        })
        .collect()
}

impl BoundListeners {
    fn add(&mut self, listener: &ListenerSpec) -> io::Result<()> {
        let socket = open(listener, Sharing::Workers)?;
        if listener.protocol.is_stream() {
            socket.listen(BACKLOG)?;
            self.stream.push((socket.into(), listener.clone()));
        } else {
            self.datagram.push((socket.into(), listener.clone()));
        }
        Ok(())
    }
}

/// Whether an address is one of this machine's, so that sockets can be bound to it.
#[must_use]
pub fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn error(listener: &ListenerSpec, source: io::Error) -> BindError {
    let ListenerSpec { name, protocol, address, .. } = listener.clone();
    BindError { name, protocol, address, source }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Nobody,
    Workers,
}

fn open(listener: &ListenerSpec, sharing: Sharing) -> io::Result<Socket> {
    let is_stream = listener.protocol.is_stream();
    let (kind, protocol) = if is_stream {
        (Type::STREAM, socket2::Protocol::TCP)
    } else {
        (Type::DGRAM, socket2::Protocol::UDP)
    };
    let socket = Socket::new(Domain::for_address(listener.address), kind, Some(protocol))?;
    if listener.address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if is_stream {
        // Connections of an earlier process that are still closing must not keep us out.
        socket.set_reuse_address(true)?;
    }
    if sharing == Sharing::Workers {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&listener.address.into())?;
    if !is_stream {
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
        for protocol in [Protocol::Udp, Protocol::Tcp, Protocol::Tls, Protocol::Dtls] {
            let spec = |port| ListenerSpec {
                name: "edge".to_owned(),
                protocol,
                address: SocketAddr::from(([127, 0, 0, 1], port)),
                proxies: Vec::new(),
            };
            let first = bind(&[spec(0)], 1).expect("a free port");
            let port = match protocol.is_stream() {
                false => first[0].datagram[0].0.local_addr(),
                true => first[0].stream[0].0.local_addr(),
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
