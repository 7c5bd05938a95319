//! The operator, asked over HTTPS.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::Context as _;
use reqwest::{
    Client, StatusCode, Url,
    header::{AUTHORIZATION, HeaderValue},
};
use rustls::client::danger::ServerCertVerifier;
use turn_probe::agent::{AgentOrders, AgentReport};

use super::Token;
use crate::http;

/// How long an answer may take.
pub(super) const LIMIT: Duration = Duration::from_secs(15);
/// The longest answer, in bytes.
const LONGEST_ANSWER: usize = 4 << 20;

/// Why there are no orders.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// This replica does not lead: another one may.
    NotLeader,
    /// It was asked too soon.
    TooSoon,
    /// The name and the token do not fit, or no such TurnServer is known.
    Refused(String),
    /// It cannot be asked.
    Other(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader => f.write_str("it does not lead; looking for who does"),
            Self::TooSoon => {
                f.write_str("it was asked too soon; does another agent have this name?")
            }
            Self::Refused(says) => write!(f, "it refuses the token: {says}"),
            Self::Other(says) => f.write_str(says),
        }
    }
}

/// Whom to ask, and as whom.
pub(super) struct Operator {
    url: Url,
    token: Token,
    verifier: Arc<dyn ServerCertVerifier>,
    client: Client,
    limit: Duration,
}

impl Operator {
    pub(super) fn new(
        url: Url,
        token: Token,
        verifier: Arc<dyn ServerCertVerifier>,
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let client = http::client(&verifier, limit)?;
        Ok(Self { url, token, verifier, client, limit })
    }

    /// Where it is, for messages.
    pub(super) fn place(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Reports, and asks for orders.
    pub(super) async fn ask(&mut self, report: &AgentReport) -> Result<AgentOrders, Trouble> {
        let asked = self.ask_once(report).await;
        if asked.is_err() {
            // On another connection the next one may meet another replica.
            match http::client(&self.verifier, self.limit) {
                Ok(client) => self.client = client,
                Err(error) => return Err(Trouble::Other(format!("{error:#}"))),
            }
        }
        asked
    }

    async fn ask_once(&self, report: &AgentReport) -> Result<AgentOrders, Trouble> {
        let other = |error: anyhow::Error| Trouble::Other(format!("{error:#}"));
        let bearer = self.bearer().map_err(other)?;
        let request = self.client.post(self.url.clone()).header(AUTHORIZATION, bearer).json(report);
        let response = request.send().await.map_err(|error| Trouble::Other(http::line(error)))?;
        let status = response.status();
        let body = http::body(response, LONGEST_ANSWER).await.map_err(other)?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body)
                .context("its answer makes no sense; is it a Turnpike operator?")
                .map_err(other),
            StatusCode::SERVICE_UNAVAILABLE => Err(Trouble::NotLeader),
            StatusCode::TOO_MANY_REQUESTS => Err(Trouble::TooSoon),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Trouble::Refused(http::message(&body)))
            }
            status => Err(Trouble::Other(format!("{status}: {}", http::message(&body)))),
        }
    }

    fn bearer(&self) -> anyhow::Result<HeaderValue> {
        let token = self.token.read()?;
        let mut bearer = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat())
            .context("the token holds bytes that no HTTP header can")?;
        bearer.set_sensitive(true);
        Ok(bearer)
    }
}
