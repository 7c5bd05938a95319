//! Whether the relays are reached from outside, and whether something is amiss with how that is
//! found out.

use std::sync::Arc;

use turn_api::{Gate, conditions::Reason};
use turn_probe::{
    diagnosis,
    sign::{Sign, SignKind},
    survey::{RelayVerdict, Suspicion, Verdict},
};

use super::Finding;
use crate::turnserver::{observed::Observed, plan::Plan, replacement};

/// How many relays a message names.
const RELAYS_NAMED: usize = 3;
/// And how many signs.
const SIGNS_TOLD: usize = 3;

/// The condition Reachable.
pub(super) fn reachable(plan: &Plan, observed: &Observed) -> Finding {
    if plan.validated.reachability().gate == Gate::Disabled {
        return Finding::unknown(
            Reason::NotProbed,
            "nobody tries: spec.reachability.gate is Disabled",
        );
    }
    let Some(mut verdict) = observed.reachability.clone() else {
        return Finding::waiting("waits for the first probes");
    };
    // Others serve in their place: Degraded tells of them.
    let replaced = replacement::replaced(&plan.validated, observed);
    verdict.relays.retain(|name, _| !replaced.contains(&**name));
    let count = verdict.relays.len();
    let reached = verdict.relays.values().filter(|relay| relay.reached == Some(true)).count();
    if count == 0 {
        return Finding::waiting("waits for a relay that runs");
    }
    if verdict.suspicion == Some(Suspicion::NothingAnswers) {
        return Finding::unknown(Reason::VantageBroken, suspicion(Suspicion::NothingAnswers));
    }
    let message = |about| {
        format!("{reached} of {count} relays are reached; {}", named(&verdict, about, observed))
    };
    if let Some(worst) = verdict.worst(Some(false)) {
        return Finding::no(of(worst.reason), message(Some(false)));
    }
    if let Some(worst) = verdict.worst(None) {
        return Finding::unknown(of(worst.reason), message(None));
    }
    if reached == count {
        let message = "every relay is reached from outside, on each listener and its relay ports";
        return Finding::yes(message);
    }
    let is_new = |relay: &RelayVerdict| !relay.admitted;
    let message = format!("{reached} of {count} relays are reached");
    if verdict.relays.values().filter(|relay| relay.reached.is_none()).all(is_new) {
        return Finding::waiting(format!("{message}; of the others nobody has said it yet"));
    }
    let message = format!("{message}; of the others nobody has said anything lately");
    Finding::unknown(Reason::VantagesSilent, message)
}

/// Which relays are not reached, or of which nobody knows, and why.
fn named(verdict: &Verdict, reached: Option<bool>, observed: &Observed) -> String {
    let node = |name: &Arc<str>| {
        let pod = observed.pods.iter().find(|pod| *pod.name == **name);
        pod.and_then(|pod| pod.node.clone()).unwrap_or_default()
    };
    let mut found: Vec<_> = verdict
        .relays
        .iter()
        .filter(|(_, relay)| relay.reached == reached)
        .filter_map(|(name, relay)| Some((relay.finding.as_ref()?, name)))
        .collect();
    found.sort_by_key(|(finding, _)| finding.reason);
    let texts = found
        .iter()
        .take(RELAYS_NAMED)
        .map(|(finding, name)| format!("relay {name} on node {}: {}", node(name), finding.line()));
    texts.collect::<Vec<_>>().join("; ")
}

