//! What is told of how relays are reached, and what it does to their pods.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::jiff::SignedDuration;
use turn_api::{Reached, RelayStatus, Validated};
use turn_probe::{
    Transport,
    diagnosis::{self, Finding},
    plan::Subject,
    sign::{Sign, SignKind},
    survey::{RelayVerdict, SubjectVerdict, Suspicion, Verdict},
};

use super::*;
use crate::turnserver::{
    gate::{self, PodChange},
    relay_pod::GateCondition,
};

/// A relay of two listeners, UDP first; a reason says that a listener is not reached.
fn of_relay(admitted: bool, reasons: [Option<diagnosis::Reason>; 2]) -> RelayVerdict {
    let subject = |(transport, reason): (Transport, Option<diagnosis::Reason>)| SubjectVerdict {
        subject: Subject {
            relay: "a".into(),
            address: IpAddr::from([10, 0, 0, 1]),
            listener: if transport == Transport::Udp { "udp".into() } else { "tcp".into() },
            transport,
            port: 3478,
        },
        reached: Some(reason.is_none()),
        finding: reason.map(|reason| Finding {
            reason,
            observation: "it is silent".to_owned(),
            remedy: "open it".to_owned(),
        }),
        reached_from: vec!["operator".into()],
        not_reached_from: Vec::new(),
    };
    let over = [Transport::Udp, Transport::Tcp].into_iter().zip(reasons);
    let subjects: Vec<_> = over.map(subject).collect();
    RelayVerdict {
        reached: Some(reasons == [None, None]),
        admitted,
        finding: subjects.iter().find_map(|one| one.finding.clone()),
        full: false,
        subjects,
    }
}

fn verdict(of: RelayVerdict) -> Verdict {
    Verdict { relays: BTreeMap::from([("a".into(), of)]), ..Verdict::default() }
}

fn observed(verdict: Verdict, ready: bool) -> Observed {
    let node = Some("n".to_owned());
    let relay = RelayPod { ready, containers_ready: true, is_gated: true, node, ..pod("a") };
    Observed { reachability: Some(verdict), ..with_pods(vec![relay], true) }
}

fn relay(status: &TurnServerStatus) -> &RelayStatus {
    &status.relays[0]
}

fn gate_of(spec: &str, observed: &Observed) -> Option<GateCondition> {
    let validated = Validated::try_from(&turn_server(spec)).expect("valid");
    let mut changes = gate::changes(&validated, observed);
    assert!(changes.len() < 2, "{changes:?}");
    changes.pop().map(|PodChange { condition, .. }| condition)
}

const WARN: &str = "{reachability: {gate: Warn}}";
const UDP_CLOSED: [Option<diagnosis::Reason>; 2] =
    [Some(diagnosis::Reason::ListenerPortBlocked), None];

#[test]
fn a_relay_that_is_reached_is_handed_out() {
    let observed = observed(verdict(of_relay(true, [None, None])), true);
    let status = status_of(&turn_server("{}"), &observed);
    check(&status, ConditionType::Reachable, "True Ok", "every relay is reached");
    check(&status, ConditionType::Ready, "True Ok", "");
    check(&status, ConditionType::Degraded, "False Ok", "");
    assert_eq!(status.urls.len(), 2);
    assert_eq!(relay(&status).urls, status.urls);
    let rows: Vec<_> = relay(&status).reachability.iter().map(|row| row.reached).collect();
    assert_eq!(rows, [Reached::True; 2]);
    assert_eq!(gate_of("{}", &observed).map(|gate| gate.status), Some("True".to_owned()));
}

#[test]
fn a_relay_that_is_not_reached_is_not_ready_and_the_reason_named() {
    let observed = observed(verdict(of_relay(false, UDP_CLOSED)), false);
    let status = status_of(&turn_server("{}"), &observed);
    check(&status, ConditionType::Reachable, "False ListenerPortBlocked", "relay a on node n");
    check(&status, ConditionType::Ready, "False ListenerPortBlocked", "it is silent; open it");
    assert_eq!(status.urls, [""; 0]);
    let row = &relay(&status).reachability[0];
    assert_eq!((row.listener.as_str(), row.reached), ("udp", Reached::False));
    assert_eq!(row.reason.as_deref(), Some("ListenerPortBlocked"));
    assert_eq!(row.message.as_deref(), Some("it is silent; open it"));
    let gate = gate_of("{}", &observed).expect("a change");
    assert_eq!((&*gate.status, &*gate.reason), ("False", "ListenerPortBlocked"));
}

#[test]
fn where_it_only_warns_the_relay_is_ready_and_what_is_not_reached_is_in_no_url() {
    let observed = observed(verdict(of_relay(false, UDP_CLOSED)), true);
    let status = status_of(&turn_server(WARN), &observed);
    check(&status, ConditionType::Reachable, "False ListenerPortBlocked", "");
    check(&status, ConditionType::Degraded, "True ListenerPortBlocked", "relay a");
    check(&status, ConditionType::Ready, "True Ok", "");
    assert_eq!(status.urls, ["turn:10.0.0.1:3478?transport=tcp"]);
    let gate = gate_of(WARN, &observed).expect("a change");
    assert_eq!((&*gate.status, &*gate.reason), ("True", "Warning"));
}

