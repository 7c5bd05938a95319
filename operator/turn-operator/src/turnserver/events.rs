//! What changed in the conditions, as events.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};
use turn_api::{
    TurnServerStatus,
    conditions::{ConditionType, Reason},
};

/// The longest note of an event, in bytes.
const LONGEST_NOTE: usize = 1000;

/// An event for each condition whose status or reason is another one than before. `Ready` repeats
/// the others, so only its becoming `True` is one.
#[must_use]
pub fn of_change(before: Option<&TurnServerStatus>, after: &TurnServerStatus) -> Vec<Event> {
    let before = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    after
        .conditions
        .iter()
        .filter(|condition| is_worth_telling(before, condition))
        .map(event)
        .collect()
}

fn is_worth_telling(before: &[Condition], condition: &Condition) -> bool {
    let old = before.iter().find(|old| old.type_ == condition.type_);
    let changed =
        old.is_none_or(|old| old.status != condition.status || old.reason != condition.reason);
    let ready = condition.type_ == ConditionType::Ready.as_str();
    // On the first visit, what is as it should be is no news.
    let news = is_good(condition) && old.is_some();
    changed && if ready { news } else { is_bad(condition) || news }
}

fn is_degraded(condition: &Condition) -> bool {
    condition.type_ == ConditionType::Degraded.as_str()
}

/// All conditions are good when they are `True`, but one.
fn is_good(condition: &Condition) -> bool {
    condition.status == if is_degraded(condition) { "False" } else { "True" }
}

fn is_bad(condition: &Condition) -> bool {
    condition.status == if is_degraded(condition) { "True" } else { "False" }
}

fn event(condition: &Condition) -> Event {
    let quiet = [Reason::RollingOut, Reason::NoRelays].map(Reason::as_str);
    let normal = is_good(condition) || quiet.contains(&condition.reason.as_str());
    let reason = match (is_good(condition), is_degraded(condition)) {
        (true, true) => "NotDegraded",
        (true, false) => &condition.type_,
        (false, _) => &condition.reason,
    };
    Event {
        type_: if normal { EventType::Normal } else { EventType::Warning },
        reason: reason.to_owned(),
        note: Some(cut(&condition.message)),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(LONGEST_NOTE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(conditions: &[(&str, &str, &str)]) -> TurnServerStatus {
        let condition = |(of, status, reason): &(&str, &str, &str)| Condition {
            type_: (*of).to_owned(),
            status: (*status).to_owned(),
            reason: (*reason).to_owned(),
            message: "m".to_owned(),
            observed_generation: None,
            last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
            ),
        };
        let conditions = conditions.iter().map(condition).collect();
        TurnServerStatus { conditions, ..TurnServerStatus::default() }
    }

    #[track_caller]
    fn check(
        before: Option<&[(&str, &str, &str)]>,
        after: &[(&str, &str, &str)],
        expected: &[&str],
    ) {
        let before = before.map(status);
        let events = of_change(before.as_ref(), &status(after));
        let found: Vec<String> =
            events.iter().map(|event| format!("{:?} {}", event.type_, event.reason)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn only_changes_are_told() {
        let taken = [("Ready", "False", "PortTaken"), ("Available", "False", "PortTaken")];
        let good = [("Ready", "True", "Ok"), ("Available", "True", "Ok")];
        let degraded = [("Degraded", "True", "VantageBroken")];
        let whole = [("Degraded", "False", "Ok")];
        check(None, &whole, &[]);
        check(Some(&whole), &degraded, &["Warning VantageBroken"]);
        check(Some(&degraded), &whole, &["Normal NotDegraded"]);
        check(None, &taken, &["Warning PortTaken"]);
        check(Some(&taken), &taken, &[]);
        check(Some(&taken), &good, &["Normal Ready", "Normal Available"]);
        check(Some(&good), &taken, &["Warning PortTaken"]);
        check(None, &[("Accepted", "True", "Ok")], &[]);
        check(None, &[("Available", "False", "RollingOut")], &["Normal RollingOut"]);
    }
}
