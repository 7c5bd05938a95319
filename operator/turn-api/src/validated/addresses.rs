//! Which addresses clients are told.

use std::{collections::BTreeMap, net::IpAddr};

/// Which addresses clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advertised {
    /// The node's ExternalIP, and its InternalIP where it has none of that family.
    Auto,
    /// The node's ExternalIP.
    NodeExternalIp,
    /// The node's InternalIP.
    NodeInternalIp,
    /// Addresses from the spec.
    Static(StaticAddresses),
}

/// Addresses from the spec: at most one of each family for a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StaticAddresses {
    by_node: BTreeMap<String, Vec<IpAddr>>,
    others: Vec<IpAddr>,
}

impl StaticAddresses {
    /// The addresses of a node: its own entries, or else those without a node.
    #[must_use]
    pub fn of(&self, node: &str) -> &[IpAddr] {
        self.by_node.get(node).unwrap_or(&self.others)
    }

    /// Adds an address. False, and nothing added, when there is one of its family already.
    pub(super) fn add(&mut self, node: Option<&str>, address: IpAddr) -> bool {
        let list = match node {
            Some(node) => self.by_node.entry(node.to_owned()).or_default(),
            None => &mut self.others,
        };
        if list.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            return false;
        }
        list.push(address);
        true
    }
}
