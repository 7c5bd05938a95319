//! A probe that somebody else is asked to make, in the form in which it travels.

use std::{fmt, net::SocketAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::{Credentials, Observation, Stage, Target, Transport, Trust, echo};

/// The HTTP header with the signature of an order, over the body of the request.
pub const SIGNATURE_HEADER: &str = "turnpike-signature";
/// The longest time that a probe may be given.
const LONGEST_LIMIT: Duration = Duration::from_secs(10);
/// How long a probe takes to end its allocations, at most, after its limit.
const RELEASE: Duration = Duration::from_millis(500);
/// How many certificates an order may name.
const MOST_CERTIFICATES: usize = 4;

/// A probe of one listener over one address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbeOrder {
    /// The listener.
    pub server: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// The user name of a probe's credential.
    pub username: String,
    /// Its password.
    pub password: String,
    /// The relay ports to ask for.
    pub relay_ports: [u16; 2],
    /// The certificates that the relay may have (base64 of DER), where the transport needs one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// How long it may take.
    pub limit_milliseconds: u32,
}

/// Without the password.
impl fmt::Debug for ProbeOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, transport, username, .. } = self;
        f.debug_struct("ProbeOrder")
            .field("server", server)
            .field("transport", transport)
            .field("username", username)
            .finish_non_exhaustive()
    }
}

/// What a relay answers to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeAnswer {
    /// What was found; absent when the order was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
    /// The clock of who answers, in seconds since 1970.
    pub unix_seconds: u64,
}

impl ProbeOrder {
    /// Makes the probe.
    pub async fn run(&self) -> Observation {
        match self.target() {
            Ok(target) => echo(&target).await.into(),
            Err(says) => Observation::not_made(&says),
        }
    }

    /// When it has ended for certain.
    #[must_use]
    pub fn ends_within(&self) -> Duration {
        self.limit() + RELEASE
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.limit_milliseconds.into()).min(LONGEST_LIMIT)
    }

    fn target(&self) -> Result<Target, String> {
        let credentials = Credentials::new(&*self.username, &*self.password);
        let credentials = credentials.map_err(|error| format!("username: {error}"))?;
        Ok(Target {
            server: self.server,
            transport: self.transport,
            credentials: [credentials.clone(), credentials],
            relay_ports: self.relay_ports.map(Some),
            last: Stage::PeerEcho,
            limit: self.limit(),
            bind: None,
            relayed_at: None,
            trust: self.trust()?,
            as_proxy: false,
        })
    }

    fn trust(&self) -> Result<Option<Trust>, String> {
        if !matches!(self.transport, Transport::Tls | Transport::Dtls) {
            return Ok(None);
        }
        let decode = |text: &String| STANDARD.decode(text).map(CertificateDer::from);
        let certificates: Vec<_> = self
            .certificates
            .iter()
            .take(MOST_CERTIFICATES)
            .map(decode)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("certificates: {error}: must be base64 of DER"))?;
        Trust::one_of(certificates).map(Some).map_err(|error| format!("certificates: {error}"))
    }
}
