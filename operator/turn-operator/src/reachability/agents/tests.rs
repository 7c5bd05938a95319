//! The routes, with the fleets of a leader behind them.

use axum::{body::Body, http::Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use turn_auth::Secret;
use turn_probe::{
    plan::{Vantage, VantageKind},
    sign::SignKind,
};

use super::*;
use crate::{
    metrics::Metrics,
    reachability::{Facts, fixture},
};

const TOKEN: &str = "token-of-the-phone";

/// A fleet that one vantage may report to.
fn facts() -> Facts {
    let phone = "phone";
    let mut facts = fixture::facts();
    let vantage = Vantage { name: phone.into(), kind: VantageKind::Outside, node: None };
    facts.fleet.vantages.push(vantage);
    let token = Secret::from_file(TOKEN.as_bytes()).expect("a secret");
    Facts { agents: [(phone.to_owned(), token)].into(), ..facts }
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
    let (status, ..) = scene.post(VISIT, TOKEN, REPORT).await;
    assert_eq!(status, StatusCode::OK, "what was not taken is not waited for");
}