/// The condition Degraded: clients are served, and yet something is not as it should be.
pub(super) fn degraded(plan: &Plan, observed: &Observed) -> Finding {
    let fine = || Finding::no(Reason::Ok, "nothing is amiss");
    let settings = plan.validated.reachability();
    let Some(verdict) = observed.reachability.as_ref().filter(|_| settings.gate != Gate::Disabled)
    else {
        return fine();
    };
    let worst = verdict.worst(Some(false)).map(|finding| of(finding.reason));
    if let Some(why) = verdict.suspicion {
        let reason = match why {
            Suspicion::NothingAnswers => Reason::VantageBroken,
            Suspicion::NoneIsWhole => worst.unwrap_or(Reason::VantageBroken),
        };
        return Finding::because(reason, suspicion(why));
    }
    if !verdict.broken.is_empty() {
        let names: Vec<&str> = verdict.broken.iter().map(|name| &**name).collect();
        let message = format!(
            "{}: reaches no relay over UDP, over TCP or at relay ports, while others do; look at its own network",
            names.join(", ")
        );
        return Finding::because(Reason::VantageBroken, message);
    }
    if let Some(reason) = worst.filter(|_| settings.gate == Gate::Warn) {
        return Finding::because(reason, named(verdict, Some(false), observed));
    }
    let replaced = replacement::replaced(&plan.validated, observed);
    if let Some(reason) = worst.filter(|_| !replaced.is_empty()) {
        let message =
            format!("{}; others serve in their place", named(verdict, Some(false), observed));
        return Finding::because(reason, message);
    }
    match verdict.signs.first() {
        Some(first) => Finding::because(of_sign(first.kind), told(&verdict.signs)),
        None => fine(),
    }
}

/// What is amiss although it takes no relay out.
fn told(signs: &[Sign]) -> String {
    let texts: Vec<_> = signs.iter().take(SIGNS_TOLD).map(|sign| sign.says.as_str()).collect();
    match signs.len().saturating_sub(SIGNS_TOLD) {
        0 => texts.join("; "),
        more => format!("{}; and {more} more", texts.join("; ")),
    }
}

const fn of_sign(kind: SignKind) -> Reason {
    match kind {
        SignKind::HighLoss => Reason::HighLoss,
        SignKind::ReportedUnreachable => Reason::ReportedUnreachable,
        SignKind::ListenerFellSilent => Reason::ListenerFellSilent,
        SignKind::ClientsGiveUp => Reason::ClientsGiveUp,
        SignKind::NetworkWithoutUDP => Reason::NetworkWithoutUDP,
    }
}

fn suspicion(why: Suspicion) -> String {
    let seen = match why {
        Suspicion::NothingAnswers => "no relay answers any vantage",
        Suspicion::NoneIsWhole => "no relay is wholly reached any more",
    };
    format!(
        "{seen}: where all turn unreachable at once, whoever probes is the suspect, so relays that \
         were Ready stay so (spec.reachability.failOpen); look at the vantages' own network first"
    )
}

/// The reason of the condition.
const fn of(reason: diagnosis::Reason) -> Reason {
    match reason {
        diagnosis::Reason::ClockSkew => Reason::ClockSkew,
        diagnosis::Reason::CredentialsRejected => Reason::CredentialsRejected,
        diagnosis::Reason::CertificateInvalid => Reason::CertificateInvalid,
        diagnosis::Reason::TLSInterceptedOrMisconfigured => Reason::TLSInterceptedOrMisconfigured,
        diagnosis::Reason::NotTurn => Reason::NotTurn,
        diagnosis::Reason::AddressMismatch => Reason::AddressMismatch,
        diagnosis::Reason::PathMTUTooSmall => Reason::PathMTUTooSmall,
        diagnosis::Reason::ListenerRefused => Reason::ListenerRefused,
        diagnosis::Reason::UDPBlocked => Reason::UDPBlocked,
        diagnosis::Reason::TCPBlocked => Reason::TCPBlocked,
        diagnosis::Reason::IPv6Unreachable => Reason::IPv6Unreachable,
        diagnosis::Reason::ListenerPortBlocked => Reason::ListenerPortBlocked,
        diagnosis::Reason::RelayRangePartiallyBlocked => Reason::RelayRangePartiallyBlocked,
        diagnosis::Reason::RelayRangeBlocked => Reason::RelayRangeBlocked,
        diagnosis::Reason::HairpinUnsupported => Reason::HairpinUnsupported,
    }
}
