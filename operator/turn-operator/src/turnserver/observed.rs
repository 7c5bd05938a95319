//! What there is, as values: the facts that decisions are made of, taken from the API server's
//! objects.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use k8s_openapi::api::{
    core::v1::{Node, Secret},
    networking::v1::ServiceCIDR,
};
use turn_api::{Advertised, Validated, ValidatedRegion};
use turn_probe::survey::Verdict;

use super::relay_pod::RelayPod;

/// Everything that the decisions about one `TurnServer` are made of. [`Observed::default`] is what
/// a machine without a cluster sees.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The nodes, by name.
    pub nodes: Vec<NodeFacts>,
    /// The ranges that Services get their addresses from, in order.
    pub service_ranges: Vec<IpNet>,
    /// The other `TurnServer`s of the cluster, in any namespace, as far as they are valid and not
    /// being deleted.
    pub others: Vec<Validated>,
    /// The Secret with the credentials, generated or referenced.
    pub secret: Option<Secret>,
    /// The Secret with certificate and key.
    pub tls_secret: Option<Secret>,
    /// The Secret with the tokens of agents outside.
    pub vantages_secret: Option<Secret>,
    /// The relays' pods, by name.
    pub pods: Vec<RelayPod>,
    /// The workloads of the regions.
    pub workloads: Vec<WorkloadFacts>,
    /// What is known of how the relays are reached. None when nobody tries.
    pub reachability: Option<Verdict>,
}

impl Observed {
    /// The nodes that a region may put relays on.
    pub fn nodes_of<'a>(
        &'a self,
        region: &'a ValidatedRegion,
    ) -> impl Iterator<Item = &'a NodeFacts> {
        self.nodes.iter().filter(|node| region.selects(&node.labels))
    }

    /// The nodes that any of the regions may put relays on, each once.
    pub fn candidates<'a>(
        &'a self,
        validated: &'a Validated,
    ) -> impl Iterator<Item = &'a NodeFacts> {
        let selects = |node: &NodeFacts| {
            validated.regions().iter().any(|region| region.selects(&node.labels))
        };
        self.nodes.iter().filter(move |node| selects(node))
    }

    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeFacts> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

/// What matters of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses of type InternalIP, in the node's order: a relay's local addresses.
    pub internal_addresses: Vec<IpAddr>,
    /// Its addresses of type ExternalIP, in the node's order.
    pub external_addresses: Vec<IpAddr>,
    /// The ranges that its pods get their addresses from.
    pub pod_ranges: Vec<IpNet>,
}

impl From<&Node> for NodeFacts {
    fn from(node: &Node) -> Self {
        let status = node.status.as_ref();
        let addresses = |of_type: &str| {
            let all = status.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
            all.iter()
                .filter(|address| address.type_ == of_type)
                .filter_map(|address| address.address.parse().ok())
                .collect()
        };
        let spec = node.spec.as_ref();
        let one = spec.and_then(|spec| spec.pod_cidr.as_ref());
        let ranges = spec.and_then(|spec| spec.pod_cidrs.as_deref()).unwrap_or_default();
        let mut pod_ranges: Vec<IpNet> =
            ranges.iter().chain(one).filter_map(|range| range.parse().ok()).collect();
        pod_ranges.sort();
        pod_ranges.dedup();
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            internal_addresses: addresses("InternalIP"),
            external_addresses: addresses("ExternalIP"),
            pod_ranges,
        }
    }
}

impl NodeFacts {
    /// The local addresses of a relay on this node, at most one of each family, each with the
    /// address that its clients are told, if there is one.
    pub fn advertised(
        &self,
        advertised: &Advertised,
    ) -> impl Iterator<Item = (IpAddr, Option<IpAddr>)> {
        let first = |ipv4: bool| {
            self.internal_addresses.iter().copied().find(|address| address.is_ipv4() == ipv4)
        };
        [first(true), first(false)]
            .into_iter()
            .flatten()
            .map(|local| (local, self.public(local, advertised)))
    }

    fn public(&self, local: IpAddr, advertised: &Advertised) -> Option<IpAddr> {
        let same_family = |list: &[IpAddr]| {
            list.iter().copied().find(|address| address.is_ipv4() == local.is_ipv4())
        };
        match advertised {
            Advertised::Auto => Some(same_family(&self.external_addresses).unwrap_or(local)),
            Advertised::NodeExternalIp => same_family(&self.external_addresses),
            Advertised::NodeInternalIp => Some(local),
            Advertised::Static(addresses) => same_family(addresses.of(&self.name)),
        }
    }

    /// All its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.internal_addresses.iter().chain(&self.external_addresses).copied()
    }
}

/// The ranges that Services get their addresses from, sorted.
#[must_use]
pub fn service_ranges(objects: &[ServiceCIDR]) -> Vec<IpNet> {
    let specs = objects.iter().filter_map(|object| object.spec.as_ref());
    let texts = specs.flat_map(|spec| spec.cidrs.iter().flatten());
    let mut ranges: Vec<IpNet> = texts.filter_map(|text| text.parse().ok()).collect();
    ranges.sort();
    ranges.dedup();
    ranges
}

/// How far a region's workload is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkloadFacts {
    /// The region.
    pub region: String,
    /// The name of the workload.
    pub name: String,
    /// The digest of the pods that it was given.
    pub template_digest: String,
    /// How many relays the cluster wants to run there.
    pub desired: i32,
    /// Whether every relay is what the workload was given, and nothing is left to replace.
    pub settled: bool,
}
