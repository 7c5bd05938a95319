//! Whether a relay can be reached, found by doing what its clients do.
//!
//! [`echo`] opens two clients, allocates twice, and sends a payload that nobody can guess from one
//! relayed transport address to the other and back, over Send indications and over channels; and, if
//! asked to, one from the prober's own machine through a relay port and back. So it finds what no look
//! at a listener finds: relay ports that are closed.
//!
//! Who probes whom and how often is [`plan`]; what follows from what all of them see is [`judgement`]
//! and [`diagnosis`]; and [`survey`] is all of it for one fleet. These are pure too.
//!
//! What is done and how it is judged is [`Exchange`], which is pure: times and bytes go in. What
//! runs it over sockets is [`echo`].

pub mod agent;
pub mod clients;
pub mod diagnosis;
mod exchange;
mod failure;
pub mod judgement;
mod link;
mod loss;
pub mod observation;
mod order;
pub mod plan;
mod report;
mod run;
mod secure_datagrams;
mod sense;
pub mod sign;
pub mod survey;
mod trust;
pub mod visit;

pub use exchange::{Exchange, Side};
pub use failure::{Cause, CertificateFault, Failure};
pub use observation::{Datagrams, Fault, Observation, PortSeen};
pub use order::{ProbeAnswer, ProbeOrder, SIGNATURE_HEADER};
pub use report::{Report, Stage, Timing};
pub use run::{Target, echo};
pub use trust::Trust;
pub use turn_client::{Credentials, CredentialsError, Failure as AnswerFailure};

use std::fmt;

/// What lies between prober and relay.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// DTLS over UDP.
    Dtls,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Dtls => "DTLS",
        })
    }
}
