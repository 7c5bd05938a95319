//! The peer gate: whom clients may reach through the relay.
//!
//! One gate decides for every way to name a peer, and for what arrives at a relayed address. An IPv6
//! address that carries an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo, ISATAP) is judged
//! by both, since it may end at either: it is reached only if both may be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use arrayvec::ArrayVec;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::relayed_address::RelayedTransport;

/// Denied unless allowed by name: what is not the public Internet, or not one host of it.
const DENIED_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::new(255, 255, 255, 255), 32),
];

/// The same for IPv6.
const DENIED_V6: [(Ipv6Addr, u8); 9] = [
    (Ipv6Addr::UNSPECIFIED, 128),
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// The peer is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied;

/// Which ports of a peer's address may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All of them.
    AnyPort,
    /// Another relay of the fleet: its relay ports.
    RelayPorts,
    /// This relay: the ports that are relayed addresses of live allocations.
    OwnRelayPorts,
    /// This relay's address, allowed by name: everything but its listeners.
    ButListeners,
}

/// Who may be reached. The lists are asked in the order of the fields; the first that holds the peer
/// decides, and what none holds may be reached.
#[derive(Debug, Clone, Default)]
pub struct PeerPolicy {
    /// Denied whatever else says.
    pub deny: Vec<IpNet>,
    /// Allowed although a later list denies it.
    pub allow: Vec<IpNet>,
    /// This relay's own addresses.
    pub own: Vec<IpAddr>,
    /// The addresses of the fleet's relays.
    pub relays: Vec<IpAddr>,
    /// The cluster's ranges.
    pub deny_cluster: Vec<IpNet>,
    /// The ports of this relay's listeners for datagrams.
    pub own_listener_ports: Vec<u16>,
    /// The ports that this relay accepts connections on.
    pub own_stream_ports: Vec<u16>,
}

impl PeerPolicy {
    /// What may be reached at an IP address.
    ///
    /// # Errors
    /// When nothing may be.
    pub fn reach(&self, peer: IpAddr) -> Result<Reach, Denied> {
        for form in embedded(peer) {
            self.judge(IpAddr::V4(form))?;
        }
        self.judge(peer)
    }

    /// Whether an address is one of this relay's listeners.
    #[must_use]
    pub fn is_own_listener(&self, address: &SocketAddr) -> bool {
        self.own_listener_ports.contains(&address.port()) && self.own.contains(&address.ip())
    }

    /// The ports of this relay that no peer is reached at.
    pub(crate) fn own_ports(&self, transport: RelayedTransport) -> &[u16] {
        match transport {
            RelayedTransport::Udp => &self.own_listener_ports,
            RelayedTransport::Tcp => &self.own_stream_ports,
        }
    }

    fn judge(&self, peer: IpAddr) -> Result<Reach, Denied> {
        let holds = |list: &[IpNet]| list.iter().any(|net| net.contains(&peer));
        let own = self.own.contains(&peer);
        if holds(&self.deny) {
            Err(Denied)
        } else if holds(&self.allow) {
            Ok(if own { Reach::ButListeners } else { Reach::AnyPort })
        } else if own {
            Ok(Reach::OwnRelayPorts)
        } else if self.relays.contains(&peer) {
            Ok(Reach::RelayPorts)
        } else if holds(&self.deny_cluster) || is_denied_by_default(peer) {
            Err(Denied)
        } else {
            Ok(Reach::AnyPort)
        }
    }
}

fn is_denied_by_default(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(peer) => DENIED_V4
            .iter()
            .any(|(base, len)| Ipv4Net::new(*base, *len).is_ok_and(|net| net.contains(&peer))),
        IpAddr::V6(peer) => DENIED_V6
            .iter()
            .any(|(base, len)| Ipv6Net::new(*base, *len).is_ok_and(|net| net.contains(&peer))),
    }
}

