//! The fleets that are observed.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use subtle::ConstantTimeEq as _;
use tokio_util::task::AbortOnDropHandle;
use turn_probe::{
    agent::{AgentOrder, AgentOrders, AgentReport, OrderId},
    plan::Order,
    survey::Verdict,
    visit::{Taken, Visit, VisitRefused},
};

use super::{
    clients, driver,
    facts::Facts,
    observed_fleet::{ObservedFleet, OnChange},
    relay_client::RelayClient,
};
use crate::metrics::Metrics;

/// When an agent asks again, at the soonest and at the latest: a new relay should not wait for it.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The fleets that are observed, and what is known of them. Observing ends when the last copy of
/// this is dropped.
#[derive(Clone)]
pub struct Reachability(Arc<Inner>);

struct Inner {
    client: RelayClient,
    metrics: Metrics,
    on_change: OnChange,
    fleets: Mutex<HashMap<String, Observed>>,
}

struct Observed {
    fleet: Arc<ObservedFleet>,
    _driver: AbortOnDropHandle<((), ())>,
}

impl fmt::Debug for Reachability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reachability").finish_non_exhaustive()
    }
}

impl Reachability {
    /// Observes nothing yet.
    #[must_use]
    pub fn new(metrics: Metrics, on_change: OnChange) -> Self {
        let client = RelayClient::new();
        Self(Arc::new(Inner { client, metrics, on_change, fleets: Mutex::default() }))
    }

    fn fleets(&self) -> MutexGuard<'_, HashMap<String, Observed>> {
        self.0.fleets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Observes the fleet of the `TurnServer` with this uid as it is now; no more, without facts.
    pub fn follow(&self, uid: &str, facts: Option<Facts>) {
        let mut fleets = self.fleets();
        let Some(facts) = facts else {
            if let Some(gone) = fleets.remove(uid) {
                self.0.metrics.forget_fleet(&gone.fleet.state().facts);
            }
            return;
        };
        match fleets.get(uid) {
            Some(observed) => {
                observed.fleet.state().set(facts);
                observed.fleet.news.notify_one();
            }
            None => {
                fleets.insert(uid.to_owned(), self.begin(uid, facts));
            }
        }
    }

    fn begin(&self, uid: &str, facts: Facts) -> Observed {
        let fleet = Arc::new(ObservedFleet::new(uid, facts));
        let Inner { client, metrics, on_change, .. } = &*self.0;
        let shell = driver::Shell {
            client: client.clone(),
            metrics: metrics.clone(),
            on_change: Arc::clone(on_change),
        };
        let watch = clients::watch(Arc::clone(&fleet), client.clone());
        let drive = driver::drive(Arc::clone(&fleet), shell);
        let driver = tokio::spawn(async { tokio::join!(drive, watch) });
        Observed { fleet, _driver: AbortOnDropHandle::new(driver) }
    }

    /// How many are observed.
    #[must_use]
    pub fn count(&self) -> usize {
        self.fleets().len()
    }

    /// Observes those with one of these uids, and no others.
    pub fn retain(&self, uids: &[String]) {
        let gone: Vec<_> =
            self.fleets().keys().filter(|uid| !uids.contains(uid)).cloned().collect();
        for uid in gone {
            self.follow(&uid, None);
        }
    }

    /// The fleet of a `TurnServer` by its name.
    fn find(&self, namespace: &str, name: &str) -> Option<Arc<ObservedFleet>> {
        let fleets = self.fleets();
        let is_it = |fleet: &&Observed| {
            let state = fleet.fleet.state();
            state.facts.namespace == namespace && state.facts.name == name
        };
        fleets.values().find(is_it).map(|observed| Arc::clone(&observed.fleet))
    }

    /// Whether an agent of this name and token probes a fleet.
    pub(super) fn has_agent(
        &self,
        namespace: &str,
        name: &str,
        vantage: &str,
        token: &str,
    ) -> bool {
        let fleet = self.find(namespace, name);
        let expected = fleet.and_then(|fleet| fleet.state().facts.agents.get(vantage).cloned());
        expected.is_some_and(|expected| expected.expose().ct_eq(token.as_bytes()).into())
    }

    /// Takes what an agent has found, and says what it is to do next.
    pub(super) fn ask(
        &self,
        namespace: &str,
        name: &str,
        vantage: &str,
        report: &AgentReport,
    ) -> Option<AgentOrders> {
        let fleet = self.find(namespace, name)?;
        let (vantage, now): (Arc<str>, _) = (vantage.into(), Instant::now());
        let mut state = fleet.state();
        let mut taken = 0;
        for answer in &report.answers {
            if state.take(&vantage, answer, now) {
                self.0.metrics.probed(Some(&answer.observation));
                taken += 1;
            }
        }
        let orders = state.survey.due(&vantage, now);
        let of = |order: &Order| AgentOrder {
            id: OrderId::new(&order.subject, order.round),
            probe: state.probe(order),
        };
        let orders: Vec<_> = orders.iter().map(of).collect();
        let next =
            state.survey.poll_timeout(&vantage).map(|due| due.saturating_duration_since(now));
        drop(state);
        if taken > 0 {
            fleet.news.notify_one();
        }
        let wait = next.unwrap_or(LONGEST_WAIT).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        Some(AgentOrders {
            orders,
            wait_milliseconds: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            refused: report.answers.len() - taken,
        })
    }

    /// Takes what a browser has found where a vantage is. None: there is no such fleet.
    pub(super) fn visited(
        &self,
        namespace: &str,
        name: &str,
        vantage: &str,
        visit: &Visit,
    ) -> Option<Result<Taken, VisitRefused>> {
        let fleet = self.find(namespace, name)?;
        let taken = fleet.state().survey.visited(&vantage.into(), visit, Instant::now());
        if let Ok(Taken { unreached, .. }) = &taken {
            let unreached = unreached.len();
            tracing::info!(turn_server = name, namespace, vantage, unreached, "a browser reports");
            fleet.news.notify_one();
        }
        Some(taken)
    }

    /// What is known of the fleet of the `TurnServer` with this uid.
    #[must_use]
    pub fn verdict(&self, uid: &str) -> Option<Verdict> {
        let fleet = Arc::clone(&self.fleets().get(uid)?.fleet);
        let verdict = fleet.state().verdict.clone();
        Some(verdict)
    }
}
