//! The metrics, as Prometheus reads them. The workers count in plain integers of their own; they are
//! asked, added up and named when somebody scrapes.

use prometheus::{
    Encoder, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder, core::Collector,
};
use turn_net::{HandshakeFailure, Snapshot};
use turn_proto::{ClientStep, ConnectionEnd, Counters, DropReason, EndReason, Refusal};

use crate::{
    Relay,
    reload::{ReloadFailure, Reloads},
};

/// All metrics in Prometheus' text format.
pub(crate) fn render(
    relay: &Relay,
    snapshot: &Snapshot,
    reloads: Reloads,
) -> Result<String, prometheus::Error> {
    let page = Page(Registry::new());
    let counters = &snapshot.counters;
    let readiness = relay.readiness();
    page.gauge("turn_ready", "1 when the relay relays", i64::from(readiness.ready))?;
    page.gauge("turn_draining", "1 when no new allocations are made", readiness.draining.into())?;
    page.gauge("turn_allocations", "Allocations now", count(snapshot.allocations))?;
    page.gauge("turn_connections", "Clients' connections now", count(snapshot.connections))?;
    page.gauge(
        "turn_associations",
        "Clients' associations of DTLS now",
        count(snapshot.associations),
    )?;
    page.gauge("turn_relay_ports_free", "Relay ports free", count(relay.free_ports()))?;
    page.counter("turn_allocations_made_total", "Allocations made", counters.allocated)?;
    page.gauge(
        "turn_mobile_allocations",
        "Allocations that may move with their clients",
        count(relay.mobile_allocations()),
    )?;
    page.counter(
        "turn_allocations_moved_total",
        "Allocations that moved to another five-tuple",
        counters.moved,
    )?;
    page.counters(
        "turn_allocations_ended_total",
        "Allocations ended",
        "reason",
        EndReason::ALL.map(EndReason::label).into_iter().zip(counters.ended),
    )?;
    page.counter("turn_requests_succeeded_total", "Requests that succeeded", counters.succeeded)?;
    clients(&page, relay, snapshot)?;
    page.counters(
        "turn_requests_refused_total",
        "Requests answered with an error",
        "reason",
        Refusal::ALL.map(Refusal::label).into_iter().zip(counters.refusals),
    )?;
    page.counters(
        "turn_messages_dropped_total",
        "Datagrams and frames dropped without an answer",
        "reason",
        DropReason::ALL.map(DropReason::label).into_iter().zip(counters.drops),
    )?;
    let (up, down) = (counters.to_peers, counters.to_clients);
    page.counters(
        "turn_relayed_datagrams_total",
        "Datagrams relayed",
        "direction",
        [("to_peer", up.datagrams), ("to_client", down.datagrams)],
    )?;
    page.counters(
        "turn_relayed_bytes_total",
        "Bytes of payload relayed",
        "direction",
        [("to_peer", up.bytes), ("to_client", down.bytes)],
    )?;
    peer_connections(&page, relay, counters)?;
    page.counters(
        "turn_socket_events_total",
        "What the relay's sockets have met",
        "event",
        snapshot.net.labelled(),
    )?;
    page.counters(
        "turn_handshakes_failed_total",
        "Handshakes of TLS and DTLS that failed",
        "reason",
        HandshakeFailure::ALL
            .map(HandshakeFailure::label)
            .into_iter()
            .zip(snapshot.net.handshakes_failed),
    )?;
    page.counters(
        "turn_config_reload_failures_total",
        "Changes of the configuration's files that were refused",
        "reason",
        ReloadFailure::ALL.map(ReloadFailure::label).into_iter().zip(reloads.failures),
    )?;
    page.counters(
        "turn_config_reloads_total",
        "Changes of the configuration's files",
        "result",
        [("applied", reloads.applied), ("refused", reloads.refused())],
    )?;
    page.text()
}

/// How far clients have come, probers excepted. Their networks are no label: there are too many.
fn clients(page: &Page, relay: &Relay, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
    let name = "turn_client_requests_total";
    let help = "Requests by which clients, not probers, came a step towards an allocation";
    let counters = IntCounterVec::new(Opts::new(name, help), &["listener", "transport", "step"])?;
    for ((listener, over), steps) in &snapshot.clients.0 {
        let over = over.to_string();
        for (step, count) in ClientStep::ALL.into_iter().zip(steps) {
            counters.with_label_values(&[listener.as_str(), &over, step.label()]).inc_by(*count);
        }
    }
    page.add(counters)?;
    let networks = relay.client_networks();
    page.gauge(
        "turn_client_networks",
        "Networks of clients that are counted apart",
        count(networks.named.len()),
    )?;
    page.counter(
        "turn_client_allocations_of_other_networks_total",
        "Allocations of clients from networks for which there was no room to be counted apart",
        networks.other.iter().sum(),
    )
}

/// What TCP relaying has done (RFC 6062).
fn peer_connections(
    page: &Page,
    relay: &Relay,
    counters: &Counters,
) -> Result<(), prometheus::Error> {
    page.gauge(
        "turn_peer_connections",
        "Connections to peers now",
        count(relay.peer_connections()),
    )?;
    page.counter(
        "turn_peer_connections_made_total",
        "Connections to and from peers that were offered to clients",
        counters.connections_made,
    )?;
    page.counter(
        "turn_peer_connections_bound_total",
        "Connections to and from peers that clients bound",
        counters.connections_bound,
    )?;
    page.counters(
        "turn_peer_connections_ended_total",
        "Connections to and from peers that ended",
        "reason",
        ConnectionEnd::ALL.map(ConnectionEnd::label).into_iter().zip(counters.connections_ended),
    )?;
    page.counters(
        "turn_relayed_stream_bytes_total",
        "Bytes relayed over connections to and from peers",
        "direction",
        [
            ("to_peer", counters.stream_bytes_to_peers),
            ("to_client", counters.stream_bytes_to_clients),
        ],
    )
}

struct Page(Registry);

impl Page {
    fn gauge(&self, name: &str, help: &str, value: i64) -> Result<(), prometheus::Error> {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(value);
        self.add(gauge)
    }

    fn counter(&self, name: &str, help: &str, value: u64) -> Result<(), prometheus::Error> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        self.add(counter)
    }

    fn counters<'a>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> Result<(), prometheus::Error> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (value, count) in values {
            counters.with_label_values(&[value]).inc_by(count);
        }
        self.add(counters)
    }

    fn add(&self, collector: impl Collector + 'static) -> Result<(), prometheus::Error> {
        self.0.register(Box::new(collector))
    }

    fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
