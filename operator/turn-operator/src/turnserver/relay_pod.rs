//! What a relay's pod tells: where it runs, whether it is ready, and what keeps it from that.

use std::net::IpAddr;

use k8s_openapi::{
    api::core::v1::{
        ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus,
    },
    jiff::{SignedDuration, Timestamp},
};
use turn_api::{REGION_LABEL, conditions::Reason};

/// How long a relay may run without being ready until that is said.
const NOT_READY_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// The longest part of a program's last words that is repeated, in characters.
const LONGEST_MESSAGE: usize = 400;

/// The condition of a relay's pod that the operator sets: clients may be sent to it. The pod names it
/// among its readiness gates.
pub const REACHABLE: &str = "turnpike.dev/Reachable";

/// What matters of a relay's pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayPod {
    /// Its name.
    pub name: String,
    /// The node that it is placed on.
    pub node: Option<String>,
    /// Its region.
    pub region: String,
    /// Its addresses: on the network of its node those of the node.
    pub addresses: Vec<IpAddr>,
    /// Whether it serves clients.
    pub ready: bool,
    /// Whether the relay says of itself that it serves, whatever others say.
    pub containers_ready: bool,
    /// Whether its readiness depends on [`REACHABLE`].
    pub is_gated: bool,
    /// What [`REACHABLE`] says.
    pub reachable: Option<GateCondition>,
    /// How long [`REACHABLE`] has been `False`, if it is.
    pub unreached_for: Option<SignedDuration>,
    /// Whether it has been told to end.
    pub draining: bool,
    /// Whether it has ended for good, and only its record is left.
    pub ended: bool,
    /// What keeps it from being ready.
    pub problem: Option<Problem>,
}

/// A condition of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateCondition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// In one word.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// What keeps a relay from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind of problem, as it becomes the reason of a condition.
    pub reason: Reason,
    /// Which pod, on which node, and what it says.
    pub message: String,
}

impl RelayPod {
    /// Reads the pod as it is at `now`.
    #[must_use]
    pub fn new(pod: &Pod, now: Timestamp) -> Self {
        let labels = pod.metadata.labels.as_ref();
        let status = pod.status.clone().unwrap_or_default();
        let ended = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
        let draining = pod.metadata.deletion_timestamp.is_some();
        let ready = !draining && !ended && condition(&status, "Ready").is_some_and(|(yes, _)| yes);
        let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref());
        let gates = gates.unwrap_or_default();
        let mut relay = Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            region: labels.and_then(|l| l.get(REGION_LABEL)).cloned().unwrap_or_default(),
            addresses: addresses(&status),
            ready,
            containers_ready: condition(&status, "ContainersReady").is_some_and(|(yes, _)| yes),
            is_gated: gates.iter().any(|gate| gate.condition_type == REACHABLE),
            reachable: gate_condition(&status),
            unreached_for: unreached_for(&status, now),
            draining,
            ended,
            problem: None,
        };
        if !ready && !draining {
            relay.problem = relay.find_problem(&status, now);
        }
        relay
    }

    /// Whether clients may be sent to it, as far as the pod tells.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        self.reachable.as_ref().is_some_and(|condition| condition.status == "True")
    }

    fn find_problem(&self, status: &PodStatus, now: Timestamp) -> Option<Problem> {
        let container = status.container_statuses.as_deref().unwrap_or_default().first();
        self.rejected(status)
            .or_else(|| self.unschedulable(status))
            .or_else(|| self.failing(container?))
            .or_else(|| self.not_ready(container?, now))
    }

    fn place(&self) -> String {
        match &self.node {
            Some(node) => format!("relay {} on node {node}", self.name),
            None => format!("relay {}", self.name),
        }
    }

    fn problem(&self, reason: Reason, says: &str) -> Option<Problem> {
        Some(Problem { reason, message: format!("{}: {}", self.place(), shortened(says)) })
    }

    /// The kubelet took the pod away, or never admitted it.
    fn rejected(&self, status: &PodStatus) -> Option<Problem> {
        if !self.ended {
            return None;
        }
        let why = status.reason.as_deref().unwrap_or("Failed");
        let says = status.message.as_deref().unwrap_or("it has ended");
        let reason = if why == "NodePorts" { Reason::PortTaken } else { Reason::RelayFailing };
        self.problem(reason, &format!("{why}: {says}"))
    }

    fn unschedulable(&self, status: &PodStatus) -> Option<Problem> {
        let (scheduled, says) = condition(status, "PodScheduled")?;
        if scheduled {
            return None;
        }
        let reason =
            if says.contains("free ports") { Reason::PortTaken } else { Reason::Unschedulable };
        self.problem(reason, says)
    }

    /// The relay has ended, or could not be started.
    fn failing(&self, container: &ContainerStatus) -> Option<Problem> {
        let state = container.state.as_ref();
        let last = terminated(state).or_else(|| terminated(container.last_state.as_ref()));
        if let Some(last) = last.filter(|last| last.exit_code != 0) {
            return self.last_words(last);
        }
        let waiting = state?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().unwrap_or("Waiting");
        if matches!(reason, "ContainerCreating" | "PodInitializing" | "Waiting") {
            return None;
        }
        let says = waiting.message.as_deref().unwrap_or("it cannot be started");
        self.problem(Reason::RelayFailing, &format!("{reason}: {says}"))
    }

    fn last_words(&self, last: &ContainerStateTerminated) -> Option<Problem> {
        let words = last.message.as_deref().map(str::trim).filter(|words| !words.is_empty());
        let Some(words) = words else {
            let says = format!("it ended with exit code {} and said nothing", last.exit_code);
            return self.problem(Reason::RelayFailing, &says);
        };
        let taken = words.to_lowercase().contains("in use");
        self.problem(if taken { Reason::PortTaken } else { Reason::RelayFailing }, words)
    }

    fn not_ready(&self, container: &ContainerStatus, now: Timestamp) -> Option<Problem> {
        let since = container.state.as_ref()?.running.as_ref()?.started_at.as_ref()?.0;
        let long = now.duration_since(since) >= NOT_READY_AFTER;
        let why = match &self.reachable {
            _ if !self.containers_ready => "its readiness probe fails",
            Some(GateCondition { message, .. }) => message.as_str(),
            None => "nobody has said yet whether it is reached",
        };
        let says = format!("it runs since {since}, and {why}");
        if long { self.problem(Reason::RelayNotReady, &says) } else { None }
    }
}

