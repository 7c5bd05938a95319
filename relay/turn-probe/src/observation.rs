//! What one probe has found, in the form in which vantages tell it.

use std::{io::ErrorKind, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{AnswerFailure, Cause, CertificateFault, Failure, Report, Stage};

/// The longest text of an observation, in bytes: longer ones are cut.
const LONGEST_TEXT: usize = 300;
/// How many relay ports an observation may speak of: a probe has two.
const MOST_PORTS: usize = 2;
/// And of how many datagrams: more than a probe can send within its limit.
const MOST_DATAGRAMS: u32 = 1_000;

/// What one probe of one listener has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Observation {
    /// What failed; absent when all of it came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What was seen, in words; empty when all of it came through.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub says: String,
    /// The relay ports that were tried from the prober's own machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortSeen>,
    /// How long the server took to answer the first request, in milliseconds; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_milliseconds: Option<u64>,
    /// What was sent over UDP and what came back; absent where something failed, and over TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datagrams: Option<Datagrams>,
}

/// Datagrams that something had to come back for: an answer, or the payload itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Datagrams {
    /// How many were sent, those among them that were sent again.
    pub sent: u32,
    /// For how many of them something came back.
    pub returned: u32,
}

/// A relay port, and whether a datagram came through it and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortSeen {
    /// The port.
    pub port: u16,
    /// Whether it is open.
    pub open: bool,
}

/// What failed, as far as one probe can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// Nothing came back.
    Silence,
    /// The port refuses.
    Refused,
    /// The vantage has no way to any address of this family: that says nothing of the relay.
    NoRoute,
    /// The certificate is over, or not yet valid.
    CertificateTime,
    /// Another certificate than the relay's.
    CertificateOther,
    /// No handshake of TLS or DTLS.
    Handshake,
    /// What answers speaks no TURN.
    NotTurn,
    /// The credential is refused.
    Credentials,
    /// The relay has no room, or drains: that says nothing of how it is reached.
    Full,
    /// This prober has as many allocations there as it may have: those of earlier probes.
    Busy,
    /// Relayed datagrams do not arrive.
    RelayPorts,
    /// Long packets do not arrive.
    LongPackets,
    /// Something translates addresses.
    AddressMismatch,
    /// Something else.
    Other,
}

impl From<Result<Report, Failure>> for Observation {
    fn from(outcome: Result<Report, Failure>) -> Self {
        match outcome {
            Ok(report) => Self {
                fault: None,
                says: String::new(),
                ports: ports(&report.outside),
                round_trip_milliseconds: round_trip(report.stages.iter()),
                datagrams: report.datagrams,
            },
            Err(failure) => Self {
                fault: Some(Fault::of(&failure)),
                says: cut(&failure.line()),
                ports: ports(&failure.outside),
                round_trip_milliseconds: round_trip(failure.before.iter()),
                datagrams: None,
            },
        }
    }
}

impl Observation {
    /// Whether it is one that a probe can make: what a vantage tells is not believed blindly.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let answered = self.round_trip_milliseconds.is_some();
        let says_nothing_of_ports = self.ports.is_empty();
        let is_bounded = self.ports.len() <= MOST_PORTS && self.says.len() <= LONGEST_TEXT;
        let all_open = self.ports.iter().all(|seen| seen.open);
        let is_counted = self.datagrams.is_none_or(|Datagrams { sent, returned }| {
            self.fault.is_none() && sent <= MOST_DATAGRAMS && returned <= sent
        });
        is_bounded
            && is_counted
            && match self.fault {
                None => answered && all_open,
                Some(Fault::RelayPorts) => answered,
                Some(Fault::Silence | Fault::Refused | Fault::NoRoute) => says_nothing_of_ports,
                Some(_) => true,
            }
    }

    /// Whether there was time for what it tells of.
    pub(crate) fn fits_into(&self, time: Duration) -> bool {
        self.round_trip_milliseconds.is_none_or(|took| u128::from(took) <= time.as_millis())
    }

    /// Whether it says nothing of how the relay is reached.
    #[must_use]
    pub const fn is_beside_the_point(&self) -> bool {
        matches!(self.fault, Some(Fault::NoRoute))
    }

    /// What a vantage tells that could not even try.
    #[must_use]
    pub fn not_made(says: &str) -> Self {
        let fault = Some(Fault::NoRoute);
        let says = cut(says);
        Self { fault, says, ports: Vec::new(), round_trip_milliseconds: None, datagrams: None }
    }
}

impl Fault {
    fn of(failure: &Failure) -> Self {
        match &*failure.cause {
            Cause::Silence(_) if failure.stage > Stage::Allocate => Self::Other,
            Cause::Silence(_) => Self::Silence,
            Cause::Io { kind, .. } => Self::of_io(*kind, failure.stage),
            Cause::Certificate(CertificateFault::Time, _) => Self::CertificateTime,
            Cause::Certificate(..) => Self::CertificateOther,
            Cause::Handshake(_) => Self::Handshake,
            Cause::NotTurn => Self::NotTurn,
            Cause::Answer(AnswerFailure::Refused { code: 401, .. }) => Self::Credentials,
            Cause::Answer(AnswerFailure::Refused { code: 486, .. }) => Self::Busy,
            Cause::Answer(AnswerFailure::Refused { code: 508, .. }) | Cause::Alternate(_) => {
                Self::Full
            }
            Cause::NotRelayed { .. } if failure.stage == Stage::LargeEcho => Self::LongPackets,
            Cause::NotRelayed { .. }
            | Cause::NotFromOutside { .. }
            | Cause::NotToOutside { .. } => Self::RelayPorts,
            Cause::WrongPeer { .. } => Self::AddressMismatch,
            Cause::Closed
            | Cause::Answer(_)
            | Cause::Ended(_)
            | Cause::WrongPayload { .. }
            | Cause::NotThroughChannel(_)
            | Cause::Client(_) => Self::Other,
        }
    }

    const fn of_io(kind: ErrorKind, stage: Stage) -> Self {
        match (kind, stage) {
            (ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset, _) => Self::Refused,
            (ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable, Stage::Connect) => {
                Self::NoRoute
            }
            (ErrorKind::HostUnreachable | ErrorKind::TimedOut, Stage::Connect) => Self::Silence,
            _ => Self::Other,
        }
    }
}

fn ports(outside: &[(std::net::SocketAddr, bool)]) -> Vec<PortSeen> {
    outside.iter().map(|(relayed, open)| PortSeen { port: relayed.port(), open: *open }).collect()
}

/// How long the Binding took: the first request of all.
fn round_trip<'a>(mut stages: impl Iterator<Item = &'a crate::Timing>) -> Option<u64> {
    let binding = stages.find(|timing| timing.stage == Stage::Binding)?;
    Some(u64::try_from(Duration::as_millis(&binding.duration)).unwrap_or(u64::MAX))
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
