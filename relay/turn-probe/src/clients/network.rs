//! Networks that clients come from.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A network that clients come from: a /16 of IPv4 or a /32 of IPv6. What providers are given, and
/// coarse enough to tell of no person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpAddr);

/// A text that names no such network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a /16 of IPv4 or a /32 of IPv6, without bits beyond")]
pub struct NotANetwork;

impl Network {
    /// That of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4) & 0xFFFF_0000).into(),
            IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & 0xFFFF_FFFF << 96).into(),
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0, if self.0.is_ipv4() { 16 } else { 32 })
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, _) = text.split_once('/').ok_or(NotANetwork)?;
        let found = Self::of(address.parse().map_err(|_| NotANetwork)?);
        if found.to_string() == text { Ok(found) } else { Err(NotANetwork) }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_its_text_and_nothing_else_is() {
        for (address, text) in [("203.0.113.9", "203.0.0.0/16"), ("2001:db8:7::1", "2001:db8::/32")]
        {
            let network = Network::of(address.parse().expect("an address"));
            assert_eq!(network.to_string(), text);
            assert_eq!(text.parse(), Ok(network));
        }
        for text in ["", "203.0.0.0", "203.0.0.0/24", "203.0.113.0/16", "2001:DB8::/32", "x/16"] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork), "{text}");
        }
    }
}
