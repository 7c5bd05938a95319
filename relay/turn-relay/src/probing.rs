//! Probes of other relays of the fleet, on the operator's order: only who is on another node sees
//! what a firewall in front of a relay lets through.
//!
//! An order is signed with the fleet's secret, and names a relay of the fleet: who has the secret can
//! have nobody else probed.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::post,
};
use tokio::sync::Semaphore;
use turn_auth::UnixSeconds;
use turn_probe::{Observation, ProbeAnswer, ProbeOrder, SIGNATURE_HEADER};

use crate::Relay;

/// The longest order, in bytes: four certificates fit.
const LONGEST_ORDER: usize = 32 << 10;
/// How many probes a relay makes at a time.
const AT_ONCE: usize = 64;

#[derive(Debug, Clone)]
struct Probing {
    relay: Arc<Relay>,
    permits: Arc<Semaphore>,
}

/// `POST /probe`.
pub(crate) fn routes(relay: Arc<Relay>) -> Router {
    Router::new()
        .route("/probe", post(probe))
        .layer(DefaultBodyLimit::max(LONGEST_ORDER))
        .with_state(Probing { relay, permits: Arc::new(Semaphore::new(AT_ONCE)) })
}

async fn probe(State(probing): State<Probing>, headers: HeaderMap, body: Bytes) -> Response {
    let Probing { relay, permits } = probing;
    let now = unix_now();
    let signature = headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok());
    if !signature.is_some_and(|signature| relay.verify_probe_order(signature, &body, now)) {
        return answer(StatusCode::UNAUTHORIZED, None);
    }
    let order = match Json::<ProbeOrder>::from_bytes(&body) {
        Ok(Json(order)) => order,
        Err(refused) => return refused.into_response(),
    };
    let server = order.server.ip();
    if !relay.config().peers.relays.contains(&server) {
        let says = format!("server: {server} is no relay of this fleet (peers.relays)\n");
        return (StatusCode::FORBIDDEN, says).into_response();
    }
    let Ok(_permit) = permits.try_acquire() else {
        return (StatusCode::TOO_MANY_REQUESTS, "too many probes at once\n").into_response();
    };
    answer(StatusCode::OK, Some(order.run().await))
}

fn answer(status: StatusCode, observation: Option<Observation>) -> Response {
    (status, Json(ProbeAnswer { observation, unix_seconds: unix_now().0 })).into_response()
}

fn unix_now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixSeconds(since.as_secs())
}
