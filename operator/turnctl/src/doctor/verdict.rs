//! What is wrong, what it rests on, and what to change.

use std::{io::ErrorKind, net::SocketAddr};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use turn_probe::{AnswerFailure, Cause, CertificateFault, Failure, Stage, Transport};

use super::{
    findings::{Check, Findings, Outcome, Ports},
    ice_url::{IceUrl, Malformed},
    relay_ports,
};

/// A credential that ends sooner does not last for a call to be set up again.
const SHORT: SignedDuration = SignedDuration::from_mins(5);

/// The one thing that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Reason {
    /// The URL, or what stands beside it.
    InvalidUrl,
    NameUnresolved,
    /// Other transports are answered, UDP nowhere.
    #[serde(rename = "UDPBlocked")]
    UdpBlocked,
    /// Other transports are answered, TCP nowhere.
    #[serde(rename = "TCPBlocked")]
    TcpBlocked,
    ListenerPortBlocked,
    /// The address is answered over IPv4 and not over IPv6.
    #[serde(rename = "IPv6Unreachable")]
    Ipv6Unreachable,
    ConnectionRefused,
    CertificateInvalid,
    #[serde(rename = "TLSInterceptedOrMisconfigured")]
    TlsInterceptedOrMisconfigured,
    NotTurn,
    CredentialsRejected,
    /// The credential is over, or one of the two clocks is wrong.
    CredentialExpired,
    PeersDenied,
    QuotaReached,
    RelayFull,
    RelayRangeBlocked,
    RelayRangePartiallyBlocked,
    #[serde(rename = "PathMTUTooSmall")]
    PathMtuTooSmall,
    AddressMismatch,
    Other,
}

/// What is wrong with one URL over one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    pub(super) reason: Reason,
    /// What was seen.
    pub(super) observation: String,
    /// What to change.
    pub(super) remedy: String,
}

impl Verdict {
    fn new(reason: Reason, observation: impl ToString, remedy: impl Into<String>) -> Self {
        Self { reason, observation: observation.to_string(), remedy: remedy.into() }
    }
}

/// What is wrong with a check, in the light of all; none if it works, or was not tried.
pub(super) fn of(check: &Check, findings: &Findings, now: Timestamp) -> Option<Verdict> {
    let all = &findings.checks[..];
    if let Some(verdict) = partly_closed(check, findings) {
        return Some(verdict);
    }
    match &check.outcome {
        Outcome::Works(_) | Outcome::NoRoute => None,
        Outcome::Unusable(Malformed { says, remedy }) => {
            Some(Verdict::new(Reason::InvalidUrl, says, *remedy))
        }
        Outcome::Unresolved(says) => {
            let remedy = "publish an address for the name, or correct it";
            Some(Verdict::new(Reason::NameUnresolved, says, remedy))
        }
        Outcome::Failed(failure) if is_own_network(failure, all) => None,
        Outcome::Failed(failure) => Some(of_failure(failure, check, all, now)),
    }
}

/// A relay some of whose ports are open, and some not: calls fail now and then.
fn partly_closed(check: &Check, findings: &Findings) -> Option<Verdict> {
    let (relayed, _) = relay_ports::tried(&check.outcome).first()?;
    let ports = findings.relay_ports.get(&relayed.ip())?;
    let Ports { open, closed } = ports;
    if open.is_empty() || closed.is_empty() {
        return None;
    }
    let seen = format!(
        "of the relay ports of {}, {open:?} are open from here, {closed:?} not",
        relayed.ip()
    );
    let remedy = format!("open the whole range of relay ports of {} for UDP", relayed.ip());
    Some(Verdict::new(Reason::RelayRangePartiallyBlocked, seen, remedy))
}

