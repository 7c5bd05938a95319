//! What is told of a `TurnServer`: conditions, relays, URLs. A pure function of what was decided,
//! what there is, and what went wrong; so it is written also when a stage has failed.

mod available;
mod reachable;
mod relays;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use turn_api::{
    CredentialsStatus, Gate, TurnServer, TurnServerStatus,
    conditions::{ConditionType, Reason},
};

use super::{
    certificate::CertificateState,
    credentials::{CredentialsState, SecretKeys},
    dns, names,
    observed::Observed,
    plan::{Plan, Refused},
};

/// How a visit went.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What was decided, or why nothing could be.
    pub plan: Result<Plan, Refused>,
    /// The stage that failed, and what the API server said.
    pub failure: Option<Failure>,
    /// Why what clients find by name could not be written.
    pub dns_failure: Option<String>,
}

/// A stage that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The Secret could not be read or created.
    Credentials {
        /// `ReadFailed`, `ApplyFailed` or `NotOwned`.
        reason: Reason,
        /// What the API server said.
        message: String,
    },
    /// The Secret with the certificate could not be read.
    Certificate {
        /// `ReadFailed`.
        reason: Reason,
        /// What the API server said.
        message: String,
    },
    /// An object could not be applied or removed.
    Apply {
        /// `ReadFailed`, `ApplyFailed` or `NotOwned`.
        reason: Reason,
        /// Which object, and what the API server said.
        message: String,
    },
}

/// One condition, before it is known since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    holds: Option<bool>,
    reason: Reason,
    message: String,
}

impl Finding {
    fn yes(message: impl Into<String>) -> Self {
        Self { holds: Some(true), reason: Reason::Ok, message: message.into() }
    }

    fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: Some(false), reason, message: message.into() }
    }

    fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: None, reason, message: message.into() }
    }

    /// It holds, and that is not as it should be.
    fn because(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: Some(true), reason, message: message.into() }
    }

    fn waiting(message: impl Into<String>) -> Self {
        Self::unknown(Reason::Waiting, message)
    }
}

/// The status at `now`.
#[must_use]
pub fn status(
    turn_server: &TurnServer,
    observed: &Observed,
    outcome: &Outcome,
    now: Timestamp,
) -> TurnServerStatus {
    let previous = turn_server.status.clone().unwrap_or_default();
    let findings = findings(observed, outcome, now);
    let generation = turn_server.metadata.generation;
    let conditions = findings
        .into_iter()
        .map(|(of, finding)| condition(of, finding, generation, &previous.conditions, now))
        .collect();
    let mut status = TurnServerStatus {
        observed_generation: generation,
        conditions,
        selector: Some(names::selector_text(
            turn_server.metadata.name.as_deref().unwrap_or_default(),
        )),
        ..TurnServerStatus::default()
    };
    match &outcome.plan {
        Ok(plan) => {
            let keys = SecretKeys::of(&plan.validated);
            status.credentials = Some(CredentialsStatus {
                active_key: keys.active_key().to_owned(),
                secret_name: keys.secret_name,
            });
            relays::fill(&mut status, plan, observed, now);
            status.dns = dns::published(&plan.validated, &status);
        }
        // Relays of an older spec may run still: what was said of them stays.
        Err(_) => {
            status.credentials = previous.credentials;
            status.urls = previous.urls;
            status.regions = previous.regions;
            status.relays = previous.relays;
            status.dns = previous.dns;
            status.replicas = previous.replicas;
            status.ready_replicas = previous.ready_replicas;
            status.desired_replicas = previous.desired_replicas;
        }
    }
    status
}

fn findings(
    observed: &Observed,
    outcome: &Outcome,
    now: Timestamp,
) -> Vec<(ConditionType, Finding)> {
    let accepted = match &outcome.plan {
        Ok(_) => Finding::yes("the spec can be carried out"),
        Err(refused) => Finding::no(Reason::Invalid, refused.to_string()),
    };
    let parts = [
        (ConditionType::Accepted, accepted),
        (ConditionType::PortsAllocated, ports_allocated(outcome)),
        (ConditionType::CredentialsReady, credentials_ready(outcome)),
        (ConditionType::CertificateReady, certificate_ready(outcome, now)),
        (ConditionType::Available, available(observed, outcome)),
    ];
    let (reachable, degraded) = match &outcome.plan {
        Ok(plan) => (reachable::reachable(plan, observed), degraded(plan, observed, outcome)),
        Err(_) => (Finding::waiting(NOT_ACCEPTED), Finding::waiting(NOT_ACCEPTED)),
    };
    let counts = outcome.plan.as_ref().is_ok_and(|plan| counts(plan, &reachable));
    let ready = sum(parts.iter().map(|(_, part)| part).chain(counts.then_some(&reachable)));
    let rest = [(ConditionType::Reachable, reachable), (ConditionType::Degraded, degraded)];
    [(ConditionType::Ready, ready)].into_iter().chain(parts).chain(rest).collect()
}

