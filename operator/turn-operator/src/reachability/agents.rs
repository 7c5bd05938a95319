//! Agents outside (`turnctl vantage`): they ask for orders and bring what they have found, with a
//! token of their own. Served by every replica; only the leader observes fleets, and the others say
//! so: an agent then asks again, on another connection, until it meets the leader.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::{
        HeaderMap, StatusCode,
        header::{AUTHORIZATION, CONNECTION, RETRY_AFTER},
    },
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde_json::json;
use turn_probe::agent::{AgentOrders, AgentReport, MOST_ANSWERS};

use super::store::Reachability;

/// The longest report, in bytes.
const LONGEST_REPORT: usize = 256 << 10;
/// How often an agent may ask.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// The fleets that this replica observes, while it is the leader.
#[derive(Debug, Clone, Default)]
pub struct Leading(Arc<Mutex<Option<Reachability>>>);

/// While this lives, the replica is the leader.
#[derive(Debug)]
pub struct Term(Leading);

impl Leading {
    /// Begins a term.
    #[must_use]
    pub fn begin(&self, reachability: Reachability) -> Term {
        self.set(Some(reachability));
        Term(self.clone())
    }

    fn set(&self, reachability: Option<Reachability>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reachability;
    }

    fn get(&self) -> Option<Reachability> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// When each agent has asked last.
type Asked = Arc<Mutex<HashMap<(String, String, String), Instant>>>;

#[derive(Debug, Clone)]
struct Agents {
    leading: Leading,
    asked: Asked,
}

/// `POST /v1/namespaces/{namespace}/turnservers/{name}/vantages/{vantage}`.
pub fn routes(leading: Leading) -> Router {
    let path = "/v1/namespaces/{namespace}/turnservers/{name}/vantages/{vantage}";
    Router::new()
        .route(path, post(ask))
        .layer(DefaultBodyLimit::max(LONGEST_REPORT))
        .with_state(Agents { leading, asked: Asked::default() })
}

async fn ask(
    State(agents): State<Agents>,
    Path((namespace, name, vantage)): Path<(String, String, String)>,
    headers: HeaderMap,
    Json(report): Json<AgentReport>,
) -> Response {
    let Some(reachability) = agents.leading.get() else {
        let mut response =
            refuse(StatusCode::SERVICE_UNAVAILABLE, "this replica is not the leader");
        response.headers_mut().insert(RETRY_AFTER, 1.into());
        // The next one may meet the leader.
        response.headers_mut().insert(CONNECTION, axum::http::HeaderValue::from_static("close"));
        return response;
    };
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Who has no token learns nothing of which fleets and agents there are.
    if !reachability.has_agent(&namespace, &name, &vantage, token) {
        return refuse(
            StatusCode::UNAUTHORIZED,
            "unknown TurnServer or vantage, or not its token: see spec.reachability.vantages",
        );
    }
    if report.answers.len() > MOST_ANSWERS {
        return refuse(StatusCode::BAD_REQUEST, "answers: must have at most 256 items");
    }
    let key = (namespace, name, vantage);
    if !agents.may_ask(&key, Instant::now()) {
        let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "asked too often: wait as told");
        response.headers_mut().insert(RETRY_AFTER, 1.into());
        return response;
    }
    let (namespace, name, vantage) = key;
    match reachability.ask(&namespace, &name, &vantage, &report) {
        Some(orders) => Json::<AgentOrders>(orders).into_response(),
        None => refuse(StatusCode::UNAUTHORIZED, "the TurnServer is gone"),
    }
}

impl Agents {
    /// Whether it is time for this agent to ask again. Only those are remembered that have a token.
    fn may_ask(&self, key: &(String, String, String), now: Instant) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, at| now.saturating_duration_since(*at) < ASK_EVERY);
        if asked.contains_key(key) {
            return false;
        }
        asked.insert(key.clone(), now);
        true
    }
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": {"message": message}}))).into_response()
}
