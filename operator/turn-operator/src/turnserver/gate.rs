//! Whether clients may be sent to a relay, as a condition of its pod: with `turnpike.dev/Reachable`
//! among its readiness gates, a pod is Ready only when it is reached from outside.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use turn_api::{Gate, Validated};
use turn_probe::{
    plan::Subject,
    survey::{RelayVerdict, Suspicion, Verdict},
};

use super::{
    observed::Observed,
    relay_pod::{GateCondition, REACHABLE, RelayPod},
};

/// The condition is `True`: the relay is reached.
const REACHED: &str = "Reached";
/// The condition is `True` although the relay is not reached: every one turned unreachable at once.
const FAIL_OPEN: &str = "FailOpen";
/// The condition is `True` although the relay is not reached: `gate` is Warn.
const WARNING: &str = "Warning";
/// The condition is `Unknown`: not enough vantages have said anything yet.
const NOT_YET_REACHED: &str = "NotYetReached";
/// The condition stays `True` although nobody has said anything lately.
const SILENCE: &str = "VantagesSilent";

/// A condition that a pod should have, and has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodChange {
    /// The name of the pod.
    pub pod: String,
    /// What the condition should be.
    pub condition: GateCondition,
    /// Whether it has another status than before, and not only other words.
    is_transition: bool,
}

impl PodChange {
    /// The patch (strategic merge) of the pod's status. Since when it holds is `now`, unless only the
    /// words are other ones.
    #[must_use]
    pub fn patch(&self, now: Timestamp) -> Value {
        let GateCondition { status, reason, message } = &self.condition;
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
        let mut condition = json!({
            "type": REACHABLE,
            "status": status,
            "reason": reason,
            "message": message,
        });
        if self.is_transition {
            condition["lastTransitionTime"] = now.into();
        }
        json!({"status": {"conditions": [condition]}})
    }
}

/// The conditions that are to be written.
#[must_use]
pub fn changes(validated: &Validated, observed: &Observed) -> Vec<PodChange> {
    let gate = validated.reachability().gate;
    let Some(verdict) = observed.reachability.as_ref().filter(|_| gate != Gate::Disabled) else {
        return Vec::new();
    };
    let gated = observed.pods.iter().filter(|pod| pod.is_gated && !pod.draining && !pod.ended);
    let change = |pod: &RelayPod| {
        let of_relay = verdict.relays.get(&*pod.name)?;
        let condition = condition(gate, of_relay, verdict);
        let is_new = pod.reachable.as_ref() != Some(&condition);
        let before = pod.reachable.as_ref().map(|before| &before.status);
        let is_transition = before != Some(&condition.status);
        is_new.then(|| PodChange { pod: pod.name.clone(), condition, is_transition })
    };
    gated.filter_map(change).collect()
}

fn condition(gate: Gate, relay: &RelayVerdict, verdict: &Verdict) -> GateCondition {
    let of = |status: &str, reason: &str, message: String| GateCondition {
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
    };
    let finding = relay.finding.as_ref();
    let words = finding.map(|finding| finding.line()).unwrap_or_default();
    let unknown = |status, reason, says: &str| match finding {
        Some(finding) => of(status, finding.reason.as_str(), words.clone()),
        None => of(status, reason, says.to_owned()),
    };
    match (relay.reached, relay.admitted) {
        (Some(true), _) => of("True", REACHED, String::new()),
        (Some(false), false) if gate == Gate::Enforce => {
            of("False", finding.map_or(NOT_YET_REACHED, |finding| finding.reason.as_str()), words)
        }
        (Some(false), false) => of("True", WARNING, words),
        (Some(false), true) => of("True", FAIL_OPEN, open_words(verdict, &words)),
        (None, true) => unknown("True", SILENCE, "nobody has said lately whether it is reached"),
        (None, false) if gate == Gate::Enforce => {
            let says = "not enough vantages have said yet whether it is reached";
            unknown("Unknown", NOT_YET_REACHED, says)
        }
        (None, false) => {
            of("True", WARNING, "nobody has said yet whether it is reached".to_owned())
        }
    }
}

fn open_words(verdict: &Verdict, words: &str) -> String {
    let why = match verdict.suspicion {
        Some(Suspicion::NothingAnswers) => "no relay answers any vantage",
        Some(Suspicion::NoneIsWhole) | None => "no relay is wholly reached",
    };
    format!("{why}, so whoever probes is the suspect: {words}")
}

/// What stands in no URL of a relay although the relay serves: listeners at addresses that are known
/// not to be reached. When nothing is answered at all, that is no reason to leave anything out.
#[must_use]
pub fn left_out(verdict: &Verdict, pod: &str) -> Vec<Subject> {
    if verdict.suspicion == Some(Suspicion::NothingAnswers) {
        return Vec::new();
    }
    let subjects = verdict.relays.get(pod).map(|relay| relay.subjects.as_slice());
    let unreached = subjects.unwrap_or_default().iter().filter(|one| one.reached == Some(false));
    unreached.map(|one| one.subject.clone()).collect()
}