/// The status of a condition of the pod, and its message.
fn condition<'a>(status: &'a PodStatus, of_type: &str) -> Option<(bool, &'a str)> {
    let found = find(status, of_type)?;
    Some((found.status == "True", found.message.as_deref().unwrap_or_default()))
}

fn find<'a>(status: &'a PodStatus, of_type: &str) -> Option<&'a PodCondition> {
    status.conditions.as_deref()?.iter().find(|condition| condition.type_ == of_type)
}

fn unreached_for(status: &PodStatus, now: Timestamp) -> Option<SignedDuration> {
    let found = find(status, REACHABLE).filter(|condition| condition.status == "False")?;
    Some(now.duration_since(found.last_transition_time.as_ref()?.0))
}

fn gate_condition(status: &PodStatus) -> Option<GateCondition> {
    let found = find(status, REACHABLE)?;
    Some(GateCondition {
        status: found.status.clone(),
        reason: found.reason.clone().unwrap_or_default(),
        message: found.message.clone().unwrap_or_default(),
    })
}

fn addresses(status: &PodStatus) -> Vec<IpAddr> {
    let all = status.pod_ips.as_deref().unwrap_or_default();
    all.iter().filter_map(|address| address.ip.parse().ok()).collect()
}

fn terminated(state: Option<&ContainerState>) -> Option<&ContainerStateTerminated> {
    state?.terminated.as_ref()
}

/// The end of the text: a program's last words stand there.
fn shortened(text: &str) -> String {
    let text = text.trim();
    let count = text.chars().count();
    if count <= LONGEST_MESSAGE {
        return text.to_owned();
    }
    let end: String = text.chars().skip(count - LONGEST_MESSAGE).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[track_caller]
    fn check(status: &str, expected: Option<(Reason, &str)>) {
        let text = format!(
            "metadata: {{name: a-1, labels: {{turnpike.dev/region: eu}}}}\n\
             spec: {{nodeName: n1, containers: []}}\nstatus: {status}"
        );
        let pod: Pod = serde_saphyr::from_str(&text).expect("a pod");
        let found = RelayPod::new(&pod, at("2030-01-01T00:10:00Z")).problem;
        let found = found.as_ref().map(|problem| (problem.reason, problem.message.as_str()));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_keeps_a_relay_from_being_ready_is_named() {
        check("{conditions: [{type: Ready, status: 'True'}]}", None);
        check(
            "{conditions: [{type: PodScheduled, status: 'False', message: \"1 node(s) didn't have free ports\"}]}",
            Some((Reason::PortTaken, "relay a-1 on node n1: 1 node(s) didn't have free ports")),
        );
        check(
            "{conditions: [{type: PodScheduled, status: 'False', message: Insufficient cpu}]}",
            Some((Reason::Unschedulable, "relay a-1 on node n1: Insufficient cpu")),
        );
        let container = |state: &str| {
            format!(
                "{{containerStatuses: [{{name: relay, image: i, imageID: '', ready: false, restartCount: 1, {state}}}]}}"
            )
        };
        check(
            &container(
                "state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1, message: 'UDP 10.0.0.1:3478: Address already in use'}}",
            ),
            Some((
                Reason::PortTaken,
                "relay a-1 on node n1: UDP 10.0.0.1:3478: Address already in use",
            )),
        );
        check(
            &container("state: {terminated: {exitCode: 2}}"),
            Some((
                Reason::RelayFailing,
                "relay a-1 on node n1: it ended with exit code 2 and said nothing",
            )),
        );
        check(
            &container("state: {waiting: {reason: ErrImagePull, message: no such image}}"),
            Some((Reason::RelayFailing, "relay a-1 on node n1: ErrImagePull: no such image")),
        );
        check(&container("state: {waiting: {reason: ContainerCreating}}"), None);
        check(&container("state: {running: {startedAt: '2030-01-01T00:09:30Z'}}"), None);
        check(
            &container("state: {running: {startedAt: '2030-01-01T00:01:00Z'}}"),
            Some((
                Reason::RelayNotReady,
                "relay a-1 on node n1: it runs since 2030-01-01T00:01:00Z, and its readiness probe fails",
            )),
        );
        check(
            "{phase: Failed, reason: NodePorts, message: Predicate NodePorts failed}",
            Some((
                Reason::PortTaken,
                "relay a-1 on node n1: NodePorts: Predicate NodePorts failed",
            )),
        );
    }
}