/// The IPv4 addresses that an address may end at.
fn embedded(peer: IpAddr) -> ArrayVec<Ipv4Addr, 2> {
    let mut found = ArrayVec::new();
    let IpAddr::V6(v6) = peer else { return found };
    let bits = u128::from(v6);
    let segments = v6.segments();
    // 32 bits that end `low` bits above the lowest.
    let at = |low: u32| {
        let octets = (bits >> low).to_be_bytes();
        Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15])
    };
    match segments {
        // Mapped and compatible (RFC 4291, section 2.5.5), NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => found.push(at(0)),
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => found.push(at(0)),
        // Local-use NAT64 (RFC 8215) may be cut at /48 or at /96.
        [0x64, 0xff9b, 1, high, middle, low, _, _] => {
            let octets =
                [(high >> 8) as u8, (high & 0xff) as u8, (middle & 0xff) as u8, (low >> 8) as u8];
            found.push(Ipv4Addr::from(octets));
            found.push(at(0));
        }
        // 6to4 (RFC 3056).
        [0x2002, ..] => found.push(at(80)),
        // Teredo (RFC 4380): the server, and the client with its bits turned.
        [0x2001, 0, ..] => {
            found.push(at(64));
            found.push(Ipv4Addr::from(!u32::from(at(0))));
        }
        // ISATAP (RFC 5214): in any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => found.push(at(0)),
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_default_list_holds_whole_ranges_first_and_last_address() {
        let denied = "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 \
                      127.0.0.1 127.255.255.255 169.254.0.0 169.254.169.254 169.254.255.255 \
                      172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.255 192.0.2.7 192.88.99.1 \
                      192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.1 \
                      203.0.113.1 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255 \
                      :: ::1 100::1 2001:db8::1 fc00:: fdff::1 fe80::1 febf::1 fec0::1 feff::1 \
                      ff00:: ff02::1 ::ffff:8.8.8.8";
        for address in denied.split_whitespace() {
            assert_eq!(PeerPolicy::default().reach(ip(address)), Err(Denied), "{address}");
        }
        let allowed = "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 \
                       128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 \
                       192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 \
                       2001:4860::8888 2a00::1 64:ff9b::808:808 2002:808:808::1";
        for address in allowed.split_whitespace() {
            assert_eq!(PeerPolicy::default().reach(ip(address)), Ok(Reach::AnyPort), "{address}");
        }
    }

    #[test]
    fn an_ipv4_address_in_disguise_is_judged_as_what_it_is() {
        let disguises = "::ffff:10.0.0.1 ::10.0.0.1 64:ff9b::10.0.0.1 64:ff9b:1::10.0.0.1 \
                         64:ff9b:1:a00:0:100:: 2002:a00:1::1 2001:0:a00:1::1 \
                         2001:0:808:808::f5ff:fffe 2a00::5efe:a00:1 2a00::200:5efe:a00:1";
        for address in disguises.split_whitespace() {
            assert_eq!(PeerPolicy::default().reach(ip(address)), Err(Denied), "{address}");
        }
        let deny = vec!["8.8.8.8/32".parse().expect("a network")];
        let policy = PeerPolicy { deny, ..PeerPolicy::default() };
        for address in ["8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"] {
            assert_eq!(policy.reach(ip(address)), Err(Denied), "{address}");
        }
    }

    #[test]
    fn the_first_list_that_holds_the_peer_decides() {
        let nets = |text: &str| text.split(' ').map(|net| net.parse().expect("net")).collect();
        let policy = PeerPolicy {
            deny: nets("10.1.0.0/16 8.8.8.0/24"),
            allow: nets("10.0.0.0/8 127.0.0.1/32"),
            own: vec![ip("127.0.0.1"), ip("203.0.113.1")],
            relays: vec![ip("203.0.113.1"), ip("203.0.113.2"), ip("8.8.8.8")],
            deny_cluster: nets("1.2.0.0/16"),
            own_listener_ports: vec![3478],
            own_stream_ports: vec![3478],
        };
        let check =
            |address, expected| assert_eq!(policy.reach(ip(address)), expected, "{address}");
        check("10.1.0.1", Err(Denied));
        check("10.2.0.1", Ok(Reach::AnyPort));
        check("127.0.0.1", Ok(Reach::ButListeners));
        check("203.0.113.1", Ok(Reach::OwnRelayPorts));
        check("203.0.113.2", Ok(Reach::RelayPorts));
        check("203.0.113.3", Err(Denied));
        check("8.8.8.8", Err(Denied));
        check("1.2.3.4", Err(Denied));
        check("1.3.3.4", Ok(Reach::AnyPort));
    }
}
