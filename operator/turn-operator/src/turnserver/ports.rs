//! Which `TurnServer`s want the same ports on the same nodes, and which of them yields.

use std::{collections::BTreeSet, fmt};

use k8s_openapi::jiff::Timestamp;
use turn_api::{Protocol, RelayPorts, Validated, Workload, conditions::Reason};

use super::observed::{NodeFacts, Observed};

/// How many nodes a message names.
const NODES_NAMED: usize = 3;

/// Why a `TurnServer` cannot have its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortProblem {
    /// An older `TurnServer` has some of them.
    Conflict {
        /// Namespace and name of the older one.
        with: String,
        /// The ports, such as `UDP 3478`.
        ports: Vec<String>,
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Two regions of a DaemonSet want relays on one node.
    RegionsOverlap {
        /// The regions.
        regions: [String; 2],
        /// The nodes.
        nodes: Vec<String>,
    },
}

impl PortProblem {
    /// The reason of the condition.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Conflict { .. } => Reason::PortConflict,
            Self::RegionsOverlap { .. } => Reason::RegionsOverlap,
        }
    }
}

impl fmt::Display for PortProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { with, ports, nodes } => write!(
                f,
                "TurnServer {with} is older and has {} on {}: choose other ports, or other nodes",
                ports.join(", "),
                named(nodes),
            ),
            Self::RegionsOverlap { regions: [a, b], nodes } => write!(
                f,
                "regions {a} and {b} both select {}, and a DaemonSet has one relay on each node of \
                 each region: make their nodeSelectors disjoint",
                named(nodes),
            ),
        }
    }
}

fn named(nodes: &[String]) -> String {
    let first = nodes.iter().take(NODES_NAMED).cloned().collect::<Vec<_>>().join(", ");
    match nodes.len() {
        1 => format!("node {first}"),
        count if count <= NODES_NAMED => format!("nodes {first}"),
        count => format!("nodes {first} and {} more", count - NODES_NAMED),
    }
}

/// What keeps `validated` from its ports. Of two that collide, the newer yields, whether the older
/// has relays on those nodes now or not: so the outcome does not depend on who was quicker.
#[must_use]
pub fn find_problem(validated: &Validated, observed: &Observed) -> Option<PortProblem> {
    overlapping_regions(validated, observed).or_else(|| conflict(validated, observed))
}

/// The order of precedence: creation, then namespace and name.
fn age(validated: &Validated) -> (Timestamp, &str, &str) {
    // One from a file is newer than all that the API server has.
    let created = validated.created().unwrap_or(Timestamp::MAX);
    (created, validated.namespace(), validated.name())
}

fn conflict(validated: &Validated, observed: &Observed) -> Option<PortProblem> {
    let mut older: Vec<&Validated> =
        observed.others.iter().filter(|other| age(other) < age(validated)).collect();
    older.sort_by_key(|other| age(other));
    older.into_iter().find_map(|other| {
        let ports = shared_ports(validated, other);
        let nodes = shared_nodes(validated, other, observed);
        let with = format!("{}/{}", other.namespace(), other.name());
        (!ports.is_empty() && !nodes.is_empty()).then_some(PortProblem::Conflict {
            with,
            ports,
            nodes,
        })
    })
}

fn shared_ports(a: &Validated, b: &Validated) -> Vec<String> {
    let mut shared = BTreeSet::new();
    for (protocol, one) in a.node_ports() {
        for (_, other) in b.node_ports().filter(|(of, _)| *of == protocol) {
            shared.extend(intersection(one, other).map(|range| (protocol, range.from, range.to)));
        }
    }
    shared.into_iter().map(|(protocol, from, to)| port_text(protocol, from, to)).collect()
}

fn intersection(a: RelayPorts, b: RelayPorts) -> Option<RelayPorts> {
    let (from, to) = (a.from.max(b.from), a.to.min(b.to));
    (from <= to).then_some(RelayPorts { from, to })
}

fn port_text(protocol: Protocol, from: u16, to: u16) -> String {
    let protocol = protocol.as_str();
    if from == to { format!("{protocol} {from}") } else { format!("{protocol} {from}-{to}") }
}

fn shared_nodes(a: &Validated, b: &Validated, observed: &Observed) -> Vec<String> {
    let selects = |node: &NodeFacts| b.regions().iter().any(|r| r.selects(&node.labels));
    observed.candidates(a).filter(|node| selects(node)).map(|node| node.name.clone()).collect()
}

fn overlapping_regions(validated: &Validated, observed: &Observed) -> Option<PortProblem> {
    if validated.workload() == Workload::Deployment {
        return None;
    }
    let regions = validated.regions();
    let pairs = regions
        .iter()
        .enumerate()
        .flat_map(|(index, a)| regions[index + 1..].iter().map(move |b| (a, b)));
    pairs.into_iter().find_map(|(a, b)| {
        let nodes: Vec<String> = observed
            .nodes_of(a)
            .filter(|node| b.selects(&node.labels))
            .map(|node| node.name.clone())
            .collect();
        let regions = [a.name().to_owned(), b.name().to_owned()];
        (!nodes.is_empty()).then_some(PortProblem::RegionsOverlap { regions, nodes })
    })
}

