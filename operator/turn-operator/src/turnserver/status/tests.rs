//! Tests of the conditions; what a whole status looks like is in the golden manifests.

use turn_api::Document;

use super::*;

mod reachability;
use crate::turnserver::{
    desired::Settings,
    observed::{NodeFacts, WorkloadFacts},
    relay_pod::{Problem, RelayPod},
};

const NOW: &str = "2030-01-01T00:00:00.5Z";

fn turn_server(spec: &str) -> TurnServer {
    let text = format!(
        "{{apiVersion: turnpike.dev/v1alpha1, kind: TurnServer, metadata: {{name: edge, generation: 3}}, spec: {spec}}}"
    );
    Document::read_all(&text).remove(0).expect("a TurnServer").turn_server
}

fn settings() -> Settings {
    Settings { relay_image: "turnpike/relay:1".to_owned(), relay_image_pull_policy: None }
}

fn status_of(server: &TurnServer, observed: &Observed) -> TurnServerStatus {
    let plan = Plan::new(server, observed, &settings());
    let outcome = Outcome { plan, failure: None, dns_failure: None };
    status(server, observed, &outcome, NOW.parse().expect("a time"))
}

fn with_pods(pods: Vec<RelayPod>, settled: bool) -> Observed {
    let plan = Plan::new(&turn_server("{}"), &Observed::default(), &settings());
    let name = names::workload("edge", "default");
    let desired = plan.expect("accepted").desired;
    let digest = desired.workload(&name).and_then(|child| child.template_digest());
    let facts = WorkloadFacts {
        region: "default".to_owned(),
        template_digest: digest.expect("a workload has one").to_owned(),
        name,
        desired: 1,
        settled,
    };
    Observed { pods, workloads: vec![facts], nodes: one_node(), ..Observed::default() }
}

fn one_node() -> Vec<NodeFacts> {
    let internal_addresses = vec!["10.0.0.1".parse().expect("an address")];
    vec![NodeFacts { name: "n".to_owned(), internal_addresses, ..NodeFacts::default() }]
}

fn an_empty_cluster() -> Observed {
    Observed { nodes: one_node(), ..Observed::default() }
}

fn pod(name: &str) -> RelayPod {
    RelayPod { name: name.to_owned(), region: "default".to_owned(), ..RelayPod::default() }
}

#[track_caller]
fn check(status: &TurnServerStatus, of: ConditionType, expected: &str, contains: &str) {
    let found = status.conditions.iter().find(|c| c.type_ == of.as_str()).expect("a condition");
    let text = format!("{} {}", found.status, found.reason);
    assert_eq!(text, expected, "{}", found.message);
    assert!(found.message.contains(contains), "{} lacks {contains:?}", found.message);
}

#[test]
fn every_condition_is_there_from_the_first_visit() {
    let server = turn_server("{}");
    let status = status_of(&server, &an_empty_cluster());
    let types: Vec<&str> = status.conditions.iter().map(|c| c.type_.as_str()).collect();
    assert_eq!(
        types,
        [
            "Ready",
            "Accepted",
            "PortsAllocated",
            "CredentialsReady",
            "CertificateReady",
            "Available",
            "Reachable",
            "Degraded",
        ]
    );
    assert!(status.conditions.iter().all(|c| c.observed_generation == Some(3)));
    assert_eq!(status.observed_generation, Some(3));
    check(&status, ConditionType::Available, "False RollingOut", "0 of 1 relays");
    check(&status, ConditionType::Ready, "False RollingOut", "0 of 1 relays");
}

#[test]
fn an_invalid_spec_is_not_accepted_and_the_rest_waits() {
    let mut server = turn_server("{}");
    server.spec.relay_ports.from = 80;
    let status = status_of(&server, &Observed::default());
    check(&status, ConditionType::Accepted, "False Invalid", "spec.relayPorts.from: 80");
    check(&status, ConditionType::Ready, "False Invalid", "spec.relayPorts.from: 80");
    check(&status, ConditionType::Available, "Unknown Waiting", "accepted");
    assert_eq!(status.conditions.len(), ConditionType::ALL.len());
}

