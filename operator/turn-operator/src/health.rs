//! The operator's HTTP port: probes and metrics.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// What the probes are told.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    connected: AtomicBool,
    leading: AtomicBool,
    synced: AtomicBool,
}

impl Health {
    /// The API server has answered.
    pub fn set_connected(&self) {
        self.0.connected.store(true, Ordering::Relaxed);
    }

    /// Whether this operator is the leader; a new leader has yet to read everything.
    pub fn set_leading(&self, leading: bool) {
        self.0.synced.store(false, Ordering::Relaxed);
        self.0.leading.store(leading, Ordering::Relaxed);
    }

    /// Whether everything has been read.
    pub fn set_synced(&self, synced: bool) {
        self.0.synced.store(synced, Ordering::Relaxed);
    }

    /// Ready is the leader that has read everything, and one that waits to become leader.
    fn is_ready(&self) -> bool {
        let Flags { connected, leading, synced } = &*self.0;
        connected.load(Ordering::Relaxed)
            && (!leading.load(Ordering::Relaxed) || synced.load(Ordering::Relaxed))
    }
}

/// Serves `/livez`, `/readyz` and `/metrics` until the future is dropped.
///
/// # Errors
/// When the port cannot be opened.
pub async fn serve(address: SocketAddr, health: Health, metrics: Metrics) -> io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(health))
        .route("/metrics", get(render).with_state(metrics));
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving probes and metrics");
    axum::serve(listener, router).await
}

async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn render(State(metrics): State<Metrics>) -> Response {
    match metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
