//! What the operator counts.

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// The operator's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    reconcile_seconds: Histogram,
    writes: IntCounterVec,
    leader: IntGauge,
}

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
        registry.register(Box::new(reconciles.clone()))?;
        registry.register(Box::new(reconcile_seconds.clone()))?;
        registry.register(Box::new(writes.clone()))?;
        registry.register(Box::new(leader.clone()))?;
        for result in ["ok", "error"] {
            reconciles.with_label_values(&[result]);
        }
        Ok(Self { registry, reconciles, reconcile_seconds, writes, leader })
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
