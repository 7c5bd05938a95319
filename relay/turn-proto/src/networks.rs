//! From which networks clients allocate, and over what: where UDP is closed to one network, its
//! clients come over TCP and TLS alone.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use crate::Transport;

/// How many networks are counted apart; those beyond are counted together.
const MAX_NETWORKS: usize = 256;
/// A network from which nobody has allocated for so long makes room for another.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// Allocations, in the order of [`Transport::ALL`].
pub type ByTransport = [u64; Transport::ALL.len()];

/// Allocations that clients made, probers excepted, by the networks that they came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientNetworks {
    /// By the first address of each network: a /16 of IPv4, a /32 of IPv6. Coarse enough to tell of no
    /// person.
    pub named: BTreeMap<IpAddr, ByTransport>,
    /// From all other networks.
    pub other: ByTransport,
}

/// The table of networks.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    named: BTreeMap<IpAddr, Entry>,
    other: ByTransport,
}

#[derive(Debug)]
struct Entry {
    allocated: ByTransport,
    /// When somebody from there has allocated last.
    at: Instant,
}

impl Networks {
    /// Counts an allocation of a client.
    pub(crate) fn allocated(&mut self, client: IpAddr, over: Transport, now: Instant) {
        let network = network(client);
        if !self.named.contains_key(&network) && !self.has_room(now) {
            self.other[over as usize] += 1;
            return;
        }
        let new = Entry { allocated: ByTransport::default(), at: now };
        let entry = self.named.entry(network).or_insert(new);
        entry.allocated[over as usize] += 1;
        entry.at = now;
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if self.named.len() < MAX_NETWORKS {
            return true;
        }
        let oldest = self.named.iter().min_by_key(|(_, entry)| entry.at);
        let oldest = oldest.map(|(network, entry)| (*network, entry.at));
        match oldest {
            Some((network, at)) if now.saturating_duration_since(at) >= FORGET_AFTER => {
                self.named.remove(&network).is_some()
            }
            _ => false,
        }
    }

    pub(crate) fn counted(&self) -> ClientNetworks {
        let named = self.named.iter().map(|(network, entry)| (*network, entry.allocated));
        ClientNetworks { named: named.collect(), other: self.other }
    }
}

fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4) & 0xFFFF_0000).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & 0xFFFF_FFFF << 96).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(index: u16) -> IpAddr {
        let [high, low] = index.to_be_bytes();
        [10 + high, low, 3, 4].into()
    }

    #[test]
    fn a_network_is_a_16_of_ipv4_or_a_32_of_ipv6() {
        for (client, expected) in [
            ("203.0.113.9", "203.0.0.0"),
            ("::ffff:203.0.113.9", "203.0.0.0"),
            ("2001:db8:1:2::3", "2001:db8::"),
        ] {
            let of = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(network(of(client)), of(expected));
        }
    }

    #[test]
    fn the_table_is_bounded_and_what_is_not_in_it_is_counted_together() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do for a test's start")]
        let start = Instant::now();
        let mut networks = Networks::default();
        for index in 0..300 {
            networks.allocated(from(index), Transport::Tcp, start);
        }
        networks.allocated(from(0), Transport::Udp, start + FORGET_AFTER / 2);
        let counted = networks.counted();
        assert_eq!(counted.named.len(), MAX_NETWORKS);
        assert_eq!(counted.named[&network(from(0))], [1, 1, 0, 0]);
        assert_eq!(counted.other, [0, 44, 0, 0]);
        networks.allocated(from(300), Transport::Dtls, start + FORGET_AFTER);
        let counted = networks.counted();
        assert_eq!(counted.named.len(), MAX_NETWORKS, "one that fell silent has made room");
        assert_eq!(counted.named[&network(from(300))], [0, 0, 0, 1]);
        assert!(counted.named.contains_key(&network(from(0))));
    }
}
