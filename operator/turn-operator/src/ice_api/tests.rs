//! The routes, before an API server that answers from a table.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::http::{HeaderName, Request};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::{client::Body as KubeBody, runtime::watcher::Event};
use serde_json::{Value, json};
use tower::{ServiceExt as _, service_fn};
use turn_api::TurnServer;
use turn_auth::Secret;

use super::*;
use crate::reachability::{AGENT_PATH, VISIT_PATH};

/// An API server: what it was asked, and the API keys of its Secret.
#[derive(Clone, Default)]
struct Cluster {
    reviews: Arc<AtomicU32>,
    keys: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
    tokens: Arc<Mutex<Vec<String>>>,
}

impl Cluster {
    fn client(&self) -> Client {
        let cluster = self.clone();
        let service = service_fn(move |request: Request<KubeBody>| {
            let cluster = cluster.clone();
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect_bytes().await.unwrap_or_default();
                let (status, answer) = cluster.answer(&path, &body);
                let mut response = Response::new(KubeBody::from(answer.to_string().into_bytes()));
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let secret = |data: Value| json!({"metadata": {"name": "any"}, "data": data});
        match path {
            "/apis/authentication.k8s.io/v1/tokenreviews" => {
                self.reviews.fetch_add(1, Ordering::Relaxed);
                let token = asked["spec"]["token"].as_str().unwrap_or_default().to_owned();
                let user = token.strip_prefix("token-of-");
                let answer = json!({"metadata": {}, "spec": {}, "status": {
                    "authenticated": user.is_some(),
                    "user": {"username": user},
                }});
                self.tokens.lock().expect("no panic").push(token);
                (StatusCode::CREATED, answer)
            }
            "/apis/authorization.k8s.io/v1/subjectaccessreviews" => {
                let of = &asked["spec"];
                let what = &of["resourceAttributes"];
                let is_about = what["resource"] == "turnservers"
                    && what["subresource"] == "iceservers"
                    && what["verb"] == "get";
                let allowed = is_about && of["user"] == "anna";
                let status = json!({"allowed": allowed});
                (StatusCode::CREATED, json!({"metadata": {}, "spec": {}, "status": status}))
            }
            "/api/v1/namespaces/media/secrets/edge-credentials" => {
                let value = STANDARD.encode("shared");
                (StatusCode::OK, secret(json!({"shared-secret": value})))
            }
            "/api/v1/namespaces/media/secrets/api-keys" => {
                let keys = self.keys.lock().expect("no panic");
                let data = keys.iter().map(|(name, key)| (*name, STANDARD.encode(key)));
                (StatusCode::OK, secret(json!(data.collect::<std::collections::BTreeMap<_, _>>())))
            }
            _ => (
                StatusCode::NOT_FOUND,
                json!({"kind": "Status", "code": 404, "reason": "NotFound"}),
            ),
        }
    }
}

fn turn_server(spec: &Value) -> TurnServer {
    let relay = |pod: &str, region: &str, address: &str| {
        json!({
            "pod": pod, "region": region, "ready": true,
            "urls": [
                format!("turn:{address}:3478?transport=udp"),
                format!("turn:{address}:3478?transport=tcp"),
            ],
        })
    };
    let object = json!({
        "apiVersion": "turnpike.dev/v1alpha1",
        "kind": "TurnServer",
        "metadata": {"name": "edge", "namespace": "media", "uid": "u1"},
        "spec": spec,
        "status": {"relays": [
            relay("a", "eu", "192.0.2.1"),
            relay("b", "us", "192.0.2.2"),
            {
                "pod": "c", "region": "eu", "ready": false,
                "reachability": [{
                    "listener": "udp", "address": "192.0.2.3", "reached": "False",
                    "reason": "ListenerPortBlocked", "message": "open UDP 3478",
                }],
            },
        ]},
    });
    serde_json::from_value(object).expect("a TurnServer")
}

struct Scene {
    cluster: Cluster,
    api: IceApi,
}

impl Scene {
    fn new(ice_servers: &Value) -> Self {
        let cluster = Cluster::default();
        *cluster.keys.lock().expect("no panic") = vec![("shop", "key-1"), ("app", "key-2")];
        let metrics = Metrics::new().expect("metrics");
        let api = IceApi::new(cluster.client(), metrics, Leading::default());
        let spec = json!({
            "regions": [{"name": "eu"}, {"name": "us"}],
            "iceServers": ice_servers,
        });
        api.api.fleets.note(Event::Init);
        api.api.fleets.note(Event::InitApply(turn_server(&spec)));
        api.api.fleets.note(Event::InitDone);
        Self { cluster, api }
    }

    fn with_keys() -> Self {
        Self::new(&json!({"apiKeys": {"secretRef": {"name": "api-keys"}}}))
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
        let response = self.api.routes().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.expect("a body");
        (parts.status, parts.headers, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn get(&self, query: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Value) {
        self.send(request(Method::GET, query, headers, "")).await
    }
}

const AT: &str = "/v1/namespaces/media/turnservers/edge/iceservers";
const KEY: (&str, &str) = ("x-api-key", "key-2");

fn request(method: Method, query: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(format!("{AT}{query}"));
    for (name, value) in headers {
        request = request.header(name.parse::<HeaderName>().expect("a name"), *value);
    }
    request.body(Body::from(body.to_owned())).expect("a request")
}

fn urls(answer: &Value) -> Vec<&str> {
    let urls = answer["iceServers"][0]["urls"].as_array();
    urls.into_iter().flatten().filter_map(Value::as_str).collect()
}

#[tokio::test]
async fn who_has_a_key_gets_what_is_reached_with_a_credential_of_its_own() {
    let scene = Scene::with_keys();
    let (status, headers, answer) = scene.get("?region=us", &[KEY]).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(urls(&answer)[0], "turn:192.0.2.2:3478?transport=udp");
    assert_eq!(urls(&answer).len(), 4, "{answer}");
    assert_eq!(answer["ttlSeconds"], 86_400, "{answer}");
    let username = answer["iceServers"][0]["username"].as_str().expect("a name");
    let expires = username.split_once(':').expect("expiry:user").0.parse().expect("seconds");
    let user = username.split_once(':').expect("expiry:user").1;
    let secret = Secret::from_file(b"shared").expect("a secret");
    let expected = TimeLimitedCredential::mint(&secret, user, UnixSeconds(expires));
    assert_eq!(answer["iceServers"][0]["credential"], expected.password);
    let (_, _, other) = scene.get("", &[KEY]).await;
    assert_ne!(other["iceServers"][0]["username"], username, "one quota for all clients");
}

#[tokio::test]
async fn either_key_is_taken_while_they_are_rotated_and_no_other() {
    let scene = Scene::with_keys();
    for (key, expected) in [("key-1", 200), ("key-2", 200), ("key-3", 401), ("", 401)] {
        let (status, _, answer) = scene.get("", &[("x-api-key", key)]).await;
        assert_eq!(status.as_u16(), expected, "{key}: {answer}");
    }
    let without = Scene::new(&json!({}));
    assert_eq!(without.get("", &[KEY]).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_is_reviewed_once_and_an_api_key_never() {
    let scene = Scene::with_keys();
    for _ in 0..3 {
        let bearer = ("authorization", "Bearer token-of-anna");
        assert_eq!(scene.get("", &[bearer]).await.0, StatusCode::OK);
        assert_eq!(scene.get("", &[KEY]).await.0, StatusCode::OK);
    }
    let bearer = ("authorization", "Bearer token-of-bert");
    let (status, _, answer) = scene.get("", &[bearer]).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(answer["error"]["message"].as_str().expect("why").contains("bert"), "{answer}");
    let (status, headers, _) = scene.get("", &[("authorization", "Bearer nonsense")]).await;
    assert_eq!(
        (status, &headers[header::WWW_AUTHENTICATE]),
        (StatusCode::UNAUTHORIZED, &HeaderValue::from_static("Bearer"))
    );
    assert_eq!(scene.get("", &[]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(scene.cluster.reviews.load(Ordering::Relaxed), 3);
    let tokens = scene.cluster.tokens.lock().expect("no panic");
    assert!(tokens.iter().all(|token| !token.contains("key")), "{tokens:?}");
}

#[tokio::test]
async fn who_has_proved_nothing_learns_of_no_turn_server() {
    let scene = Scene::with_keys();
    let at = |name: &str, header: (&str, &str)| {
        let uri = format!("/v1/namespaces/media/turnservers/{name}/iceservers");
        Request::builder().uri(uri).header(header.0, header.1).body(Body::empty()).expect("one")
    };
    let wrong = ("x-api-key", "wrong");
    let (first, second) =
        (scene.send(at("edge", wrong)).await, scene.send(at("none", wrong)).await);
    assert_eq!((first.0, &first.2), (second.0, &second.2));
    let known = scene.send(at("none", ("authorization", "Bearer token-of-anna"))).await;
    assert_eq!(known.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let scene = Scene::with_keys();
    for (query, field, part) in [
        ("?region=mars", "region", "eu, us"),
        ("?user=", "user", "1 to 128"),
        ("?user=turnpike-probe:x", "user", "probers"),
        ("?user=a%0Ab", "user", "control"),
        ("?diagnose=maybe", "diagnose", "1 or 0"),
        ("?colour=red", "query", "colour"),
    ] {
        let (status, _, answer) = scene.get(query, &[KEY]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer["error"]["field"], field, "{query}");
        let message = answer["error"]["message"].as_str().expect("a message");
        assert!(message.contains(part), "{query}: {message}");
    }
    for (body, part) in [("{", "EOF"), (r#"{"regoin": "eu"}"#, "regoin"), (r#"{"user": 7}"#, "7")] {
        let (status, _, answer) = scene.send(request(Method::POST, "", &[KEY], body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer["error"]["message"].as_str().expect("why").contains(part), "{answer}");
    }
    let long = " ".repeat(LONGEST_BODY + 1);
    let (status, ..) = scene.send(request(Method::POST, "", &[KEY], &long)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, ..) = scene.send(request(Method::DELETE, "", &[KEY], "")).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_body_says_the_same_as_a_query_and_a_balancer_s_region_is_a_hint() {
    let scene = Scene::with_keys();
    let body = r#"{"region": "us", "user": "anna:phone", "diagnose": true}"#;
    let (status, _, answer) = scene.send(request(Method::POST, "", &[KEY], body)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let username = answer["iceServers"][0]["username"].as_str().expect("a name");
    assert!(username.ends_with(":anna:phone"), "{username}");
    assert_eq!(answer["leftOut"][0]["reason"], "ListenerPortBlocked", "{answer}");
    assert_eq!(answer["leftOut"][0]["relay"], "c");
    for (region, first) in [("us", "192.0.2.2"), ("mars", "")] {
        let (status, _, answer) = scene.get("", &[KEY, ("x-turnpike-region", region)]).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert!(urls(&answer)[0].contains(first), "{answer}");
    }
}

#[tokio::test]
async fn a_caller_that_asks_too_often_is_told_when_to_come_back() {
    let keys = json!({"apiKeys": {"secretRef": {"name": "api-keys"}}, "requestsPerSecond": 5});
    let scene = Scene::new(&keys);
    let mut codes = Vec::new();
    for _ in 0..10 {
        let (status, headers, _) = scene.get("", &[KEY]).await;
        let retry = headers.get(header::RETRY_AFTER).is_some();
        assert_eq!(retry, status == StatusCode::TOO_MANY_REQUESTS);
        codes.push(status.as_u16());
    }
    assert!(codes.contains(&200) && codes.contains(&429), "{codes:?}");
    assert_eq!(scene.get("", &[("x-api-key", "key-1")]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn pages_of_allowed_origins_may_ask() {
    let scene = Scene::new(&json!({
        "apiKeys": {"secretRef": {"name": "api-keys"}},
        "allowedOrigins": ["https://meet.example.com"],
    }));
    for (origin, allowed) in
        [("https://meet.example.com", true), ("https://evil.example", false), ("null", false)]
    {
        let origin = ("origin", origin);
        let asked = request(Method::OPTIONS, "", &[origin], "");
        for (status, headers, _) in [scene.send(asked).await, scene.get("", &[KEY, origin]).await] {
            assert!(status.is_success());
            assert_eq!(headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), allowed);
            assert_eq!(headers[header::VARY], "origin");
        }
    }
}

#[tokio::test]
async fn without_a_relay_that_can_be_used_it_says_why() {
    let scene = Scene::with_keys();
    let mut empty =
        turn_server(&json!({"iceServers": {"apiKeys": {"secretRef": {"name": "api-keys"}}}}));
    let status = empty.status.as_mut().expect("a status");
    status.relays.truncate(0);
    scene.api.api.fleets.note(Event::Apply(empty));
    let (status, headers, answer) = scene.get("", &[KEY]).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    assert!(headers.contains_key(header::RETRY_AFTER));
    let fresh =
        IceApi::new(scene.cluster.client(), Metrics::new().expect("metrics"), Leading::default());
    let response = fresh.routes().oneshot(request(Method::GET, "", &[KEY], "")).await;
    assert_eq!(response.expect("infallible").status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_description_names_what_is_served() {
    let scene = Scene::with_keys();
    let asked = Request::builder().uri("/openapi.json").body(Body::empty()).expect("a request");
    let (_, _, document) = scene.send(asked).await;
    let path = &document["paths"][PATH];
    assert!(path["get"]["responses"]["200"].is_object(), "{document:#}");
    let schemas = &document["components"]["schemas"];
    let (_, _, answer) = scene.get("?diagnose=1", &[KEY]).await;
    let fields = |value: &Value| value.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>());
    assert_eq!(fields(&schemas["Answer"]["properties"]), fields(&answer));
    let server = &answer["iceServers"][0];
    assert_eq!(fields(&schemas["IceServer"]["properties"]), fields(server));
    for (path, asks, answers) in
        [(AGENT_PATH, "AgentReport", "AgentOrders"), (VISIT_PATH, "Visit", "VisitTaken")]
    {
        let post = &document["paths"][path]["post"];
        let body = &post["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let answer = &post["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
        let named = |name: &str| format!("#/components/schemas/{name}");
        assert_eq!([body, answer], [&json!(named(asks)), &json!(named(answers))]);
        assert!(schemas[asks].is_object() && schemas[answers].is_object(), "{schemas:#}");
    }
    let parameters = path["get"]["parameters"].as_array().expect("parameters");
    let names: Vec<_> = parameters.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["diagnose", "region", "user"]);
}
