//! What the operator counts.

use std::time::Duration;

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use turn_probe::survey::Verdict;

use crate::reachability::Facts;

/// The operator's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    reconcile_seconds: Histogram,
    writes: IntCounterVec,
    leader: IntGauge,
    probes: IntCounterVec,
    reachability: IntGaugeVec,
    suspicion: IntGaugeVec,
    ice_requests: IntCounterVec,
    ice_seconds: Histogram,
}

/// How many relays of a fleet are reached, are not, or nobody knows of.
const REACHED: [(&str, Option<bool>); 3] =
    [("true", Some(true)), ("false", Some(false)), ("unknown", None)];

/// Most requests for iceServers are answered from memory; the others wait for the API server.
const ICE_BUCKETS: [f64; 8] = [0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0];

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When two have the same name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let reconciles = IntCounterVec::new(
            Opts::new("turn_reconciles_total", "Visits of a TurnServer, by how they ended."),
            &["result"],
        )?;
        let reconcile_seconds = Histogram::with_opts(HistogramOpts::new(
            "turn_reconcile_duration_seconds",
            "How long a visit of a TurnServer took.",
        ))?;
        let writes = IntCounterVec::new(
            Opts::new(
                "turn_api_writes_total",
                "Writes to the API server, those of the leader election and of events excepted.",
            ),
            &["kind", "verb"],
        )?;
        let leader = IntGauge::new("turn_operator_leader", "Whether this operator is the leader.")?;
        let probes = IntCounterVec::new(
            Opts::new("turn_probes_total", "Probes of relays from inside the cluster, by result."),
            &["result"],
        )?;
        let reachability = IntGaugeVec::new(
            Opts::new("turn_reachability", "Relays, by whether they are reached from outside."),
            &["namespace", "turnserver", "reached"],
        )?;
        let suspicion = IntGaugeVec::new(
            Opts::new(
                "turn_reachability_suspicion",
                "Whether every relay turned unreachable, so that whoever probes is the suspect.",
            ),
            &["namespace", "turnserver"],
        )?;
        let ice_requests = IntCounterVec::new(
            Opts::new("turn_ice_requests_total", "Requests for iceServers, by status code."),
            &["code"],
        )?;
        let ice_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "turn_ice_request_duration_seconds",
                "How long a request for iceServers took.",
            )
            .buckets(ICE_BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(ice_requests.clone()))?;
        registry.register(Box::new(ice_seconds.clone()))?;
        registry.register(Box::new(probes.clone()))?;
        registry.register(Box::new(reachability.clone()))?;
        registry.register(Box::new(suspicion.clone()))?;
        registry.register(Box::new(reconciles.clone()))?;
        registry.register(Box::new(reconcile_seconds.clone()))?;
        registry.register(Box::new(writes.clone()))?;
        registry.register(Box::new(leader.clone()))?;
        for result in ["ok", "error"] {
            reconciles.with_label_values(&[result]);
        }
        Ok(Self {
            registry,
            reconciles,
            reconcile_seconds,
            writes,
            leader,
            probes,
            reachability,
            suspicion,
            ice_requests,
            ice_seconds,
        })
    }

    /// Counts a request for iceServers.
    pub fn ice_request(&self, code: u16, took: Duration) {
        self.ice_requests.with_label_values(&[&code.to_string()]).inc();
        self.ice_seconds.observe(took.as_secs_f64());
    }

    /// Counts a probe: `good`, `bad`, or `none` when whoever was asked did not make it.
    pub fn probed(&self, result: &str) {
        self.probes.with_label_values(&[result]).inc();
    }

    /// Says what is known of a fleet's relays.
    pub fn set_reachability(&self, facts: &Facts, verdict: &Verdict) {
        let Facts { namespace, name, .. } = facts;
        for (label, reached) in REACHED {
            let count = verdict.relays.values().filter(|relay| relay.reached == reached).count();
            let gauge = self.reachability.with_label_values(&[namespace, name, label]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let suspicion = self.suspicion.with_label_values(&[namespace, name]);
        suspicion.set(verdict.suspicion.is_some().into());
    }

    /// Says nothing any more of a fleet.
    pub fn forget_fleet(&self, facts: &Facts) {
        let Facts { namespace, name, .. } = facts;
        for (label, _) in REACHED {
            // Absent when nothing was known of it yet.
            let _never_set = self.reachability.remove_label_values(&[namespace, name, label]);
        }
        let _never_set = self.suspicion.remove_label_values(&[namespace, name]);
    }

    /// Counts a visit.
    pub fn reconciled(&self, ok: bool, seconds: f64) {
        self.reconciles.with_label_values(&[if ok { "ok" } else { "error" }]).inc();
        self.reconcile_seconds.observe(seconds);
    }

    /// Counts a write of an object.
    pub fn wrote(&self, kind: &str, verb: &str) {
        self.writes.with_label_values(&[kind, verb]).inc();
    }

    /// Says whether this operator is the leader.
    pub fn set_leader(&self, leader: bool) {
        self.leader.set(leader.into());
    }

    /// All of them, in the text format of Prometheus.
    ///
    /// # Errors
    /// When they cannot be written as text.
    pub fn text(&self) -> prometheus::Result<String> {
        let mut buffer = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    }
}
