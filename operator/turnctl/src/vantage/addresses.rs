//! What an agent lets itself be sent to. It trusts the operator; but who has taken that over should get
//! no scanner of the agent's own network with it.

use std::net::{IpAddr, Ipv4Addr};

pub(super) use ipnet::IpNet as Range;

/// Which addresses are probed.
#[derive(Debug, Clone)]
pub(super) struct Addresses(Vec<Range>);

impl Addresses {
    /// Those in one of the ranges; without any, those that lead away from this machine.
    pub(super) const fn new(ranges: Vec<Range>) -> Self {
        Self(ranges)
    }

    pub(super) fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.0.is_empty() {
            leads_away(address)
        } else {
            self.0.iter().any(|range| range.contains(&address))
        }
    }
}

/// Private addresses do too: a fleet may be in one's own network.
fn leads_away(address: IpAddr) -> bool {
    let is_special = match address {
        IpAddr::V4(address) => {
            address.is_link_local() || address == Ipv4Addr::BROADCAST || address.octets()[0] == 0
        }
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(is_special || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(ranges: &[&str], address: &str) -> bool {
        let ranges = ranges.iter().map(|range| range.parse().expect("a range")).collect();
        Addresses::new(ranges).allow(address.parse().expect("an address"))
    }

    #[test]
    fn nothing_here_is_probed_unless_that_is_wanted() {
        for address in ["203.0.113.7", "10.1.2.3", "2001:db8::1", "fd00::1"] {
            assert!(allows(&[], address), "{address}");
        }
        for address in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "fe80::1",
            "224.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "::",
        ] {
            assert!(!allows(&[], address), "{address}");
        }
        assert!(allows(&["127.0.0.0/8", "::1/128"], "127.0.0.1"));
        assert!(!allows(&["203.0.113.0/24"], "198.51.100.1"));
    }
}
