//! Whether every relay that the spec asks for serves clients, and if not, why.

use turn_api::{Validated, ValidatedRegion, Workload, conditions::Reason};

use super::{Finding, relays};
use crate::turnserver::{
    names,
    observed::Observed,
    plan::Plan,
    relay_pod::{Problem, RelayPod},
    rollout,
};

/// How many problems a message names.
const PROBLEMS_NAMED: usize = 3;

pub(super) fn available(plan: &Plan, observed: &Observed) -> Finding {
    let validated = &plan.validated;
    let regions = relays::regions(validated, observed);
    let desired: i32 = regions.iter().map(|region| region.desired).sum();
    let ready: i32 = regions.iter().map(|region| region.ready.min(region.desired)).sum();
    if desired == 0 {
        return none_desired(validated);
    }
    let settled = validated.regions().iter().all(|region| is_settled(plan, region, observed));
    let count = format!("{ready} of {desired} relays are ready");
    if ready >= desired && settled {
        return match relays::without_address(validated, observed) {
            Some(problem) => Finding::no(problem.reason, problem.message),
            None => Finding::yes(count),
        };
    }
    match problems(validated, observed).or_else(|| too_few_nodes(validated, observed)) {
        Some(Problem { reason, message }) => Finding::no(reason, format!("{count}; {message}")),
        None => Finding::no(Reason::RollingOut, rolling_out(count, plan, observed)),
    }
}

/// Whether every relay of the region is as the present spec wants it.
fn is_settled(plan: &Plan, region: &ValidatedRegion, observed: &Observed) -> bool {
    let name = names::workload(plan.validated.name(), region.name());
    let facts = observed.workloads.iter().find(|facts| facts.name == name);
    let child = plan.desired.workload(&name);
    child
        .zip(facts)
        .is_some_and(|(child, facts)| facts.settled && rollout::has_template(child, facts))
}

fn none_desired(validated: &Validated) -> Finding {
    match validated.workload() {
        Workload::Deployment => Finding::no(Reason::NoRelays, "the spec asks for no relay"),
        Workload::DaemonSet => {
            let names: Vec<&str> = validated.regions().iter().map(|r| r.name()).collect();
            let message = format!("no node matches the nodeSelector of {}", names.join(", "));
            Finding::no(Reason::NoNodes, message)
        }
    }
}

fn rolling_out(count: String, plan: &Plan, observed: &Observed) -> String {
    let draining: Vec<&str> =
        observed.pods.iter().filter(|pod| pod.draining).map(|pod| pod.name.as_str()).collect();
    let mut message = count;
    if !draining.is_empty() {
        message = format!("{message}; draining: {}", draining.join(", "));
    }
    if !plan.held_back.is_empty() {
        message = format!("{message}; to be replaced after that: {}", plan.held_back.join(", "));
    }
    message
}

/// The worst problem's reason, and the messages of the first few.
fn problems(validated: &Validated, observed: &Observed) -> Option<Problem> {
    let draining = |pod: &RelayPod| {
        observed.pods.iter().any(|other| other.draining && other.region == pod.region)
    };
    // What the scheduler says of a region with too few nodes is that their ports are taken: by the
    // region's own relays.
    let crowded = |pod: &RelayPod| {
        let of_pod = |region: &&ValidatedRegion| region.name() == pod.region;
        let region = validated.regions().iter().find(of_pod);
        region.is_some_and(|region| missing_nodes(validated, region, observed).is_some())
    };
    // While a relay drains, the one that replaces it waits for its ports: that is no problem.
    let waits = |pod: &RelayPod, problem: &Problem| {
        let unplaced = problem.reason == Reason::PortTaken && pod.node.is_none();
        unplaced && (draining(pod) || crowded(pod))
    };
    let mut found: Vec<(&RelayPod, &Problem)> = observed
        .pods
        .iter()
        .filter_map(|pod| Some((pod, pod.problem.as_ref()?)))
        .filter(|(pod, problem)| !waits(pod, problem))
        .collect();
    found.sort_by_key(|(pod, problem)| (severity(problem.reason), pod.ended, pod.name.clone()));
    let reason = found.first()?.1.reason;
    let messages: Vec<&str> =
        found.iter().take(PROBLEMS_NAMED).map(|(_, problem)| problem.message.as_str()).collect();
    Some(Problem { reason, message: messages.join("; ") })
}

/// How many nodes there are for a region that asks for more relays. One node has one relay.
fn missing_nodes(
    validated: &Validated,
    region: &ValidatedRegion,
    observed: &Observed,
) -> Option<usize> {
    let nodes = observed.nodes_of(region).count();
    let deployment = validated.workload() == Workload::Deployment;
    (deployment && nodes < usize::from(region.replicas())).then_some(nodes)
}

fn too_few_nodes(validated: &Validated, observed: &Observed) -> Option<Problem> {
    validated.regions().iter().find_map(|region| {
        let nodes = missing_nodes(validated, region, observed)?;
        let (name, relays) = (region.name(), region.replicas());
        let message = format!(
            "region {name} asks for {relays} relays, at most one on a node, and its nodeSelector \
             matches {nodes} nodes"
        );
        Some(Problem { reason: Reason::TooFewNodes, message })
    })
}

fn severity(reason: Reason) -> usize {
    const ORDER: [Reason; 4] =
        [Reason::PortTaken, Reason::RelayFailing, Reason::Unschedulable, Reason::RelayNotReady];
    ORDER.iter().position(|one| *one == reason).unwrap_or(ORDER.len())
}
