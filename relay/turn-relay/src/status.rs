//! What a relay tells of itself.

use std::{net::SocketAddr, time::Instant};

use ipnet::IpNet;
use relay_config::{PortRange, Protocol};
use serde::Serialize;
use turn_net::Snapshot;

use crate::Relay;

/// Whether a relay is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it is.
    pub ready: bool,
    /// Why it is not; empty when it is.
    pub reason: String,
    /// Whether it takes no new allocations any more.
    pub draining: bool,
    /// Since when this holds.
    pub since: Instant,
}

impl Readiness {
    /// Its listeners are bound, and nothing has been relayed yet.
    #[must_use]
    pub fn starting() -> Self {
        Self::not_ready("no datagram has been relayed through the relay itself yet")
    }

    /// It relays.
    #[must_use]
    pub fn ready() -> Self {
        Self { ready: true, reason: String::new(), draining: false, since: Instant::now() }
    }

    /// It does not.
    #[must_use]
    pub fn not_ready(reason: impl Into<String>) -> Self {
        Self { ready: false, reason: reason.into(), draining: false, since: Instant::now() }
    }

    /// It is about to end.
    #[must_use]
    pub fn draining() -> Self {
        let reason = "draining: no new allocations".to_owned();
        Self { ready: false, reason, draining: true, since: Instant::now() }
    }
}

/// One port that a relay listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Its name in the configuration.
    pub name: String,
    /// The transport.
    pub protocol: Protocol,
    /// Where it is bound.
    pub address: SocketAddr,
    /// Where clients reach it.
    pub external_address: SocketAddr,
    /// Where load balancers connect from that say in a header whom they connect for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxy_protocol: Vec<IpNet>,
}

impl ListenerStatus {
    /// Says that it is there.
    pub(crate) fn log(&self) {
        let Self { name, protocol, address, .. } = self;
        tracing::info!(name, %protocol, %address, "listening");
    }
}

/// The answer of `/status`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The relay's version.
    pub version: &'static str,
    /// Whether it is ready.
    pub ready: bool,
    /// Why not; empty when it is.
    pub reason: String,
    /// Whether it takes no new allocations any more.
    pub draining: bool,
    /// How long it has been ready, or not, in seconds.
    pub since_seconds: u64,
    /// The realm.
    pub realm: String,
    /// Where it listens.
    pub listeners: Vec<ListenerStatus>,
    /// What relayed transport addresses are made of.
    pub relay_ports: PortRange,
    /// How many of them are free, over all addresses.
    pub free_relay_ports: usize,
    /// How many allocations there are.
    pub allocations: usize,
    /// How many clients' connections there are.
    pub connections: usize,
    /// How many clients' associations of DTLS there are.
    pub associations: usize,
    /// How many workers there are.
    pub workers: usize,
}

impl Status {
    /// What a relay tells of itself, with what its workers have said.
    #[must_use]
    pub fn of(relay: &Relay, snapshot: &Snapshot) -> Self {
        let readiness = relay.readiness();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            ready: readiness.ready,
            reason: readiness.reason,
            draining: readiness.draining,
            since_seconds: readiness.since.elapsed().as_secs(),
            realm: relay.config().realm.clone(),
            listeners: relay.listeners().to_vec(),
            relay_ports: relay.relay_ports(),
            free_relay_ports: relay.free_ports(),
            allocations: snapshot.allocations,
            connections: snapshot.connections,
            associations: snapshot.associations,
            workers: relay.workers(),
        }
    }
}
