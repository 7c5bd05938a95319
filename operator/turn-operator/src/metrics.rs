//! What the operator counts.

use std::time::Duration;

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use turn_probe::{Datagrams, Observation, sign::SignKind, survey::Verdict};

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
    signs: IntGaugeVec,
    round_trip: Histogram,
    datagrams: IntCounterVec,
    ice_requests: IntCounterVec,
    ice_seconds: Histogram,
}

/// How many relays of a fleet are reached, are not, or nobody knows of.
const REACHED: [(&str, Option<bool>); 3] =
    [("true", Some(true)), ("false", Some(false)), ("unknown", None)];

/// From the same rack to the other side of the earth.
const ROUND_TRIP_BUCKETS: [f64; 8] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 2.0];

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
            Opts::new("turn_probes_total", "Probes of relays, by result."),
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
        let signs = IntGaugeVec::new(
            Opts::new(
                "turn_reachability_signs",
                "What is amiss although it takes no relay out, by the reason in Degraded.",
            ),
            &["namespace", "turnserver", "kind"],
        )?;
        let round_trip = Histogram::with_opts(
            HistogramOpts::new(
                "turn_probe_round_trip_seconds",
                "How long a relay took to answer a probe's first request.",
            )
            .buckets(ROUND_TRIP_BUCKETS.to_vec()),
        )?;
        let datagrams = IntCounterVec::new(
            Opts::new(
                "turn_probe_datagrams_total",
                "Datagrams of probes over UDP that came through, and those that came back.",
            ),
            &["direction"],
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
        registry.register(Box::new(signs.clone()))?;
        registry.register(Box::new(round_trip.clone()))?;
        registry.register(Box::new(datagrams.clone()))?;
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
            signs,
            round_trip,
            datagrams,
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
    pub fn probed(&self, observation: Option<&Observation>) {
        let result = match observation {
            Some(Observation { fault: None, .. }) => "good",
            Some(_) => "bad",
            None => "none",
        };
        self.probes.with_label_values(&[result]).inc();
        let Some(observation) = observation else { return };
        if let Some(milliseconds) = observation.round_trip_milliseconds {
            self.round_trip.observe(Duration::from_millis(milliseconds).as_secs_f64());
        }
        let Datagrams { sent, returned } = observation.datagrams.unwrap_or_default();
        for (direction, count) in [("sent", sent), ("returned", returned)] {
            self.datagrams.with_label_values(&[direction]).inc_by(count.into());
        }
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
        for kind in SignKind::ALL {
            let count = verdict.signs.iter().filter(|sign| sign.kind == *kind).count();
            let gauge = self.signs.with_label_values(&[namespace, name, kind.as_str()]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Says nothing any more of a fleet.
    pub fn forget_fleet(&self, facts: &Facts) {
        let Facts { namespace, name, .. } = facts;
        for (label, _) in REACHED {
            // Absent when nothing was known of it yet.
            let _never_set = self.reachability.remove_label_values(&[namespace, name, label]);
        }
        for kind in SignKind::ALL {
            let _never_set = self.signs.remove_label_values(&[namespace, name, kind.as_str()]);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use promql_parser::{
        parser::{self, Expr, VectorSelector},
        util::{ExprVisitor, walk_expr},
    };
    use serde_json::Value;

    use super::*;

    const ALERTS: &str = include_str!("../../../charts/turnpike/alerts.yaml");

    #[derive(Default)]
    struct Names(BTreeSet<String>);

    impl ExprVisitor for Names {
        type Error = std::convert::Infallible;

        fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
            let mut note = |selector: &VectorSelector| self.0.extend(selector.name.clone());
            if let Expr::VectorSelector(selector) = expr {
                note(selector);
            } else if let Expr::MatrixSelector(matrix) = expr {
                note(&matrix.vs);
            }
            Ok(true)
        }
    }

    /// The metrics of an operator that has done everything once.
    fn all() -> BTreeSet<String> {
        let metrics = Metrics::new().expect("each name once");
        metrics.reachability.with_label_values(&["media", "edge", "false"]);
        metrics.suspicion.with_label_values(&["media", "edge"]);
        metrics.signs.with_label_values(&["media", "edge", "HighLoss"]);
        metrics.probed(None);
        metrics.ice_request(200, Duration::ZERO);
        metrics.wrote("Pod", "status");
        let text = metrics.text().expect("text");
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }

    #[test]
    fn the_charts_alerts_are_about_metrics_that_there_are() {
        let alerts: Vec<Value> = serde_saphyr::from_str(ALERTS).expect("a list");
        assert!(!alerts.is_empty());
        let mut names = Names::default();
        for alert in &alerts {
            let text = alert["expr"].as_str().expect("an expression");
            let expression = parser::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            walk_expr(&mut names, &expression).expect("never fails");
        }
        let all = all();
        let unknown: Vec<_> = names.0.difference(&all).collect();
        assert!(unknown.is_empty() && names.0.len() >= 5, "{unknown:?} of {:?}", names.0);
    }
}
