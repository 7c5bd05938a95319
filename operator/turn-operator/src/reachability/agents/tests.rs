//! The routes, with the fleets of a leader behind them.

use std::collections::{BTreeMap, BTreeSet};

use axum::{body::Body, http::Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use turn_auth::Secret;
use turn_probe::{
    Transport,
    plan::{Listener, PortRange, Relay, Vantage, VantageKind},
    sign::SignKind,
    survey::Fleet,
};

use super::*;
use crate::{metrics::Metrics, reachability::Facts};

const TOKEN: &str = "token-of-the-phone";

/// A relay on a port of loopback where nothing listens.
fn facts() -> Facts {
    let phone = "phone";
    let vantage = Vantage { name: phone.into(), kind: VantageKind::Outside, node: None };
    let relay =
        Relay { name: "a".into(), node: "n".to_owned(), region: "eu".into(), addresses: vec![[127, 0, 0, 1].into()] };
    let listener = Listener { name: "udp".into(), transport: Transport::Udp, port: 9 };
    let secret = |text: &str| Secret::from_file(text.as_bytes()).expect("a secret");
    Facts {
        namespace: "media".to_owned(),
        name: "edge".to_owned(),
        fleet: Fleet {
            relays: vec![relay],
            listeners: vec![listener],
            vantages: vec![vantage],
            relay_ports: PortRange { from: 61_000, to: 65_535 },
            min_vantages: 1,
            fail_open: true,
            admitted: BTreeSet::new(),
            skewed: BTreeSet::new(),
        },
        secret: secret("shared"),
        certificate: None,
        admin: BTreeMap::new(),
        agents: [(phone.to_owned(), secret(TOKEN))].into(),
    }
}

struct Scene {
    leading: Leading,
    reachability: Reachability,
    routes: Router,
}

impl Scene {
    fn new() -> Self {
        let metrics = Metrics::new().expect("each name once");
        let reachability = Reachability::new(metrics, Arc::new(|_: &str| ()));
        reachability.follow("uid", Some(facts()));
        let leading = Leading::default();
        Self { routes: routes(leading.clone()), leading, reachability }
    }

    async fn post(&self, path: &str, token: &str, body: &str) -> (StatusCode, HeaderMap, Value) {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .expect("a request");
        let response = self.routes.clone().oneshot(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (head.status, head.headers, serde_json::from_slice(&body).unwrap_or_default())
    }
}

const VISIT: &str = "/v1/namespaces/media/turnservers/edge/vantages/phone/visit";
const REPORT: &str = r#"{"urls": [{"url": "turn:127.0.0.1:9", "relayed": false, "errorCode": 701},
    {"url": "turn:192.0.2.9", "relayed": true}], "relaysData": false}"#;

#[tokio::test]
async fn what_a_browser_reports_is_told_and_looked_into() {
    let scene = Scene::new();
    let _term = scene.leading.begin(scene.reachability.clone());
    let (status, _, answer) = scene.post(VISIT, TOKEN, REPORT).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"known": 1, "probed": 1})));
    let limit = Instant::now() + Duration::from_secs(30);
    let signs = loop {
        let signs = scene.reachability.verdict("uid").expect("observed").signs;
        if !signs.is_empty() || Instant::now() > limit {
            break signs;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(signs.iter().all(|sign| sign.kind == SignKind::ReportedUnreachable));
    assert!(signs.len() == 2 && signs.iter().all(|sign| sign.says.contains("phone")), "{signs:?}");
    let verdict = scene.reachability.verdict("uid").expect("observed");
    assert!(!verdict.relays["a"].admitted, "a visit lets nobody in");
    let (status, headers, _) = scene.post(VISIT, TOKEN, REPORT).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(headers.contains_key("retry-after"));
}

#[tokio::test]
async fn who_may_not_report_learns_nothing_and_what_is_wrong_is_named() {
    let scene = Scene::new();
    let (status, headers, _) = scene.post(VISIT, TOKEN, REPORT).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "not the leader");
    assert_eq!(headers["connection"], "close");
    let _term = scene.leading.begin(scene.reachability.clone());
    let other = VISIT.replace("edge", "core");
    for (path, token) in [(VISIT, "wrong"), (&other, TOKEN), (VISIT, "")] {
        let (status, _, answer) = scene.post(path, token, REPORT).await;
        let says = answer["error"]["message"].as_str().unwrap_or_default();
        assert_eq!((status, &says[..7]), (StatusCode::UNAUTHORIZED, "unknown"), "{path}");
    }
    for (body, says) in
        [("{", "EOF"), (r#"{"urls": [], "colour": 1}"#, "colour"), (r#"{"urls": 1}"#, "urls")]
    {
        let (status, _, answer) = scene.post(VISIT, TOKEN, body).await;
        assert!(status.is_client_error() && answer.to_string().contains(says), "{answer}");
    }
}

#[tokio::test]
async fn a_visit_of_another_fleet_is_refused() {
    let scene = Scene::new();
    let _term = scene.leading.begin(scene.reachability.clone());
    let foreign = r#"{"urls": [{"url": "turn:192.0.2.9", "relayed": false}]}"#;
    let (status, _, answer) = scene.post(VISIT, TOKEN, foreign).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["error"]["message"], turn_probe::visit::VisitRefused::Foreign.to_string());
}