#[test]
fn ready_is_the_sum() {
    let server = turn_server("{}");
    let ready = RelayPod { ready: true, ..pod("a") };
    let mut observed = with_pods(vec![ready], true);
    let status = status_of(&server, &observed);
    // On no node, so without an address.
    check(&status, ConditionType::Available, "False NoAddress", "relay a");
    observed.pods[0].node = Some("n".to_owned());
    let status = status_of(&server, &observed);
    check(&status, ConditionType::Available, "True Ok", "1 of 1 relays");
    check(&status, ConditionType::Ready, "True Ok", "1 of 1 relays");
    assert_eq!(
        status.urls,
        ["turn:10.0.0.1:3478?transport=udp", "turn:10.0.0.1:3478?transport=tcp"]
    );
    // An older template still runs.
    observed.workloads[0].settled = false;
    check(&status_of(&server, &observed), ConditionType::Ready, "False RollingOut", "1 of 1");
    // Nothing is left to replace, but the workload has not been given the present spec.
    observed.workloads[0].settled = true;
    observed.workloads[0].template_digest = "another".to_owned();
    check(&status_of(&server, &observed), ConditionType::Ready, "False RollingOut", "1 of 1");
}

#[test]
fn a_port_that_is_taken_is_named_and_one_that_is_drained_is_waited_for() {
    let server = turn_server("{}");
    let problem = Problem { reason: Reason::PortTaken, message: "no free ports".to_owned() };
    let blocked = RelayPod { problem: Some(problem), ..pod("b") };
    let status = status_of(&server, &with_pods(vec![blocked.clone()], false));
    check(&status, ConditionType::Available, "False PortTaken", "no free ports");
    let draining = RelayPod { draining: true, ..pod("a") };
    let status = status_of(&server, &with_pods(vec![draining, blocked], false));
    check(&status, ConditionType::Available, "False RollingOut", "draining: a");
}

#[test]
fn a_region_with_too_few_nodes_is_named() {
    let server = turn_server("{replicas: 2}");
    let problem = Problem { reason: Reason::PortTaken, message: "no free ports".to_owned() };
    let placed = RelayPod { ready: true, node: Some("n".to_owned()), ..pod("a") };
    let waiting = RelayPod { problem: Some(problem), ..pod("b") };
    let status = status_of(&server, &with_pods(vec![placed, waiting], false));
    let says = "region default asks for 2 relays, at most one on a node";
    check(&status, ConditionType::Available, "False TooFewNodes", says);
}

#[test]
fn a_failed_stage_is_a_condition() {
    let server = turn_server("{}");
    let observed = Observed::default();
    let of = |failure: Failure| {
        let plan = Plan::new(&server, &observed, &settings());
        let outcome = Outcome { plan, failure: Some(failure), dns_failure: None };
        status(&server, &observed, &outcome, NOW.parse().expect("a time"))
    };
    let message = "refused".to_owned();
    let status = of(Failure::Apply { reason: Reason::ApplyFailed, message: message.clone() });
    check(&status, ConditionType::Available, "False ApplyFailed", "refused");
    let status = of(Failure::Credentials { reason: Reason::ReadFailed, message });
    check(&status, ConditionType::CredentialsReady, "False ReadFailed", "refused");
    check(&status, ConditionType::Available, "Unknown Waiting", "credentials");
}

#[test]
fn nothing_changes_when_nothing_has_changed() {
    let mut server = turn_server("{}");
    let first = status_of(&server, &Observed::default());
    server.status = Some(first.clone());
    let plan = Plan::new(&server, &Observed::default(), &settings());
    let later = "2031-01-01T00:00:00Z".parse().expect("a time");
    let outcome = Outcome { plan, failure: None, dns_failure: None };
    assert_eq!(status(&server, &Observed::default(), &outcome, later), first);
}

#[test]
fn a_secret_that_cannot_be_used_is_named() {
    let server = turn_server("{auth: {secretRef: {name: shared, keys: [new, old]}}}");
    let status = status_of(&server, &Observed::default());
    let of = ConditionType::CredentialsReady;
    check(&status, of, "False SecretNotFound", "Secret default/shared does not exist");
    let secret = |data: &str| Observed {
        secret: Some(
            serde_saphyr::from_str(&format!("stringData: {{}}\ndata: {data}")).expect("one"),
        ),
        ..Observed::default()
    };
    let status = status_of(&server, &secret("{new: YQ==}"));
    check(&status, of, "False SecretKeyMissing", "Secret default/shared has no key \"old\"");
    let status = status_of(&server, &secret("{new: YQ==, old: Cg==}"));
    check(&status, of, "False SecretKeyEmpty", "the value of key \"old\" is empty");
    let status = status_of(&server, &secret("{new: YQ==, old: YQ==}"));
    check(&status, of, "True Ok", "Secret shared has new, old");
    assert_eq!(status.credentials.expect("credentials").active_key, "new");
}
