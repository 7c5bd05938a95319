//! The relays that there are, by region, and how clients reach them.

use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc};

use k8s_openapi::jiff::Timestamp;
use turn_api::{
    ListenerReachability, Protocol, Reached, RegionStatus, RelayStatus, TurnServerStatus,
    Validated, Workload, conditions::Reason,
};
use turn_probe::{
    Transport,
    diagnosis::Finding,
    survey::{RelayVerdict, SubjectVerdict},
};

use crate::turnserver::{
    certificate::{Certificate, CertificateState},
    gate,
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
    let present = || observed.pods.iter().filter(|pod| !pod.ended);
    let addressed = Addressed { validated, certificate, observed };
    let urls: BTreeSet<_> = present().flat_map(|pod| addressed.urls(pod)).collect();
    status.urls = urls.iter().map(Url::to_string).collect();
    status.replicas = count(present().filter(|pod| !pod.draining));
    status.ready_replicas = count(present().filter(|pod| pod.ready));
    status.relays = present().map(|pod| relay(pod, &addressed)).collect();
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

fn relay(pod: &RelayPod, addressed: &Addressed<'_>) -> RelayStatus {
    let Addressed { validated, observed, .. } = addressed;
    let verdict = observed.reachability.as_ref().and_then(|all| all.relays.get(&*pod.name));
    let urls: BTreeSet<_> = addressed.urls(pod).into_iter().collect();
    RelayStatus {
        pod: pod.name.clone(),
        node: pod.node.clone(),
        region: pod.region.clone(),
        addresses: addresses(pod, validated, observed).iter().map(IpAddr::to_string).collect(),
        ready: pod.ready,
        draining: pod.draining,
        full: verdict.is_some_and(|verdict| verdict.full),
        urls: urls.iter().map(Url::to_string).collect(),
        reachability: verdict.map(reachability).unwrap_or_default(),
    }
}

/// A row for each listener and address; of a port with two transports, one for each.
fn reachability(verdict: &RelayVerdict) -> Vec<ListenerReachability> {
    let names = |list: &[Arc<str>]| list.iter().map(ToString::to_string).collect();
    let row = |of: &SubjectVerdict| ListenerReachability {
        listener: of.subject.listener.to_string(),
        address: of.subject.address.to_string(),
        reached: match of.reached {
            Some(true) => Reached::True,
            Some(false) => Reached::False,
            None => Reached::Unknown,
        },
        reason: of.finding.as_ref().map(|finding| finding.reason.to_string()),
        message: of.finding.as_ref().map(Finding::line),
        reached_from: names(&of.reached_from),
        not_reached_from: names(&of.not_reached_from),
    };
    verdict.subjects.iter().map(row).collect()
}

/// What the clients of a relay are told, IPv4 before IPv6.
fn addresses(pod: &RelayPod, validated: &Validated, observed: &Observed) -> Vec<IpAddr> {
    let node = pod.node.as_deref().and_then(|name| observed.node(name));
    let both = node.into_iter().flat_map(|node| node.advertised(validated.advertised()));
    both.filter_map(|(_, public)| public).collect()
}

/// What URLs are made of.
#[derive(Clone, Copy)]
struct Addressed<'a> {
    validated: &'a Validated,
    certificate: Option<&'a Certificate>,
    observed: &'a Observed,
}

/// A URL that clients may be given. In the order in which they are: first what every client can use,
/// then what needs a certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Url {
    is_secure: bool,
    host: Host,
    transport: Protocol,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Host {
    Ip(IpAddr),
    /// The domain of the certificate.
    Name(String),
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_secure, host, transport, port } = self;
        let scheme = if *is_secure { "turns" } else { "turn" };
        let transport = transport.as_str().to_lowercase();
        match host {
            Host::Ip(IpAddr::V4(v4)) => write!(f, "{scheme}:{v4}:{port}?transport={transport}"),
            Host::Ip(IpAddr::V6(v6)) => write!(f, "{scheme}:[{v6}]:{port}?transport={transport}"),
            Host::Name(name) => write!(f, "{scheme}:{name}:{port}?transport={transport}"),
        }
    }
}

impl Addressed<'_> {
    /// What the clients of a relay may be given: of one that serves, what is not known to be out of
    /// reach.
    fn urls(&self, pod: &RelayPod) -> Vec<Url> {
        if !pod.ready {
            return Vec::new();
        }
        let unreached = match &self.observed.reachability {
            Some(verdict) => gate::left_out(verdict, &pod.name),
            None => Vec::new(),
        };
        let listeners =
            self.validated.listeners().iter().filter(|listener| listener.port() != DNS_PORT);
        let addresses = addresses(pod, self.validated, self.observed);
        let mut urls = Vec::new();
        for listener in listeners {
            for (transport, is_secure, over) in spoken(listener.protocol()) {
                let is_reached = |address: &&IpAddr| {
                    !unreached.iter().any(|subject| {
                        *subject.listener == *listener.name()
                            && subject.address == **address
                            && subject.transport == *over
                    })
                };
                let reached = addresses.iter().filter(is_reached).copied().collect::<Vec<_>>();
                let (is_secure, transport, port) = (*is_secure, *transport, listener.port());
                let hosts = if is_secure { self.named(&reached) } else { by_address(&reached) };
                urls.extend(hosts.into_iter().map(|host| Url { is_secure, host, transport, port }));
            }
        }
        urls
    }

    /// By each address that the certificate is valid for, and by its domain where it is not valid for
    /// all.
    fn named(&self, addresses: &[IpAddr]) -> Vec<Host> {
        let Some(certificate) = self.certificate else { return Vec::new() };
        let covered: Vec<_> =
            addresses.iter().copied().filter(|address| certificate.covers(*address)).collect();
        let mut hosts = by_address(&covered);
        if hosts.len() < addresses.len() {
            hosts.extend(certificate.domain().map(|name| Host::Name(name.to_owned())));
        }
        hosts
    }
}

fn by_address(addresses: &[IpAddr]) -> Vec<Host> {
    addresses.iter().copied().map(Host::Ip).collect()
}

/// What browsers speak with a listener: over UDP or TCP, whether with TLS, and what it is to a probe.
/// Never DTLS, which no browser speaks with a relay: libwebrtc would take it for UDP and wait for an
/// answer that does not come.
const fn spoken(protocol: Protocol) -> &'static [(Protocol, bool, Transport)] {
    const UDP: (Protocol, bool, Transport) = (Protocol::Udp, false, Transport::Udp);
    const TCP: (Protocol, bool, Transport) = (Protocol::Tcp, false, Transport::Tcp);
    const TLS: (Protocol, bool, Transport) = (Protocol::Tcp, true, Transport::Tls);
    match protocol {
        Protocol::Udp => &[UDP],
        Protocol::Tcp => &[TCP],
        Protocol::Tls => &[TLS],
        Protocol::Dtls => &[],
        Protocol::Auto => &[TCP, TLS],
    }
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
