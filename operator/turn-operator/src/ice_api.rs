//! The ICE-servers API: who may ask is given what a client needs to reach the relays of a
//! `TurnServer` now, and credentials that end by themselves. Served by every replica of the operator.
//!
//! `choice` decides which URLs, purely; `callers` who may ask; what is known of the fleets
//! (`fleets`) comes from a watch of each replica, so that no request waits for the API server but
//! the first of a caller.

mod answer;
mod asked;
mod callers;
mod choice;
mod fleets;
mod kept;
mod limits;
mod openapi;
mod server;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, get, on},
};
use kube::Client;
use tokio::sync::Semaphore;
use turn_api::Validated;
use turn_auth::{TimeLimitedCredential, UnixSeconds};

pub use self::server::{TlsFiles, serve};
use self::{
    answer::{Answer, IceServer},
    asked::Asked,
    callers::{Caller, Callers},
    fleets::{Fleet, Fleets},
    limits::Limits,
};
use crate::{
    doctor_page,
    metrics::Metrics,
    reachability::{Leading, agent_routes},
    refusal::Refusal,
    turnserver::credentials::best_hash,
    unix_time::unix_now,
};

/// The path of a `TurnServer`'s iceServers.
const PATH: &str = "/v1/namespaces/{namespace}/turnservers/{name}/iceservers";
/// Where a load balancer says from which region a request has come.
const REGION_HEADER: &str = "x-turnpike-region";
/// The longest body of a request, in bytes.
const LONGEST_BODY: usize = 4096;
/// How long a body may take to come.
const BODY_LIMIT: Duration = Duration::from_secs(5);
/// How many requests may be under way at once.
const AT_ONCE: usize = 1024;

/// What the requests have in common.
struct Api {
    fleets: Fleets,
    callers: Callers,
    limits: Limits,
    metrics: Metrics,
    at_once: Semaphore,
}

/// The API.
#[derive(Clone)]
pub struct IceApi {
    api: Arc<Api>,
    leading: Leading,
}

impl IceApi {
    /// An API that knows of no fleet yet.
    #[must_use]
    pub fn new(client: Client, metrics: Metrics, leading: Leading) -> Self {
        let api = Api {
            fleets: Fleets::default(),
            callers: Callers::new(client),
            limits: Limits::default(),
            metrics,
            at_once: Semaphore::new(AT_ONCE),
        };
        Self { api: Arc::new(api), leading }
    }

    /// Follows the fleets. Never ends.
    pub async fn follow(&self, client: Client) {
        self.api.fleets.follow(client).await;
    }

    /// Its routes, those of agents outside and the doctor page among them.
    pub fn routes(&self) -> Router {
        Router::new()
            .route(PATH, on(MethodFilter::GET.or(MethodFilter::POST), ask).options(preflight))
            .with_state(Arc::clone(&self.api))
            .route("/openapi.json", get(|| async { Json(openapi::document()) }))
            .merge(agent_routes(self.leading.clone()))
            .merge(doctor_page::routes())
    }
}

/// Of which `TurnServer`: namespace and name.
type Place = (String, String);

async fn ask(
    State(api): State<Arc<Api>>,
    Path(place): Path<Place>,
    request: Request<Body>,
) -> Response {
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    let fleet = api.fleets.get(&place);
    let answer = match api.at_once.try_acquire() {
        Ok(_permit) => api.answer(&place, fleet.as_deref(), &head, body).await,
        Err(_) => Err(Refusal::unavailable("too many requests at once")),
    };
    let mut response = match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => error.into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    allow_origin(&mut response, fleet.as_deref(), head.headers.get(header::ORIGIN));
    api.metrics.ice_request(response.status().as_u16(), begun.elapsed());
    response
}

