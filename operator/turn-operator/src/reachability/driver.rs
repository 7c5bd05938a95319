//! Carries out what a fleet's survey orders: probes of the operator's own, and those that relays make.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep_until};
use turn_auth::{Secret, TimeLimitedCredential, UnixSeconds};
use turn_probe::{
    Observation, ProbeOrder, Transport,
    diagnosis::Finding,
    plan::{Order, Vantage, VantageKind},
    survey::Verdict,
};

use super::{
    observed_fleet::{ObservedFleet, OnChange, State},
    relay_client::RelayClient,
};
use crate::{metrics::Metrics, unix_time::unix_now};

/// How long a probe's credential is good: for the probe, and for clocks that differ a little.
const CREDENTIAL_SECONDS: u64 = 300;
/// How often what is known is thought over, at the most.
const JUDGE_EVERY: Duration = Duration::from_millis(500);
/// How many probes are under way at a time, of one fleet.
const AT_ONCE: usize = 512;

/// What drives it has of the outside.
pub(super) struct Shell {
    pub(super) client: RelayClient,
    pub(super) metrics: Metrics,
    pub(super) on_change: OnChange,
}

/// A probe that is over.
struct Done {
    order: Order,
    /// None: whoever was asked to make it did not.
    observation: Option<Observation>,
    /// How far the clock of who made it is off, in seconds.
    skew: Option<u64>,
}

/// Observes a fleet until it is dropped.
pub(super) async fn drive(fleet: Arc<ObservedFleet>, shell: Shell) {
    let mut running = JoinSet::new();
    loop {
        let now = Instant::now();
        if running.len() < AT_ONCE {
            for begun in begin(&mut fleet.state(), now) {
                running.spawn(probe(begun, shell.client.clone()));
            }
        }
        judge(&fleet, &shell, now);
        let pause = sleep_until((now + JUDGE_EVERY).into());
        tokio::pin!(pause);
        loop {
            tokio::select! {
                Some(done) = running.join_next(), if !running.is_empty() => {
                    // A probe that panicked is one that nobody made.
                    if let Ok(done) = done {
                        record(&fleet, &shell, done);
                    }
                }
                () = fleet.news.notified() => break,
                () = &mut pause => break,
            }
        }
    }
}

/// A probe that is to be made.
struct Begun {
    order: Order,
    probe: ProbeOrder,
    way: Way,
}

/// By whom.
#[derive(Clone)]
enum Way {
    /// By the operator itself.
    Here,
    /// By the relay with this HTTP port, which takes orders that are signed with the secret.
    Relay(SocketAddr, Secret),
}

/// What is due now of the vantages inside the cluster.
fn begin(state: &mut State, now: Instant) -> Vec<Begun> {
    let inside = |vantage: &&Vantage| vantage.kind != VantageKind::Outside;
    let vantages: Vec<_> = state.facts.fleet.vantages.iter().filter(inside).cloned().collect();
    let mut all = Vec::new();
    for vantage in vantages {
        let way = match vantage.kind {
            VantageKind::Relay => match state.facts.admin.get(&vantage.name) {
                Some(admin) => Way::Relay(*admin, state.facts.secret.clone()),
                None => continue,
            },
            VantageKind::Operator | VantageKind::Outside => Way::Here,
        };
        for order in state.survey.due(&vantage.name, now) {
            let probe = state.probe(&order);
            all.push(Begun { order, probe, way: way.clone() });
        }
    }
    all
}

impl State {
    /// The probe that an order asks for, with a credential of its own.
    pub(super) fn probe(&self, order: &Order) -> ProbeOrder {
        let Order { vantage, subject, ports, limit, .. } = order;
        let expires_at = UnixSeconds(unix_now().0 + CREDENTIAL_SECONDS);
        let TimeLimitedCredential { username, password } =
            TimeLimitedCredential::mint_for_probe(&self.facts.secret, vantage, expires_at);
        let secure = matches!(subject.transport, Transport::Tls | Transport::Dtls);
        let certificates = self.facts.certificate.iter().chain(&self.former_certificate);
        ProbeOrder {
            server: SocketAddr::new(subject.address, subject.port),
            transport: subject.transport,
            username,
            password,
            relay_ports: *ports,
            certificates: certificates.filter(|_| secure).cloned().collect(),
            limit_milliseconds: u32::try_from(limit.as_millis()).unwrap_or(u32::MAX),
        }
    }
}

async fn probe(begun: Begun, client: RelayClient) -> Done {
    let Begun { order, probe, way } = begun;
    let (observation, clocks) = match way {
        Way::Here => (Some(probe.run().await), None),
        Way::Relay(admin, secret) => {
            let now = unix_now();
            match client.ask(admin, &probe, &secret, now).await {
                Ok(answer) => {
                    (answer.observation, Some(unix_now().0.abs_diff(answer.unix_seconds)))
                }
                Err(error) => {
                    tracing::debug!(relay = &*order.vantage, %error, "a relay does not probe");
                    (None, None)
                }
            }
        }
    };
    Done { order, observation, skew: clocks }
}

/// Takes what a probe has found. What nobody made is as if it were never asked for: who stays silent
/// counts no more after a while.
fn record(fleet: &ObservedFleet, shell: &Shell, done: Done) {
    let Done { order, observation, skew } = done;
    let mut state = fleet.state();
    if let Some(skew) = skew {
        state.skews.insert(Arc::clone(&order.vantage), skew);
    }
    shell.metrics.probed(observation.as_ref());
    let Some(observation) = observation else { return };
    let Order { vantage, subject, round, .. } = &order;
    if let Some(fault) = observation.fault {
        let says = observation.says.as_str();
        tracing::debug!(
            vantage = &**vantage,
            relay = &*subject.relay,
            ?fault,
            says,
            "probe failed"
        );
    }
    let taken = state.survey.record(vantage, subject, *round, &observation, Instant::now());
    if let Err(refused) = taken {
        tracing::debug!(vantage = &**vantage, %refused, "an observation is not taken");
    }
}

/// Thinks over what is known, and tells if it is something else than before.
fn judge(fleet: &ObservedFleet, shell: &Shell, now: Instant) {
    let mut state = fleet.state();
    let verdict = state.survey.judge(now);
    shell.metrics.set_reachability(&state.facts, &verdict);
    if verdict == state.verdict {
        return;
    }
    log_changes(&state.facts.name, &state.verdict, &verdict);
    state.verdict = verdict;
    drop(state);
    (shell.on_change)(&fleet.uid);
}

fn log_changes(name: &str, before: &Verdict, after: &Verdict) {
    for (relay, now) in &after.relays {
        let was = before.relays.get(relay).map(|was| (was.reached, was.admitted));
        if was == Some((now.reached, now.admitted)) {
            continue;
        }
        let finding = now.finding.as_ref().map(Finding::line).unwrap_or_default();
        tracing::info!(
            turn_server = name,
            relay = &**relay,
            reached = now.reached,
            admitted = now.admitted,
            finding,
            "reachability changed"
        );
    }
}
