//! The HTTP port for probes, metrics and status, and for the operator's orders.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use turn_net::{Snapshot, WorkerLost};

use crate::{Relay, Status, clients::clients as counted, metrics, probing, reload::ReloadCounts};

/// What the pages are made of.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The relay.
    pub relay: Arc<Relay>,
    /// How often its files have changed.
    pub reloads: Arc<ReloadCounts>,
}

/// Opens the port, so that it is known to be free before anything is served.
///
/// # Errors
/// When another program has it.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves `/livez`, `/readyz`, `/metrics`, `/status`, `/clients` and `/probe` until it is stopped.
///
/// # Errors
/// When the port breaks.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) -> io::Result<()> {
    let orders = probing::routes(Arc::clone(&admin.relay));
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/clients", get(clients))
        .with_state(admin)
        .merge(orders);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Asking the workers blocks for a moment.
async fn snapshot(relay: &Arc<Relay>) -> Result<Snapshot, Response> {
    let relay = Arc::clone(relay);
    let asked = tokio::task::spawn_blocking(move || relay.snapshot()).await;
    let lost = |error: String| (StatusCode::INTERNAL_SERVER_ERROR, error).into_response();
    match asked {
        Ok(answer) => answer.map_err(|error: WorkerLost| lost(format!("{error}\n"))),
        Err(error) => Err(lost(format!("{error}\n"))),
    }
}

/// Alive as long as each worker answers.
async fn livez(State(admin): State<Admin>) -> Response {
    match snapshot(&admin.relay).await {
        Ok(_) => "ok\n".into_response(),
        Err(response) => response,
    }
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let readiness = admin.relay.readiness();
    if readiness.ready {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", readiness.reason)).into_response()
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let snapshot = match snapshot(&admin.relay).await {
        Ok(snapshot) => snapshot,
        Err(response) => return response,
    };
    match metrics::render(&admin.relay, &snapshot, admin.reloads.get()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn status(State(admin): State<Admin>) -> Response {
    match snapshot(&admin.relay).await {
        Ok(snapshot) => Json(Status::of(&admin.relay, &snapshot)).into_response(),
        Err(response) => response,
    }
}

async fn clients(State(admin): State<Admin>) -> Response {
    match snapshot(&admin.relay).await {
        Ok(snapshot) => {
            Json(counted(&snapshot.clients, &admin.relay.client_networks())).into_response()
        }
        Err(response) => response,
    }
}
