//! Trying: each URL over each of its addresses.

use std::{collections::BTreeMap, io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use futures::future::join_all;
use rustls::{client::danger::ServerCertVerifier, pki_types::ServerName};
use tokio::{net::lookup_host, task::JoinSet, time::timeout};
use turn_probe::{
    AnswerFailure, Cause, Credentials, Failure, Report, Stage, Target, Transport, Trust, echo,
};

use super::{
    findings::{Check, Findings, Outcome},
    ice_servers::IceServer,
    ice_url::{self, Host, IceUrl, Malformed},
    relay_ports,
};

/// Who is believed over TLS and DTLS: as browsers do, whom the system believes.
#[derive(Debug, Clone)]
pub(super) struct Trusted(Arc<dyn ServerCertVerifier>);

impl Trusted {
    pub(super) const fn new(verifier: Arc<dyn ServerCertVerifier>) -> Self {
        Self(verifier)
    }

    fn to_be(&self, host: &Host) -> anyhow::Result<Trust> {
        let name = match host {
            Host::Ip(ip) => ServerName::IpAddress((*ip).into()),
            Host::Name(name) => ServerName::try_from(name.clone())?,
        };
        Ok(Trust::in_name(Arc::clone(&self.0), name)?)
    }
}

/// What tries.
pub(super) struct Checker {
    /// How long one server may take.
    pub(super) limit: Duration,
    pub(super) trusted: Trusted,
}

/// A check that is about to be made: what is tried, or why nothing is.
struct Attempt {
    url: String,
    username: Option<String>,
    parsed: Option<IceUrl>,
    address: Option<SocketAddr>,
    target: Result<Box<Target>, Outcome>,
}

impl Attempt {
    fn target(&self) -> Option<Target> {
        self.target.as_ref().ok().map(|target| Target::clone(target))
    }

    fn ended(self, outcome: Outcome) -> Check {
        let Self { url, username, parsed, address, target: _ } = self;
        Check { url, username, parsed, address, outcome }
    }
}

impl Checker {
    /// Tries all of them at once, and then more of the relay ports; the results are in the order in
    /// which the URLs are given out.
    pub(super) async fn check(&self, servers: &[IceServer]) -> Findings {
        let urls =
            servers.iter().flat_map(|server| server.urls.iter().map(move |url| (server, url)));
        let attempts = join_all(urls.map(|(server, url)| self.attempts(server, url))).await;
        let attempts: Vec<_> = attempts.into_iter().flatten().collect();
        let targets: Vec<_> = attempts.iter().map(Attempt::target).collect();
        let checks = try_all(attempts).await;
        let relay_ports = relay_ports::sample(&checks, &targets).await;
        Findings { checks, relay_ports }
    }

    /// One for each address.
    async fn attempts(&self, server: &IceServer, url: &str) -> Vec<Attempt> {
        let attempt = |parsed, address, target| {
            let (url, username) = (ice_url::shown(url), server.username.clone());
            Attempt { url, username, parsed, address, target }
        };
        let parsed = match usable(server, url) {
            Ok(parsed) => parsed,
            Err(malformed) => return vec![attempt(None, None, Err(Outcome::Unusable(malformed)))],
        };
        let addresses = match self.resolve(&parsed).await {
            Ok(addresses) => addresses,
            Err(says) => return vec![attempt(Some(parsed), None, Err(Outcome::Unresolved(says)))],
        };
        let at = |address| {
            let target = self.target(server, &parsed, address);
            let target = target.map(Box::new);
            attempt(Some(parsed.clone()), Some(address), target.map_err(Outcome::Unusable))
        };
        addresses.into_iter().map(at).collect()
    }

    /// The addresses of a host, each once.
    async fn resolve(&self, url: &IceUrl) -> Result<Vec<SocketAddr>, String> {
        let name = match &url.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, url.port)]),
            Host::Name(name) => name,
        };
        let found = timeout(self.limit, lookup_host((name.as_str(), url.port))).await;
        let found = found.map_err(|_| format!("no answer within {:?}", self.limit))?;
        let mut addresses: Vec<_> = found.map_err(|error| error.to_string())?.collect();
        // IPv4 first, as addresses are ordered.
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }

    fn target(
        &self,
        server: &IceServer,
        url: &IceUrl,
        address: SocketAddr,
    ) -> Result<Target, Malformed> {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let credentials = Credentials::new(text(&server.username), text(&server.credential));
        let credentials = credentials.map_err(|_| Malformed {
            says: "the username is longer than a request can hold",
            remedy: "take one of at most 508 bytes",
        })?;
        let secure = matches!(url.transport, Transport::Tls | Transport::Dtls);
        let trust = secure.then(|| self.trusted.to_be(&url.host)).transpose();
        let trust = trust.map_err(|_| Malformed {
            says: "no certificate can be for this host",
            remedy: "give a DNS name or an IP address",
        })?;
        Ok(Target {
            server: address,
            transport: url.transport,
            credentials: [credentials.clone(), credentials],
            last: if url.relays { Stage::PeerEcho } else { Stage::Binding },
            limit: self.limit,
            bind: None,
            relayed_at: None,
            relay_ports: [None; 2],
            trust,
            as_proxy: false,
        })
    }
}

/// What browsers would make of it.
fn usable(server: &IceServer, url: &str) -> Result<IceUrl, Malformed> {
    let parsed = IceUrl::parse(url)?;
    if parsed.relays && (server.username.is_none() || server.credential.is_none()) {
        return Err(Malformed {
            says: "no username or no credential: browsers throw",
            remedy: "give both beside a turn: or turns: URL",
        });
    }
    if !parsed.has_port_for_browsers() {
        return Err(Malformed {
            says: "a port that browsers do not connect to",
            remedy: "listen on 443, 80 or a port from 1024 on",
        });
    }
    Ok(parsed)
}

/// All at once. Who may not have so many allocations at a time gets them one after the other.
async fn try_all(attempts: Vec<Attempt>) -> Vec<Check> {
    let mut running = JoinSet::new();
    for (index, attempt) in attempts.iter().enumerate() {
        if let Some(target) = attempt.target() {
            running.spawn(async move { (index, echo(&target).await) });
        }
    }
    let mut outcomes: BTreeMap<_, _> = running.join_all().await.into_iter().collect();
    let mut checks = Vec::with_capacity(attempts.len());
    for (index, attempt) in attempts.into_iter().enumerate() {
        let outcome = match (&attempt.target, outcomes.remove(&index)) {
            (Err(outcome), _) => outcome.clone(),
            (Ok(_), Some(outcome)) if !outcome.as_ref().is_err_and(is_quota) => judged(outcome),
            (Ok(target), _) => judged(echo(target).await),
        };
        checks.push(attempt.ended(outcome));
    }
    checks
}

fn is_quota(failure: &Failure) -> bool {
    matches!(&*failure.cause, Cause::Answer(AnswerFailure::Refused { code: 486, .. }))
}

fn judged(outcome: Result<Report, Failure>) -> Outcome {
    match outcome {
        Ok(report) => Outcome::Works(report),
        Err(failure) if is_no_route(&failure) => Outcome::NoRoute,
        Err(failure) => Outcome::Failed(failure),
    }
}

fn is_no_route(failure: &Failure) -> bool {
    let Cause::Io { kind, .. } = &*failure.cause else { return false };
    let no_route = [ErrorKind::NetworkUnreachable, ErrorKind::AddrNotAvailable];
    failure.stage == Stage::Connect && no_route.contains(kind)
}