/// What a browser asks before a page may ask with headers of its own.
async fn preflight(
    State(api): State<Arc<Api>>,
    Path(place): Path<Place>,
    headers: HeaderMap,
) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let fleet = api.fleets.get(&place);
    if allow_origin(&mut response, fleet.as_deref(), headers.get(header::ORIGIN)) {
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, x-api-key"),
            (header::ACCESS_CONTROL_MAX_AGE, "600"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

/// Lets a page of an allowed origin read the response. There are no cookies here, so none are allowed.
fn allow_origin(
    response: &mut Response,
    fleet: Option<&Fleet>,
    origin: Option<&HeaderValue>,
) -> bool {
    let Some(checked) = fleet.and_then(|fleet| fleet.checked.as_ref().ok()) else { return false };
    let allowed = &checked.ice_servers().allowed_origins;
    let headers = response.headers_mut();
    if !allowed.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    let Some(origin) = origin else { return false };
    let is_allowed = allowed.iter().any(|one| one == "*" || one.as_bytes() == origin.as_bytes());
    if is_allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    is_allowed
}

impl Api {
    async fn answer(
        &self,
        place: &Place,
        fleet: Option<&Fleet>,
        head: &Parts,
        body: Body,
    ) -> Result<Answer, Refusal> {
        if fleet.is_none() && !self.fleets.are_known() {
            return Err(Refusal::unavailable("the TurnServers are still being read"));
        }
        let caller = self.callers.admit(&head.headers, place, fleet).await?;
        let (namespace, name) = place;
        let fleet = fleet.ok_or_else(|| {
            Refusal::new(
                StatusCode::NOT_FOUND,
                format!("there is no TurnServer {name} in the namespace {namespace}"),
            )
        })?;
        let checked = fleet.checked.as_ref().map_err(|why| {
            Refusal::unavailable(format!("the TurnServer is not accepted: {why}"))
        })?;
        self.limit(place, &caller, checked)?;
        let asked = read(head, body).await?;
        let asked = asked.checked(checked, region_header(&head.headers))?;
        let urls = choice::choose(
            &fleet.status.relays,
            asked.region.as_deref(),
            checked.ice_servers().max_urls.into(),
            &mut rand::rng(),
        );
        if urls.is_empty() {
            let why = fleet.why_not_ready();
            return Err(Refusal::unavailable(format!("no relay can be used now: {why}")));
        }
        let credential = self.mint(place, checked, asked.user).await?;
        let left_out = asked.diagnose.then(|| choice::left_out(&fleet.status.relays, &urls));
        let TimeLimitedCredential { username, password } = credential;
        Ok(Answer {
            ice_servers: vec![IceServer { urls, username, credential: password }],
            ttl_seconds: checked.credential_ttl_seconds(),
            left_out,
        })
    }

    fn limit(&self, place: &Place, caller: &Caller, checked: &Validated) -> Result<(), Refusal> {
        let rate = checked.ice_servers().requests_per_second;
        let key = (place.clone(), caller.clone());
        self.limits.take(&key, rate, Instant::now()).map_err(|wait| {
            let message =
                format!("more than {rate} requests per second (spec.iceServers.requestsPerSecond)");
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, message).after(wait)
        })
    }

    async fn mint(
        &self,
        (namespace, _): &Place,
        checked: &Validated,
        user: String,
    ) -> Result<TimeLimitedCredential, Refusal> {
        let secret = self.callers.shared_secret(namespace, checked).await?;
        let hash = best_hash(checked.credential_hashes());
        let expires_at = UnixSeconds(unix_now().0 + u64::from(checked.credential_ttl_seconds()));
        Ok(TimeLimitedCredential::mint_with(hash, &secret, &user, expires_at))
    }
}

fn region_header(headers: &HeaderMap) -> Option<&str> {
    headers.get(REGION_HEADER)?.to_str().ok().filter(|region| !region.is_empty())
}

/// What is asked for: in the query, or in a body of JSON.
async fn read(head: &Parts, body: Body) -> Result<Asked, Refusal> {
    let asked = Asked::from_query(head.uri.query().unwrap_or_default())?;
    if head.method != Method::POST {
        return Ok(asked);
    }
    let read = tokio::time::timeout(BODY_LIMIT, to_bytes(body, LONGEST_BODY)).await;
    let late =
        || Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come within 5 seconds");
    let long =
        || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body: at most 4096 bytes, complete");
    let body = read.map_err(|_| late())?.map_err(|_| long())?;
    if body.trim_ascii().is_empty() {
        return Ok(asked);
    }
    Asked::from_json(&body)
}

#[cfg(test)]
mod tests;