#[test]
fn when_nothing_answers_at_all_everything_is_handed_out_still() {
    let silent = [Some(diagnosis::Reason::ListenerPortBlocked); 2];
    let mut verdict = verdict(of_relay(true, silent));
    verdict.suspicion = Some(Suspicion::NothingAnswers);
    let observed = observed(verdict, true);
    let status = status_of(&turn_server("{}"), &observed);
    check(&status, ConditionType::Reachable, "Unknown VantageBroken", "failOpen");
    check(&status, ConditionType::Degraded, "True VantageBroken", "vantages' own network");
    check(&status, ConditionType::Ready, "True Ok", "");
    assert_eq!(status.urls.len(), 2);
    let gate = gate_of("{}", &observed).expect("a change");
    assert_eq!((&*gate.status, &*gate.reason), ("True", "FailOpen"));
}

#[test]
fn the_last_relay_stays_in_without_what_is_not_reached_of_it() {
    let mut verdict = verdict(of_relay(true, UDP_CLOSED));
    verdict.suspicion = Some(Suspicion::NoneIsWhole);
    let status = status_of(&turn_server("{}"), &observed(verdict, true));
    check(&status, ConditionType::Reachable, "False ListenerPortBlocked", "0 of 1");
    check(&status, ConditionType::Degraded, "True ListenerPortBlocked", "");
    check(&status, ConditionType::Ready, "False ListenerPortBlocked", "");
    assert_eq!(status.urls, ["turn:10.0.0.1:3478?transport=tcp"]);
}

#[test]
fn a_vantage_that_fails_alone_degrades_the_fleet_and_nothing_else() {
    let mut verdict = verdict(of_relay(true, [None, None]));
    verdict.broken = vec!["london".into()];
    let status = status_of(&turn_server("{}"), &observed(verdict, true));
    check(&status, ConditionType::Degraded, "True VantageBroken", "london");
    check(&status, ConditionType::Ready, "True Ok", "");
}

#[test]
fn a_relay_that_only_its_own_node_has_tried_is_unknown_and_the_reason_named() {
    let mut alone = of_relay(false, [Some(diagnosis::Reason::HairpinUnsupported), None]);
    alone.reached = None;
    alone.subjects[0].reached = None;
    let observed = observed(verdict(alone), false);
    let status = status_of(&turn_server("{}"), &observed);
    check(&status, ConditionType::Reachable, "Unknown HairpinUnsupported", "0 of 1");
    assert_eq!(relay(&status).reachability[0].reached, Reached::Unknown);
    let gate = gate_of("{}", &observed).expect("a change");
    assert_eq!((&*gate.status, &*gate.reason), ("Unknown", "HairpinUnsupported"));
}

#[test]
fn a_relay_that_another_one_serves_instead_of_is_told_and_the_fleet_is_ready() {
    let spec = "{replicas: 1, reachability: {replaceAfterSeconds: 600}}";
    let mut verdict = verdict(of_relay(false, UDP_CLOSED));
    verdict.relays.insert("b".into(), of_relay(true, [None, None]));
    let mut observed = observed(verdict, false);
    observed.pods[0].unreached_for = Some(SignedDuration::from_secs(700));
    let status = status_of(&turn_server(spec), &observed);
    check(&status, ConditionType::Ready, "False ListenerPortBlocked", "1 of 2");
    let other = NodeFacts { name: "n2".to_owned(), ..observed.nodes[0].clone() };
    observed.nodes.push(other);
    let node = Some("n2".to_owned());
    observed.pods.push(RelayPod { ready: true, is_gated: true, node, ..pod("b") });
    let status = status_of(&turn_server(spec), &observed);
    check(&status, ConditionType::Ready, "True Ok", "");
    check(&status, ConditionType::Reachable, "True Ok", "every relay is reached");
    let says = "relay a on node n: it is silent; open it; others serve in their place";
    check(&status, ConditionType::Degraded, "True ListenerPortBlocked", says);
}

#[test]
fn what_takes_no_relay_out_is_told_all_the_same() {
    let mut verdict = verdict(of_relay(true, [None, None]));
    let sign = |number| Sign { kind: SignKind::HighLoss, says: format!("sign {number}") };
    verdict.signs = (1..=5).map(sign).collect();
    let status = status_of(&turn_server("{}"), &observed(verdict, true));
    let says = "sign 1; sign 2; sign 3; and 2 more";
    check(&status, ConditionType::Degraded, "True HighLoss", says);
    check(&status, ConditionType::Ready, "True Ok", "");
    assert_eq!(status.urls.len(), 2);
}

#[test]
fn each_sign_degrades_the_fleet_by_its_name_and_nothing_else() {
    for kind in SignKind::ALL.iter().copied() {
        let mut verdict = verdict(of_relay(true, [None, None]));
        verdict.signs = vec![Sign { kind, says: "look at it".to_owned() }];
        let status = status_of(&turn_server("{}"), &observed(verdict, true));
        check(&status, ConditionType::Degraded, &format!("True {kind}"), "look at it");
        check(&status, ConditionType::Ready, "True Ok", "");
    }
}

#[test]
fn nobody_tries_where_the_gate_is_off() {
    let observed = Observed { reachability: None, ..observed(Verdict::default(), true) };
    let status = status_of(&turn_server("{reachability: {gate: Disabled}}"), &observed);
    check(&status, ConditionType::Reachable, "Unknown NotProbed", "gate is Disabled");
    check(&status, ConditionType::Degraded, "False Ok", "");
    assert_eq!(status.urls.len(), 2);
    assert_eq!(gate_of("{reachability: {gate: Disabled}}", &observed), None);
}

#[test]
fn a_pod_that_has_the_condition_already_is_left_alone() {
    let mut observed = observed(verdict(of_relay(true, [None, None])), true);
    observed.pods[0].reachable = gate_of("{}", &observed);
    assert_eq!(gate_of("{}", &observed), None);
}
