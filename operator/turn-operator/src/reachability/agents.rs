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
    extract::{DefaultBodyLimit, Path, State, rejection::JsonRejection},
    http::{
        HeaderMap, StatusCode,
        header::{AUTHORIZATION, CONNECTION},
    },
    response::{IntoResponse as _, Response},
    routing::post,
};
use schemars::JsonSchema;
use serde::Serialize;
use turn_probe::{
    agent::{AgentOrders, AgentReport, MOST_ANSWERS},
    visit::{Taken, Visit},
};

use super::store::Reachability;
use crate::refusal::Refusal;

/// The longest report, in bytes.
const LONGEST_REPORT: usize = 256 << 10;
/// How often an agent may ask.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How often a visitor may report: each report has everybody probe.
const VISIT_EVERY: Duration = Duration::from_secs(10);

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

/// Where agents report what they have found, and take orders.
pub const AGENT_PATH: &str = "/v1/namespaces/{namespace}/turnservers/{name}/vantages/{vantage}";
/// Where a visitor's browser reports what it has found, as such a vantage.
pub const VISIT_PATH: &str =
    "/v1/namespaces/{namespace}/turnservers/{name}/vantages/{vantage}/visit";

/// What became of a visit's report.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VisitTaken {
    /// How many of its URLs belong to relays of the `TurnServer`.
    known: usize,
    /// How many listeners are probed now from everywhere, since the browser did not reach them.
    probed: usize,
}

/// Of what: namespace, `TurnServer` and vantage.
type Place = (String, String, String);
/// When each has asked last, and whether by the page.
type Asked = Arc<Mutex<HashMap<(Place, bool), Instant>>>;

#[derive(Debug, Clone)]
struct Agents {
    leading: Leading,
    asked: Asked,
}

/// `POST` to [`AGENT_PATH`] and [`VISIT_PATH`].
pub fn routes(leading: Leading) -> Router {
    Router::new()
        .route(AGENT_PATH, post(ask))
        .route(VISIT_PATH, post(visit))
        .layer(DefaultBodyLimit::max(LONGEST_REPORT))
        .with_state(Agents { leading, asked: Asked::default() })
}

async fn ask(
    State(agents): State<Agents>,
    Path(place): Path<Place>,
    headers: HeaderMap,
    report: Result<Json<AgentReport>, JsonRejection>,
) -> Response {
    let (reachability, report) = match agents.read(&place, &headers, report) {
        Ok(read) => read,
        Err(response) => return *response,
    };
    if report.answers.len() > MOST_ANSWERS {
        let says = format!("answers: must have at most {MOST_ANSWERS} items");
        return Refusal::new(StatusCode::BAD_REQUEST, says).into_response();
    }
    if let Some(refusal) = agents.too_soon(&place, false, Instant::now()) {
        return refusal.into_response();
    }
    match reachability.ask(&place.0, &place.1, &place.2, &report) {
        Some(orders) => Json::<AgentOrders>(orders).into_response(),
        None => gone(),
    }
}

async fn visit(
    State(agents): State<Agents>,
    Path(place): Path<Place>,
    headers: HeaderMap,
    visit: Result<Json<Visit>, JsonRejection>,
) -> Response {
    let (reachability, visit) = match agents.read(&place, &headers, visit) {
        Ok(read) => read,
        Err(response) => return *response,
    };
    if let Some(refusal) = agents.too_soon(&place, true, Instant::now()) {
        return refusal.into_response();
    }
    match reachability.visited(&place.0, &place.1, &place.2, &visit) {
        Some(Ok(Taken { unreached, known })) => {
            Json(VisitTaken { known, probed: unreached.len() }).into_response()
        }
        Some(Err(refused)) => {
            agents.forget_visit(place);
            Refusal::new(StatusCode::BAD_REQUEST, refused.to_string()).into_response()
        }
        None => gone(),
    }
}

impl Agents {
    /// The fleets, for who has the vantage's token.
    fn admit(&self, place: &Place, headers: &HeaderMap) -> Result<Reachability, Box<Response>> {
        let Some(reachability) = self.leading.get() else {
            let mut response =
                Refusal::unavailable("this replica is not the leader").into_response();
            // The next one may meet the leader.
            let close = axum::http::HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
            return Err(Box::new(response));
        };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Who has no token learns nothing of which fleets and agents there are.
        if reachability.has_agent(&place.0, &place.1, &place.2, token) {
            return Ok(reachability);
        }
        let says =
            "unknown TurnServer or vantage, or not its token: see spec.reachability.vantages";
        Err(Box::new(Refusal::new(StatusCode::UNAUTHORIZED, says).into_response()))
    }

    /// The fleets, and what somebody says who has the vantage's token.
    fn read<T>(
        &self,
        place: &Place,
        headers: &HeaderMap,
        body: Result<Json<T>, JsonRejection>,
    ) -> Result<(Reachability, T), Box<Response>> {
        let reachability = self.admit(place, headers)?;
        let Json(said) = body.map_err(|wrong| {
            Box::new(Refusal::new(wrong.status(), wrong.body_text()).into_response())
        })?;
        Ok((reachability, said))
    }

    /// Unless it is time for this vantage to ask again. Only those are remembered that have a token.
    fn too_soon(&self, place: &Place, is_visit: bool, now: Instant) -> Option<Refusal> {
        let pause = |is_visit| if is_visit { VISIT_EVERY } else { ASK_EVERY };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|(_, is_visit), at| now.saturating_duration_since(*at) < pause(*is_visit));
        let key = (place.clone(), is_visit);
        if asked.contains_key(&key) {
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "asked too often");
            return Some(refusal.after(pause(is_visit)));
        }
        asked.insert(key, now);
        None
    }

    /// A visit that was not taken is not waited for.
    fn forget_visit(&self, place: Place) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.remove(&(place, true));
    }
}

fn gone() -> Response {
    Refusal::new(StatusCode::UNAUTHORIZED, "the TurnServer is gone").into_response()
}

#[cfg(test)]
mod tests;