#[cfg(test)]
mod tests {
    use turn_api::{Document, TurnServer};

    use super::*;

    fn validated(name: &str, created: &str, spec: &str) -> Validated {
        let text = format!(
            "{{apiVersion: turnpike.dev/v1alpha1, kind: TurnServer, spec: {spec}, metadata: \
             {{name: {name}, namespace: media, creationTimestamp: '{created}'}}}}"
        );
        let server: TurnServer = Document::read_all(&text).remove(0).expect("one").turn_server;
        Validated::try_from(&server).expect("a valid one")
    }

    /// Three nodes in the regions east, west and west.
    fn observed(others: Vec<Validated>) -> Observed {
        let node = |(name, region): (&str, &str)| NodeFacts {
            name: name.to_owned(),
            labels: [("region".to_owned(), region.to_owned())].into(),
            ..NodeFacts::default()
        };
        let nodes = [("n1", "east"), ("n2", "west"), ("n3", "west")].map(node).into();
        Observed { nodes, others, ..Observed::default() }
    }

    const OLD: &str = "2029-01-01T00:00:00Z";
    const NEW: &str = "2030-01-01T00:00:00Z";
    const EAST: &str = "{regions: [{name: r, nodeSelector: {region: east}}]}";
    const WEST: &str = "{regions: [{name: r, nodeSelector: {region: west}}]}";

    /// Whether the second yields to the first, and what is said then.
    #[track_caller]
    fn check(first: (&str, &str, &str), second: (&str, &str, &str), expected: Option<&str>) {
        let of = |(name, created, spec)| validated(name, created, spec);
        let found = find_problem(&of(second), &observed(vec![of(first)]));
        let found = found.map(|problem| problem.to_string());
        match (&found, expected) {
            (Some(found), Some(expected)) => {
                assert!(found.contains(expected), "{found} lacks {expected}");
            }
            (found, expected) => assert_eq!(found.as_deref(), expected),
        }
    }

    #[test]
    fn the_newer_yields() {
        let says = Some("TurnServer media/a is older and has UDP 3478");
        check(("a", OLD, "{}"), ("b", NEW, "{}"), says);
        check(("a", NEW, "{}"), ("b", OLD, "{}"), None);
        // Of the same second: by name.
        check(("a", NEW, "{}"), ("b", NEW, "{}"), says);
        check(("b", NEW, "{}"), ("a", NEW, "{}"), None);
    }

    #[test]
    fn only_the_same_ports_on_the_same_nodes_collide() {
        check(("a", OLD, EAST), ("b", NEW, WEST), None);
        check(("a", OLD, "{}"), ("b", NEW, WEST), Some("on nodes n2, n3"));
        check(("a", OLD, "{}"), ("b", NEW, EAST), Some("on node n1"));
        let apart = "{listeners: [{name: u, protocol: UDP, port: 5000}], admin: {port: 5001}, \
                     relayPorts: {from: 50000, to: 50999}}";
        check(("a", OLD, "{}"), ("b", NEW, apart), None);
        // UDP and TCP ports of one number are two ports.
        let tcp = "{listeners: [{name: t, protocol: TCP, port: 61000}], admin: {port: 5001}, \
                   relayPorts: {from: 50000, to: 50999}}";
        check(("a", OLD, "{}"), ("b", NEW, tcp), None);
        // Unless the relayed ports are ports of TCP too.
        let relayed = "{features: {tcpRelaying: true}}";
        check(("a", OLD, relayed), ("b", NEW, tcp), Some("has TCP 61000 on"));
        check(("a", OLD, tcp), ("b", NEW, relayed), Some("has TCP 61000 on"));
        // A listener among the other's relayed ports, and an HTTP port that is a listener's.
        let among = apart.replace("port: 5000}", "port: 61005}");
        check(("a", OLD, "{}"), ("b", NEW, &among), Some("has UDP 61005 on"));
        let admin = apart.replace("port: 5001", "port: 3478");
        check(("a", OLD, "{}"), ("b", NEW, &admin), Some("has TCP 3478 on"));
    }

    #[test]
    fn regions_of_a_daemon_set_must_not_share_a_node() {
        let spec = "{workload: DaemonSet, regions: [{name: all}, {name: w, nodeSelector: {region: west}}]}";
        let found = find_problem(&validated("a", OLD, spec), &observed(Vec::new()));
        let found = found.expect("they overlap");
        assert_eq!(found.reason(), Reason::RegionsOverlap);
        assert!(found.to_string().contains("regions all and w both select nodes n2, n3"));
        let deployment = spec.replace("DaemonSet", "Deployment");
        assert_eq!(find_problem(&validated("a", OLD, &deployment), &observed(Vec::new())), None);
    }
}