/// The condition Degraded.
fn degraded(plan: &Plan, observed: &Observed, outcome: &Outcome) -> Finding {
    let by_reachability = reachable::degraded(plan, observed);
    match &outcome.dns_failure {
        Some(message) if by_reachability.holds == Some(false) => {
            Finding::because(Reason::DNSNotWritten, message)
        }
        Some(_) | None => by_reachability,
    }
}

/// Whether `Ready` takes account of `Reachable`: where that is enforced and known to be wrong. What
/// nobody knows keeps nothing from being ready but pods that never were, and these are counted
/// already.
fn counts(plan: &Plan, reachable: &Finding) -> bool {
    plan.validated.reachability().gate == Gate::Enforce && reachable.holds == Some(false)
}

const NOT_ACCEPTED: &str = "waits for the spec to be accepted";

fn ports_allocated(outcome: &Outcome) -> Finding {
    match &outcome.plan {
        Err(_) => Finding::waiting(NOT_ACCEPTED),
        Ok(plan) => match &plan.port_problem {
            Some(problem) => Finding::no(problem.reason(), problem.to_string()),
            None => Finding::yes("no older TurnServer has these ports on these nodes"),
        },
    }
}

fn credentials_ready(outcome: &Outcome) -> Finding {
    let Ok(plan) = &outcome.plan else { return Finding::waiting(NOT_ACCEPTED) };
    if let Some(Failure::Credentials { reason, message }) = &outcome.failure {
        return Finding::no(*reason, message);
    }
    let SecretKeys { secret_name, keys } = SecretKeys::of(&plan.validated);
    match &plan.credentials {
        CredentialsState::Problem { reason, message } => Finding::no(*reason, message),
        CredentialsState::Ready | CredentialsState::Missing => {
            Finding::yes(format!("Secret {secret_name} has {}", keys.join(", ")))
        }
    }
}

fn certificate_ready(outcome: &Outcome, now: Timestamp) -> Finding {
    let Ok(plan) = &outcome.plan else { return Finding::waiting(NOT_ACCEPTED) };
    match (&outcome.failure, &plan.certificate) {
        (_, CertificateState::NotNeeded) => Finding::yes("no listener needs a certificate"),
        (Some(Failure::Certificate { reason, message }), _) => Finding::no(*reason, message),
        // The Secrets are read one after the other.
        (Some(Failure::Credentials { .. }), _) => Finding::waiting("waits for the credentials"),
        (_, CertificateState::Problem { reason, message }) => Finding::no(*reason, message),
        (_, CertificateState::Usable(certificate)) => match certificate.refusal(now) {
            Some((reason, message)) => Finding::no(reason, message),
            None => Finding::yes(certificate.summary()),
        },
    }
}

fn available(observed: &Observed, outcome: &Outcome) -> Finding {
    let Ok(plan) = &outcome.plan else { return Finding::waiting(NOT_ACCEPTED) };
    match &outcome.failure {
        Some(Failure::Apply { reason, message }) => Finding::no(*reason, message),
        Some(Failure::Credentials { .. }) => Finding::waiting("waits for the credentials"),
        Some(Failure::Certificate { .. }) => Finding::waiting("waits for the certificate"),
        None if plan.port_problem.is_some() => Finding::waiting("waits for the ports"),
        None if matches!(plan.credentials, CredentialsState::Problem { .. }) => {
            Finding::waiting("waits for the credentials")
        }
        None if !plan.may_apply() => Finding::waiting("waits for the certificate"),
        None => available::available(plan, observed),
    }
}

/// `Ready` is what the first of the others says that is not `True`; a `False` goes before an
/// `Unknown`. Why a relay is not reached says more than that it is not ready because of it.
fn sum<'a>(parts: impl Iterator<Item = &'a Finding> + Clone) -> Finding {
    let first = |holds| parts.clone().find(|finding| finding.holds == holds);
    let unreached = parts.clone().last().filter(|last| last.holds == Some(false));
    let waits = [Reason::RollingOut, Reason::RelayNotReady];
    match first(Some(false)).or_else(|| first(None)) {
        Some(finding) if waits.contains(&finding.reason) => unreached.unwrap_or(finding).clone(),
        Some(finding) => finding.clone(),
        None => Finding::yes(parts.last().map(|last| last.message.clone()).unwrap_or_default()),
    }
}

fn condition(
    of: ConditionType,
    finding: Finding,
    generation: Option<i64>,
    previous: &[Condition],
    now: Timestamp,
) -> Condition {
    let status = match finding.holds {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let since = previous
        .iter()
        .find(|condition| condition.type_ == of.as_str() && condition.status == status)
        .map(|condition| condition.last_transition_time.clone());
    Condition {
        type_: of.as_str().to_owned(),
        status: status.to_owned(),
        reason: finding.reason.as_str().to_owned(),
        message: finding.message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or_else(|| Time(whole_second(now))),
    }
}

/// The API server keeps no fractions.
fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests;
