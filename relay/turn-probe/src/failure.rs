//! Why a probe did not come through, said so that a person can do something about it.

use std::{io, net::SocketAddr, time::Duration};

use rustls::CertificateError;
use turn_client::End;

use crate::{Stage, Timing, Transport};

/// A probe that did not come through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{transport} {server}: {stage} failed")]
pub struct Failure {
    /// How far it came: the stage that failed.
    pub stage: Stage,
    /// The server that was probed.
    pub server: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// The stages before it, in their order.
    pub before: Vec<Timing>,
    /// The relayed addresses that were tried from the prober's own machine, and whether each was
    /// reached, there and back. Of what failed for another reason only those that were reached.
    pub outside: Vec<(SocketAddr, bool)>,
    /// What was observed. Boxed, to keep results small.
    #[source]
    pub cause: Box<Cause>,
}

impl Failure {
    /// All of it in one line: where, which stage, and what was observed.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{self}: {}", self.cause)
    }
}

/// What was observed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The system says no: refused, no route, address not available, …
    #[error("{text}")]
    Io {
        /// Its kind.
        kind: io::ErrorKind,
        /// What the system says to it.
        text: String,
    },
    /// Nothing came within the limit. Over UDP that is a firewall that drops, or a port that nobody
    /// listens on behind one.
    #[error("nothing came back within {:.1} s; something on the way drops it, or nothing listens there", .0.as_secs_f64())]
    Silence(Duration),
    /// The server ended the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The handshake of TLS or DTLS did not succeed.
    #[error("no {0}")]
    Handshake(String),
    /// The handshake brought a certificate that is not believed: another name, expired, signed by
    /// nobody that is known, …
    #[error("the certificate is not believed: {1}")]
    Certificate(CertificateFault, String),
    /// The server's stream holds something else than STUN and ChannelData.
    #[error("what answers is no TURN server: neither STUN nor ChannelData")]
    NotTurn,
    /// The server refused, or answered wrongly.
    #[error("{0}{hint}", hint = hint(.0))]
    Answer(turn_client::Failure),
    /// The server sends its clients elsewhere.
    #[error("the server takes no allocations and names {0} instead")]
    Alternate(SocketAddr),
    /// The allocation ended by itself during the probe.
    #[error("the allocation ended during the probe ({0:?})")]
    Ended(End),
    /// A payload did not arrive.
    #[error(
        "a datagram of {len} bytes from relayed address {from} did not arrive at relayed address {to} within {:.1} s, sent {sends} times; is the range of relay ports open?",
        .after.as_secs_f64()
    )]
    NotRelayed {
        /// The relayed address that it was sent from.
        from: SocketAddr,
        /// The relayed address that it was sent to.
        to: SocketAddr,
        /// The length of its payload, in bytes.
        len: usize,
        /// How long it was waited for.
        after: Duration,
        /// How often it was sent.
        sends: u32,
    },
    /// A payload of the prober's own machine did not come through a relay port: the first of those
    /// that failed.
    #[error(
        "a datagram from here to relayed address {relayed} did not come through within {:.1} s, sent {sends} times; is the range of relay ports open?",
        .after.as_secs_f64()
    )]
    NotFromOutside {
        /// The relayed address that it was sent to.
        relayed: SocketAddr,
        /// How long it was waited for.
        after: Duration,
        /// How often it was sent.
        sends: u32,
    },
    /// It came through, and what was sent back did not arrive.
    #[error(
        "what relayed address {relayed} sent back did not arrive here within {:.1} s, asked {sends} times; may the relay send out of its relay ports?",
        .after.as_secs_f64()
    )]
    NotToOutside {
        /// The relayed address that it was sent from.
        relayed: SocketAddr,
        /// How long it was waited for.
        after: Duration,
        /// How often it was asked for.
        sends: u32,
    },
    /// Another payload arrived than was sent.
    #[error("{received} bytes came from {from}, and are not the {sent} that were sent")]
    WrongPayload {
        /// The relayed address that they came from.
        from: SocketAddr,
        /// The length that was sent, in bytes.
        sent: usize,
        /// The length that was received, in bytes.
        received: usize,
    },
    /// The payload came from another address than the one that it was relayed from: something
    /// translates addresses between the relay and itself.
    #[error("the payload came from {observed}, although it was relayed from {expected}")]
    WrongPeer {
        /// The relayed address that it was sent from.
        expected: SocketAddr,
        /// The address that it came from.
        observed: SocketAddr,
    },
    /// The payload came in a Data indication, although a channel is bound (RFC 8656, section 12.6).
    #[error("the payload from {0} came in a Data indication, although a channel is bound to it")]
    NotThroughChannel(SocketAddr),
    /// The probe itself could not go on.
    #[error("the probe could not go on: {0}")]
    Client(#[from] turn_client::ClientError),
}

/// Why a certificate is not believed, as far as different things help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// It is over, or not yet valid, by the clock of the prober's machine.
    Time,
    /// It is for other names.
    Name,
    /// Nobody who is believed has signed it.
    Issuer,
    /// Something else.
    Other,
}

impl From<&CertificateError> for CertificateFault {
    fn from(error: &CertificateError) -> Self {
        use CertificateError as E;
        let is_of_time = matches!(
            error,
            E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. }
        );
        if is_of_time {
            Self::Time
        } else if matches!(error, E::NotValidForName | E::NotValidForNameContext { .. }) {
            Self::Name
        } else if matches!(error, E::UnknownIssuer) {
            Self::Issuer
        } else {
            Self::Other
        }
    }
}

impl From<&CertificateError> for Cause {
    fn from(error: &CertificateError) -> Self {
        let text = if let CertificateError::Other(own) = error {
            own.to_string()
        } else {
            error.to_string()
        };
        Self::Certificate(error.into(), text)
    }
}

/// What a refusal means to the one who probes.
const fn hint(failure: &turn_client::Failure) -> &'static str {
    let turn_client::Failure::Refused { code, .. } = failure else { return "" };
    match code {
        401 => " (the user is unknown, or its password wrong or expired)",
        403 => " (the relay's peer rules deny its own relayed addresses)",
        437 => " (the relay does not know the allocation: has it started anew?)",
        438 => " (the relay calls each nonce stale that it has just given)",
        440 => " (the relay has no address of this family to relay from)",
        486 => " (the user has as many allocations as it may have)",
        508 => " (the relay is full, or draining)",
        _ => "",
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::Io { kind: error.kind(), text: error.to_string() }
    }
}
