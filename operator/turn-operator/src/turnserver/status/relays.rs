//! The relays that there are, by region, and how clients reach them.

use std::{collections::BTreeSet, net::IpAddr};

use turn_api::{
    Protocol, RegionStatus, RelayStatus, TurnServerStatus, Validated, Workload, conditions::Reason,
};

use crate::turnserver::{
    observed::Observed,
    relay_pod::{Problem, RelayPod},
};

/// A port that browsers refuse (the Fetch standard's bad ports, of those that TURN could be on).
const DNS_PORT: u16 = 53;

pub(super) fn fill(status: &mut TurnServerStatus, validated: &Validated, observed: &Observed) {
    status.regions = regions(validated, observed);
    status.desired_replicas = status.regions.iter().map(|region| region.desired).sum();
    status.urls = urls(validated, observed);
    let present = || observed.pods.iter().filter(|pod| !pod.ended);
    status.replicas = count(present().filter(|pod| !pod.draining));
    status.ready_replicas = count(present().filter(|pod| pod.ready));
    status.relays = present().map(|pod| relay(pod, validated, observed)).collect();
}

fn count<'a>(pods: impl Iterator<Item = &'a RelayPod>) -> i32 {
    i32::try_from(pods.count()).unwrap_or(i32::MAX)
}

/// The regions, in the order of the spec.
pub(super) fn regions(validated: &Validated, observed: &Observed) -> Vec<RegionStatus> {
    let region = |region: &turn_api::ValidatedRegion| RegionStatus {
        name: region.name().to_owned(),
        desired: match validated.workload() {
            Workload::Deployment => region.replicas().into(),
            Workload::DaemonSet => on_each_node(region, observed),
        },
        ready: count(observed.pods.iter().filter(|p| p.ready && p.region == region.name())),
    };
    validated.regions().iter().map(region).collect()
}

/// What the DaemonSet's controller has found, who knows of taints; before that, the nodes that the
/// selector matches.
fn on_each_node(region: &turn_api::ValidatedRegion, observed: &Observed) -> i32 {
    let facts = observed.workloads.iter().find(|facts| facts.region == region.name());
    facts.map_or_else(
        || i32::try_from(observed.nodes_of(region).count()).unwrap_or(i32::MAX),
        |facts| facts.desired,
    )
}

fn relay(pod: &RelayPod, validated: &Validated, observed: &Observed) -> RelayStatus {
    RelayStatus {
        pod: pod.name.clone(),
        node: pod.node.clone(),
        region: pod.region.clone(),
        addresses: addresses(pod, validated, observed).iter().map(IpAddr::to_string).collect(),
        ready: pod.ready,
        draining: pod.draining,
    }
}

/// What the clients of a relay are told, IPv4 before IPv6.
fn addresses(pod: &RelayPod, validated: &Validated, observed: &Observed) -> Vec<IpAddr> {
    let node = pod.node.as_deref().and_then(|name| observed.node(name));
    let both = node.into_iter().flat_map(|node| node.advertised(validated.advertised()));
    both.filter_map(|(_, public)| public).collect()
}

fn urls(validated: &Validated, observed: &Observed) -> Vec<String> {
    let ready = observed.pods.iter().filter(|pod| pod.ready);
    let addresses: BTreeSet<IpAddr> =
        ready.flat_map(|pod| addresses(pod, validated, observed)).collect();
    let listeners: BTreeSet<(Protocol, u16)> = validated
        .listeners()
        .iter()
        .filter(|listener| listener.port != DNS_PORT)
        .map(|listener| (listener.protocol, listener.port))
        .collect();
    let url = |address: &IpAddr, (protocol, port): (Protocol, u16)| {
        let host = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        let transport = protocol.as_str().to_lowercase();
        format!("turn:{host}:{port}?transport={transport}")
    };
    let url = &url;
    addresses
        .iter()
        .flat_map(|address| listeners.iter().map(move |listener| url(address, *listener)))
        .collect()
}

/// A relay that is ready but whose node has no address of the kind that the spec asks for.
pub(super) fn without_address(validated: &Validated, observed: &Observed) -> Option<Problem> {
    let ready = observed.pods.iter().filter(|pod| pod.ready);
    ready.into_iter().find(|pod| addresses(pod, validated, observed).is_empty()).map(|pod| {
        let node = pod.node.as_deref().unwrap_or("?");
        Problem {
            reason: Reason::NoAddress,
            message: format!(
                "relay {} on node {node}: the node has no address that spec.addresses asks for",
                pod.name
            ),
        }
    })
}