/// Whether relay ports could not be tried because no UDP leaves this network: where it was tried, it
/// was answered nowhere.
fn is_own_network(failure: &Failure, all: &[Check]) -> bool {
    let is_udp = |transport| matches!(transport, Transport::Udp | Transport::Dtls);
    let tried = |check: &&Check| check.parsed.as_ref().is_some_and(|url| is_udp(url.transport));
    let mut tried = all.iter().filter(tried).peekable();
    matches!(*failure.cause, Cause::NotFromOutside { .. })
        && tried.peek().is_some()
        && tried.all(|check| answered(&check.outcome).is_none())
}

fn of_failure(failure: &Failure, check: &Check, all: &[Check], now: Timestamp) -> Verdict {
    let server = format!(
        "{} port {} of {}",
        wire(failure.transport),
        failure.server.port(),
        failure.server.ip()
    );
    let cause = &*failure.cause;
    match cause {
        Cause::Silence(_) => {
            let remedy = format!("open {server} towards the clients, in each firewall between");
            Verdict::new(silence(failure, all), cause, remedy)
        }
        Cause::Io { kind: ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset, .. } => {
            let remedy = format!("let the server listen on {server}, or correct the URL");
            Verdict::new(Reason::ConnectionRefused, cause, remedy)
        }
        Cause::Certificate(fault, _) => {
            let host = check.parsed.as_ref().map(|url| url.host.to_string()).unwrap_or_default();
            Verdict::new(Reason::CertificateInvalid, cause, certificate_remedy(*fault, &host))
        }
        Cause::Handshake(_) => {
            let remedy = format!(
                "see whether {server} speaks TLS at all, and whether a proxy stands between"
            );
            Verdict::new(Reason::TlsInterceptedOrMisconfigured, cause, remedy)
        }
        Cause::NotTurn => {
            let remedy = format!("see what listens on {server}: it answers, and speaks no TURN");
            Verdict::new(Reason::NotTurn, cause, remedy)
        }
        Cause::Answer(AnswerFailure::Refused { code, .. }) => {
            refusal(*code, failure, check.username.as_deref(), now)
        }
        Cause::NotRelayed { to, .. } if failure.stage == Stage::LargeEcho => {
            let remedy = format!(
                "let packets of 1,280 bytes through to {} and from it, and do not drop the ICMP \
                 errors that tell their senders of a smaller limit",
                to.ip()
            );
            Verdict::new(Reason::PathMtuTooSmall, cause, remedy)
        }
        Cause::NotRelayed { from, to, .. } => {
            let remedy = format!(
                "open the range of relay ports of {} for UDP, in and out: {} and {} were tried",
                to.ip(),
                from.port(),
                to.port()
            );
            Verdict::new(Reason::RelayRangeBlocked, cause, remedy)
        }
        Cause::NotFromOutside { relayed, .. } | Cause::NotToOutside { relayed, .. } => {
            let remedy = format!(
                "open the range of relay ports of {} for UDP, in and out: {} was tried",
                relayed.ip(),
                relayed.port()
            );
            Verdict::new(Reason::RelayRangeBlocked, cause, remedy)
        }
        Cause::WrongPeer { .. } => {
            let remedy = "let nothing translate the ports between the relay and its peers";
            Verdict::new(Reason::AddressMismatch, cause, remedy)
        }
        Cause::Io { .. }
        | Cause::Closed
        | Cause::Answer(_)
        | Cause::Alternate(_)
        | Cause::Ended(_)
        | Cause::WrongPayload { .. }
        | Cause::NotThroughChannel(_)
        | Cause::Client(_) => {
            let remedy = format!("see the log of the server at {server}");
            Verdict::new(Reason::Other, format!("{}: {cause}", failure.stage), remedy)
        }
    }
}

fn certificate_remedy(fault: CertificateFault, host: &str) -> String {
    match fault {
        CertificateFault::Time => {
            format!(
                "renew the certificate for {host}; if it is valid, set the clock of this machine"
            )
        }
        CertificateFault::Name => format!(
            "give the server a certificate for {host}, or clients a name that stands in this one"
        ),
        CertificateFault::Issuer => format!(
            "give the server the whole chain of the certificate for {host}, from an authority that \
             clients believe"
        ),
        CertificateFault::Other => format!(
            "give the server a certificate for {host} that has not ended, with the chain to an \
             authority that clients believe"
        ),
    }
}

