//! The relays that there are, by region, and how clients reach them.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::jiff::Timestamp;
use turn_api::{
    Protocol, RegionStatus, RelayStatus, TurnServerStatus, Validated, ValidatedListener, Workload,
    conditions::Reason,
};

use crate::turnserver::{
    certificate::{Certificate, CertificateState},
    observed::Observed,
    plan::Plan,
    relay_pod::{Problem, RelayPod},
};

/// A port that browsers refuse (the Fetch standard's bad ports, of those that TURN could be on).
const DNS_PORT: u16 = 53;

pub(super) fn fill(
    status: &mut TurnServerStatus,
    plan: &Plan,
    observed: &Observed,
    now: Timestamp,
) {
    let Plan { validated, certificate, .. } = plan;
    let certificate = match certificate {
        CertificateState::Usable(usable) => Some(usable).filter(|it| it.refusal(now).is_none()),
        CertificateState::NotNeeded | CertificateState::Problem { .. } => None,
    };
    status.regions = regions(validated, observed);
    status.desired_replicas = status.regions.iter().map(|region| region.desired).sum();
    status.urls = urls(validated, certificate, observed);
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
        ..RelayStatus::default()
    }
}

/// What the clients of a relay are told, IPv4 before IPv6.
fn addresses(pod: &RelayPod, validated: &Validated, observed: &Observed) -> Vec<IpAddr> {
    let node = pod.node.as_deref().and_then(|name| observed.node(name));
    let both = node.into_iter().flat_map(|node| node.advertised(validated.advertised()));
    both.filter_map(|(_, public)| public).collect()
}

/// First what every client can use, then what needs a certificate: by each address that it is valid
/// for, and by its domain where it is not valid for all. Never DTLS, which no browser speaks with a
/// relay: libwebrtc would take it for UDP and wait for an answer that does not come.
fn urls(
    validated: &Validated,
    certificate: Option<&Certificate>,
    observed: &Observed,
) -> Vec<String> {
    let ready = observed.pods.iter().filter(|pod| pod.ready);
    let addresses: BTreeSet<IpAddr> =
        ready.flat_map(|pod| addresses(pod, validated, observed)).collect();
    let plain = endpoints(validated, |protocol| match protocol {
        Protocol::Udp => Some(Protocol::Udp),
        Protocol::Tcp | Protocol::Auto => Some(Protocol::Tcp),
        Protocol::Tls | Protocol::Dtls => None,
    });
    let secure = endpoints(validated, |protocol| match protocol {
        Protocol::Tls | Protocol::Auto => Some(Protocol::Tcp),
        Protocol::Udp | Protocol::Tcp | Protocol::Dtls => None,
    });
    let all = addresses.iter().map(|address| host(*address));
    let named = certificate.into_iter().flat_map(|it| hosts(it, &addresses));
    urls_of("turn", all, &plain).into_iter().chain(urls_of("turns", named, &secure)).collect()
}

/// The transports and ports that clients can be told, of the listeners that have a transport.
fn endpoints(
    validated: &Validated,
    transport: impl Fn(Protocol) -> Option<Protocol>,
) -> BTreeSet<(Protocol, u16)> {
    let listeners = validated.listeners().iter().filter(|listener| listener.port() != DNS_PORT);
    let endpoint =
        |listener: &ValidatedListener| Some((transport(listener.protocol())?, listener.port()));
    listeners.filter_map(endpoint).collect()
}

fn hosts(certificate: &Certificate, addresses: &BTreeSet<IpAddr>) -> Vec<String> {
    let covered = addresses.iter().filter(|address| certificate.covers(**address));
    let mut hosts: Vec<_> = covered.map(|address| host(*address)).collect();
    if hosts.len() < addresses.len() {
        hosts.extend(certificate.domain().map(str::to_owned));
    }
    hosts
}

fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

fn urls_of(
    scheme: &str,
    hosts: impl Iterator<Item = String>,
    endpoints: &BTreeSet<(Protocol, u16)>,
) -> Vec<String> {
    let url = |host: &str, (transport, port): &(Protocol, u16)| {
        format!("{scheme}:{host}:{port}?transport={}", transport.as_str().to_lowercase())
    };
    let of_host = |host: String| endpoints.iter().map(|it| url(&host, it)).collect::<Vec<_>>();
    hosts.flat_map(of_host).collect()
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
