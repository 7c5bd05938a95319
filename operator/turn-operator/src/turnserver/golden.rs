//! The golden manifests: each folder of `tests/golden` has what is given (a `TurnServer`, and the
//! objects of its cluster) and what is expected (the objects that are applied, and the status).
//! With `TURNPIKE_BLESS=1` the expectations are written anew; the diff is the review.

use std::{fs, path::Path};

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment},
        core::v1::{Node, Pod, Secret},
        networking::v1::ServiceCIDR,
    },
    jiff::Timestamp,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use turn_api::{Document, TurnServer, Validated};

use super::{
    credentials::CredentialsState,
    dereference::{of_daemon_set, of_deployment},
    desired::{Settings, generated_secret},
    observed::{NodeFacts, Observed, service_ranges},
    plan::Plan,
    relay_pod::RelayPod,
    status::{Outcome, status},
};

/// A workload whose template has this digest has been given the present spec.
const PRESENT: &str = "present";
const NOW: &str = "2030-01-01T00:10:00Z";

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).expect("an object of its kind")
}

/// What the manifests of a cluster amount to.
fn observe(objects: &[Value], now: Timestamp) -> Observed {
    let mut observed = Observed::default();
    let mut ranges: Vec<ServiceCIDR> = Vec::new();
    for object in objects {
        match object["kind"].as_str().unwrap_or_default() {
            "Node" => observed.nodes.push(NodeFacts::from(&read::<Node>(object))),
            "Pod" => observed.pods.push(RelayPod::new(&read::<Pod>(object), now)),
            "Secret" if object["type"] == "kubernetes.io/tls" => {
                observed.tls_secret = Some(read::<Secret>(object));
            }
            "Secret" => observed.secret = Some(read::<Secret>(object)),
            "ServiceCIDR" => ranges.push(read(object)),
            "TurnServer" => {
                let other = Validated::try_from(&read::<TurnServer>(object));
                observed.others.push(other.expect("a valid one"));
            }
            "Deployment" => {
                observed.workloads.push(of_deployment(&read::<Deployment>(object)));
            }
            "DaemonSet" => {
                observed.workloads.push(of_daemon_set(&read::<DaemonSet>(object)));
            }
            kind => panic!("nothing is made of a {kind}"),
        }
    }
    observed.service_ranges = service_ranges(&ranges);
    observed
}

/// What is decided and told, as one YAML document for each object.
fn outcome(given: &str) -> String {
    let mut given: Vec<Value> = serde_saphyr::from_multiple(given).expect("YAML");
    let server = Document::from_value(given.remove(0)).expect("a good TurnServer").turn_server;
    let now = NOW.parse().expect("a time");
    let mut observed = observe(&given, now);
    let settings = Settings {
        relay_image: "turnpike/relay:1".to_owned(),
        relay_image_pull_policy: Some("IfNotPresent".to_owned()),
    };
    let first = Plan::new(&server, &observed, &settings).expect("it is accepted");
    for facts in observed.workloads.iter_mut().filter(|f| f.template_digest == PRESENT) {
        let child = first.desired.workload(&facts.name).expect("the name of a workload");
        facts.template_digest = child.template_digest().expect("it has one").to_owned();
    }
    let plan = Plan::new(&server, &observed, &settings).expect("it is accepted");
    let mut documents = vec![json!({"applied": plan.may_apply(), "heldBack": plan.held_back})];
    if plan.credentials == CredentialsState::Missing {
        let secret = generated_secret(&plan.validated, &[7; 32]);
        documents.push(serde_json::to_value(secret).expect("JSON"));
    }
    if plan.may_apply() {
        documents.extend(plan.desired.children.iter().map(|child| child.manifest.clone()));
    }
    let outcome = Outcome { plan: Ok(plan), failure: None, dns_failure: None };
    documents.push(json!({"status": status(&server, &observed, &outcome, now)}));
    let texts = documents.iter().map(|document| serde_saphyr::to_string(document).expect("YAML"));
    texts.collect::<Vec<_>>().join("---\n")
}

#[test]
fn golden_manifests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bless = std::env::var_os("TURNPIKE_BLESS").is_some_and(|value| value == "1");
    let mut differing = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let case = entry.expect("it can be read").path();
        count += 1;
        let given = fs::read_to_string(case.join("given.yaml")).expect("given.yaml");
        let made = outcome(&given);
        let expected = fs::read_to_string(case.join("expected.yaml")).unwrap_or_default();
        if bless {
            fs::write(case.join("expected.yaml"), made).expect("it can be written");
        } else if made != expected {
            differing.push(format!("{}: {}", case.display(), first_difference(&expected, &made)));
        }
    }
    assert!(count > 3, "the golden manifests are gone");
    let remedy = "if this is meant, run with TURNPIKE_BLESS=1 and look at the diff";
    assert!(differing.is_empty(), "{}\n{remedy}", differing.join("\n"));
}

fn first_difference(expected: &str, made: &str) -> String {
    let (mut expected, mut made) = (expected.lines(), made.lines());
    let mut line = 0;
    loop {
        line += 1;
        match (expected.next(), made.next()) {
            (None, None) => return "only the end differs".to_owned(),
            (a, b) if a == b => {}
            (a, b) => {
                let (a, b) = (a.unwrap_or("the end"), b.unwrap_or("the end"));
                return format!("line {line}: expected {a:?}, made {b:?}");
            }
        }
    }
}

/// A small change of the spec makes the change that it should, and no other.
#[test]
fn only_what_a_running_relay_cannot_take_changes_its_pods() {
    let pods = |spec: &str| {
        let text = format!(
            "{{apiVersion: turnpike.dev/v1alpha1, kind: TurnServer, metadata: {{name: a}}, spec: {spec}}}"
        );
        let server = Document::read_all(&text).remove(0).expect("a good one").turn_server;
        let settings = Settings { relay_image: "r".to_owned(), relay_image_pull_policy: None };
        let plan = Plan::new(&server, &Observed::default(), &settings).expect("accepted");
        plan.desired.children.last().expect("a workload").manifest["spec"]["template"].clone()
    };
    let secret = |keys: &str| format!("{{auth: {{secretRef: {{name: s, keys: {keys}}}}}}}");
    let base = pods("{}");
    assert_eq!(base, pods("{limits: {allocations: 5}, peers: {deny: [192.0.2.0/24]}}"));
    assert_eq!(base, pods("{replicas: 3}"));
    assert_eq!(pods(&secret("[a]")), pods(&secret("[b, a]")));
    assert_eq!(base, pods("{realm: other}"));
    assert_eq!(base, pods("{features: {tcpRelaying: true, mobility: false}}"));
    let tls = |secret: &str| format!("{{tls: {{secretRef: {{name: {secret}}}}}}}");
    assert_ne!(pods(&tls("a")), pods(&tls("b")));
    assert_ne!(base, pods("{listeners: [{name: udp, protocol: UDP, port: 3478}]}"));
    assert_ne!(base, pods("{relayPorts: {from: 62000, to: 63000}}"));
    assert_ne!(base, pods("{pod: {image: other}}"));
}