/// What a transport is to a firewall.
const fn wire(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp | Transport::Dtls => "UDP",
        Transport::Tcp | Transport::Tls => "TCP",
    }
}

/// What it means that nothing came back.
fn silence(failure: &Failure, all: &[Check]) -> Reason {
    let answers = |same_wire: bool, same_family: bool| {
        all.iter().any(|other| {
            answered(&other.outcome).is_some_and(|(transport, server)| {
                (wire(transport) == wire(failure.transport)) == same_wire
                    && (server.is_ipv6() == failure.server.is_ipv6()) == same_family
            })
        })
    };
    if failure.server.is_ipv6() && !answers(true, true) && answers(true, false) {
        return Reason::Ipv6Unreachable;
    }
    match wire(failure.transport) {
        _ if answers(true, true) || !answers(false, true) => Reason::ListenerPortBlocked,
        "UDP" => Reason::UdpBlocked,
        _ => Reason::TcpBlocked,
    }
}

/// Over what, and by whom, anything came back at all.
fn answered(outcome: &Outcome) -> Option<(Transport, SocketAddr)> {
    match outcome {
        Outcome::Works(report) => Some((report.transport, report.server)),
        Outcome::Failed(failure) => {
            let came = failure.stage > Stage::Binding || matches!(*failure.cause, Cause::Answer(_));
            came.then_some((failure.transport, failure.server))
        }
        Outcome::Unusable(_) | Outcome::Unresolved(_) | Outcome::NoRoute => None,
    }
}

fn refusal(code: u16, failure: &Failure, username: Option<&str>, now: Timestamp) -> Verdict {
    let cause = &failure.cause;
    let over = username.and_then(expiry).filter(|expiry| *expiry <= now);
    match (code, failure.stage, over) {
        (401, _, Some(expiry)) => {
            let says =
                format!("{cause}; by the clock of this machine the credential ended at {expiry}");
            let remedy = "mint a new one; if it is new, set the clock of who mints it";
            Verdict::new(Reason::CredentialExpired, says, remedy)
        }
        (401, ..) => {
            let remedy = "compare the secret that mints the credential with that of the server, and \
                          both clocks";
            Verdict::new(Reason::CredentialsRejected, cause, remedy)
        }
        (403, Stage::Permission | Stage::ChannelBind, _) => {
            let remedy = "relaying could not be tried: allow the relay's own relayed addresses as \
                          peers, as two clients of one relay need it";
            Verdict::new(Reason::PeersDenied, cause, remedy)
        }
        (486, ..) => {
            let remedy = "allow the user two allocations, or wait until those that it has are over";
            Verdict::new(Reason::QuotaReached, cause, remedy)
        }
        (508, ..) => {
            let remedy = "add relays, or wait until the one that drains is gone";
            Verdict::new(Reason::RelayFull, cause, remedy)
        }
        _ => {
            let remedy = "see the log of the server";
            Verdict::new(Reason::Other, format!("{}: {cause}", failure.stage), remedy)
        }
    }
}

/// When a time-limited username ends: the seconds before its first colon.
fn expiry(username: &str) -> Option<Timestamp> {
    let seconds = username.split(':').next()?.parse().ok()?;
    // Nobody mints for the first years of the epoch: such a number is a name.
    (seconds > 1_000_000_000).then_some(())?;
    Timestamp::from_second(seconds).ok()
}

/// What works, and could be better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Advice {
    pub(super) url: String,
    pub(super) observation: String,
    pub(super) remedy: &'static str,
}

