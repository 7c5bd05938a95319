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
