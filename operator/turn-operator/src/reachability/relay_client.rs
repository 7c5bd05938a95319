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

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode, routing::get};
    use tokio::net::TcpListener;

    use super::*;

    /// What the operator makes of an answer of a relay, who may lie.
    async fn asked(status: StatusCode, body: String) -> Result<ClientCounts, AskError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let admin = listener.local_addr().expect("bound");
        let router = Router::new().route("/clients", get(async move || (status, body)));
        let serving = tokio::spawn(axum::serve(listener, router).into_future());
        let asked = RelayClient::new().clients(admin).await;
        serving.abort();
        asked
    }

    #[tokio::test]
    async fn what_a_relay_tells_of_its_clients_is_taken_if_it_makes_sense_and_has_an_end() {
        let counts = r#"{
            "listeners": [{"name": "udp", "transport": "UDP", "bindings": 1, "challenged": 2,
                           "wrongCredentials": 3, "refused": 4, "allocated": 5, "later": 6}],
            "networks": [{"network": "203.0.0.0/16", "udp": 5, "tcp": 0, "tls": 0, "dtls": 0}],
            "otherNetworks": {"udp": 0, "tcp": 0, "tls": 0, "dtls": 0}
        }"#;
        let taken = asked(StatusCode::OK, counts.to_owned()).await.expect("it makes sense");
        assert_eq!((taken.listeners.len(), taken.networks.len()), (1, 1));
        let long = " ".repeat(LONGEST_CLIENTS) + counts;
        assert!(matches!(asked(StatusCode::OK, long).await, Err(AskError::Read(_))));
        let finer = counts.replace("203.0.0.0/16", "203.0.113.9/32");
        assert!(matches!(asked(StatusCode::OK, finer).await, Err(AskError::Json(_))));
        let less = counts.replace("5", "-5");
        assert!(matches!(asked(StatusCode::OK, less).await, Err(AskError::Json(_))));
        // A relay of the version before has no such page.
        let none = asked(StatusCode::NOT_FOUND, String::new()).await;
        assert!(matches!(none, Err(AskError::Status(StatusCode::NOT_FOUND))));
    }
}