/// Advice about each URL, once.
pub(super) fn advice(checks: &[Check], now: Timestamp) -> Vec<Advice> {
    let mut advice: Vec<Advice> = Vec::new();
    for check in checks {
        let of_url = check.parsed.iter().flat_map(IceUrl::advice);
        let of_url = of_url.map(|(says, remedy)| (says.to_owned(), remedy));
        let more = lifetime(check, now).into_iter().chain(denied(check));
        for (observation, remedy) in of_url.chain(more) {
            let url = check.url.clone();
            let found = Advice { url, observation, remedy };
            if !advice.contains(&found) {
                advice.push(found);
            }
        }
    }
    advice
}

/// A relay that would not relay to this machine.
fn denied(check: &Check) -> Option<(String, &'static str)> {
    let Outcome::Works(report) = &check.outcome else { return None };
    let is_tried = !relay_ports::tried(&check.outcome).is_empty();
    (report.relayed.is_some() && !is_tried).then(|| {
        let says = format!(
            "the relay denies {} as a peer (403), so its relay ports were not tried from here",
            report.mapped[0].ip()
        );
        (says, "try from a machine with a public address")
    })
}

/// A credential that is over, where its refusal does not say so, or soon will be.
fn lifetime(check: &Check, now: Timestamp) -> Option<(String, &'static str)> {
    check.parsed.as_ref().filter(|url| url.relays)?;
    let expiry = expiry(check.username.as_deref()?)?;
    let left = expiry.duration_since(now);
    let left = left.round(jiff::Unit::Second).unwrap_or(left);
    if !left.is_positive() && !is_unauthorized(&check.outcome) {
        let says = format!("by the clock of this machine the credential ended at {expiry}");
        return Some((says, "mint a new one; if it is new, set the clock of who mints it"));
    }
    (left.is_positive() && left < SHORT).then(|| {
        let says = format!("the credential ends in {left:#}: an ICE restart after that fails");
        (says, "mint credentials that last as long as a call")
    })
}

fn is_unauthorized(outcome: &Outcome) -> bool {
    let Outcome::Failed(failure) = outcome else { return false };
    matches!(&*failure.cause, Cause::Answer(AnswerFailure::Refused { code: 401, .. }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    /// What is advised about a relay that says nothing to a credential of this end.
    fn advised(expiry: i64) -> Vec<String> {
        let url = "turn:192.0.2.1:3478?transport=udp";
        let server = ([192, 0, 2, 1], 3478).into();
        let cause = Box::new(Cause::Silence(Duration::from_secs(10)));
        let (stage, transport) = (Stage::Binding, Transport::Udp);
        let (before, outside) = (Vec::new(), Vec::new());
        let failure = Failure { stage, server, transport, before, outside, cause };
        let check = Check {
            url: url.to_owned(),
            username: Some(format!("{expiry}:alice")),
            parsed: IceUrl::parse(url).ok(),
            address: Some(server),
            outcome: Outcome::Failed(failure),
        };
        let now = Timestamp::from_second(NOW).expect("a time");
        advice(&[check], now).into_iter().map(|advice| advice.observation).collect()
    }

    #[test]
    fn a_credential_that_is_over_or_soon_will_be_is_told_without_an_answer() {
        assert!(advised(NOW)[0].contains("the credential ended at"), "{:?}", advised(NOW));
        assert!(advised(NOW - 60)[0].contains("ended at 2027-01-15"), "{:?}", advised(NOW - 60));
        assert!(advised(NOW + 299)[0].contains("ends in"), "{:?}", advised(NOW + 299));
        assert_eq!(advised(NOW + 300), [""; 0]);
    }

    #[test]
    fn what_is_wrong_with_a_certificate_decides_what_to_change() {
        let remedy = |fault| certificate_remedy(fault, "turn.example.org");
        assert!(remedy(CertificateFault::Time).contains("renew"));
        assert!(remedy(CertificateFault::Name).contains("a name that stands in this one"));
        assert!(remedy(CertificateFault::Issuer).contains("the whole chain"));
        assert!(remedy(CertificateFault::Other).contains("turn.example.org"));
    }
}
