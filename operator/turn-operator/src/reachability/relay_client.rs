//! What the operator asks relays on their HTTP ports: to probe another one (`POST /probe`, signed with
//! the fleet's secret), and what their clients do (`GET /clients`).

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::Bytes,
    http::{Request, StatusCode, header::CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::timeout;
use turn_auth::{Secret, UnixSeconds, sign_probe_order};
use turn_probe::{ProbeAnswer, ProbeOrder, SIGNATURE_HEADER, clients::ClientCounts};

/// How long an order may be on its way.
const SIGNED_SECONDS: u64 = 30;
/// How long a relay may take beyond the probe itself.
const MARGIN: Duration = Duration::from_secs(2);
/// The longest answer, in bytes.
const LONGEST_ANSWER: usize = 16 << 10;
/// How long a relay may take to tell of its clients.
const CLIENTS_LIMIT: Duration = Duration::from_secs(5);
/// The longest answer to that, in bytes: 256 networks and dozens of listeners fit.
const LONGEST_CLIENTS: usize = 128 << 10;

/// Why a relay did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("it does not answer within {0:?}")]
    Late(Duration),
    #[error(transparent)]
    Request(#[from] axum::http::Error),
    #[error("it cannot be asked: {0}")]
    Connect(#[from] hyper_util::client::legacy::Error),
    #[error("its answer cannot be read: {0}")]
    Read(Box<dyn std::error::Error + Send + Sync>),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("its answer makes no sense: {0}")]
    Json(#[from] serde_json::Error),
}

/// Keeps connections to the relays.
#[derive(Debug, Clone)]
pub(super) struct RelayClient(Client<HttpConnector, Full<Bytes>>);

impl RelayClient {
    pub(super) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// Has the relay at `admin` make a probe.
    pub(super) async fn ask(
        &self,
        admin: SocketAddr,
        order: &ProbeOrder,
        secret: &Secret,
        now: UnixSeconds,
    ) -> Result<ProbeAnswer, AskError> {
        let limit = order.ends_within() + MARGIN;
        let asked = timeout(limit, self.ask_in_time(admin, order, secret, now)).await;
        asked.map_err(|_| AskError::Late(limit))?
    }

    async fn ask_in_time(
        &self,
        admin: SocketAddr,
        order: &ProbeOrder,
        secret: &Secret,
        now: UnixSeconds,
    ) -> Result<ProbeAnswer, AskError> {
        let body = serde_json::to_vec(order)?;
        let until = UnixSeconds(now.0 + SIGNED_SECONDS);
        let request = Request::post(format!("http://{admin}/probe"))
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, sign_probe_order(secret, &body, until))
            .body(Full::from(body))?;
        let (status, body) = self.request(request, LONGEST_ANSWER).await?;
        match status {
            // Who refuses tells its clock, which may be why.
            StatusCode::OK | StatusCode::UNAUTHORIZED => Ok(serde_json::from_slice(&body)?),
            other => Err(AskError::Status(other)),
        }
    }

    /// What has come of the clients of the relay at `admin`.
    pub(super) async fn clients(&self, admin: SocketAddr) -> Result<ClientCounts, AskError> {
        let asked = timeout(CLIENTS_LIMIT, self.clients_in_time(admin)).await;
        asked.map_err(|_| AskError::Late(CLIENTS_LIMIT))?
    }

    async fn clients_in_time(&self, admin: SocketAddr) -> Result<ClientCounts, AskError> {
        let request = Request::get(format!("http://{admin}/clients")).body(Full::default())?;
        match self.request(request, LONGEST_CLIENTS).await? {
            (StatusCode::OK, body) => Ok(serde_json::from_slice(&body)?),
            (other, _) => Err(AskError::Status(other)),
        }
    }

    async fn request(
        &self,
        request: Request<Full<Bytes>>,
        longest: usize,
    ) -> Result<(StatusCode, Bytes), AskError> {
        let answer = self.0.request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), longest).collect().await;
        Ok((status, body.map_err(AskError::Read)?.to_bytes()))
    }
}
