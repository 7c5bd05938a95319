//! The agent: asks, probes, reports.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use turn_probe::{
    Fault, Observation,
    agent::{AgentOrder, AgentOrders, AgentReport, Answer, MOST_ANSWERS},
    plan::PROBES_PER_SECOND,
};

use super::{
    addresses::Addresses,
    operator::{Operator, Trouble},
    pause::{Backoff, jittered},
    progress::{Progress, Tell},
};

/// How many probes are under way at a time: each has three sockets, and a process may mostly have
/// 1,024 files.
const AT_ONCE: usize = 300;
/// How many answers wait to be told, while the operator is not there. Those that are older than this
/// many are of no use to it.
const MOST_WAITING: usize = 4 * MOST_ANSWERS;
/// How soon the operator is asked again, whatever it says.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How soon after an error: of a connection, and of a token.
const AFTER_ERROR: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
const AFTER_REFUSAL: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];
/// How soon another replica is looked for.
const AFTER_NOT_LEADER: Duration = Duration::from_secs(1);

/// How a single round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    AllReached,
    NotReached,
    Stopped,
}

/// An agent, and what it is at.
pub(super) struct Agent {
    operator: Operator,
    addresses: Addresses,
    progress: Progress,
    backoff: Backoff,
    running: JoinSet<(AgentOrder, Observation)>,
    waiting: VecDeque<Answer>,
    budget: Budget,
    was_over_budget: bool,
}

impl Agent {
    pub(super) fn new(operator: Operator, addresses: Addresses, tell: Tell) -> Self {
        Self {
            operator,
            addresses,
            progress: Progress::new(tell),
            backoff: Backoff::default(),
            running: JoinSet::new(),
            waiting: VecDeque::new(),
            budget: Budget::new(Instant::now()),
            was_over_budget: false,
        }
    }

    /// Goes on until it is dropped.
    pub(super) async fn run(&mut self) -> Infallible {
        loop {
            let pause = match self.ask().await {
                Ok(orders) => {
                    let told = Duration::from_millis(orders.wait_milliseconds);
                    self.begin(orders.orders);
                    let has_more = self.waiting.len() >= MOST_ANSWERS;
                    let told = if has_more { SHORTEST_WAIT } else { told };
                    told.clamp(SHORTEST_WAIT, LONGEST_WAIT)
                }
                Err(trouble) => self.pause(&trouble),
            };
            self.probe_until(Instant::now() + pause).await;
        }
    }

    /// One round, and its report.
    pub(super) async fn once(&mut self) -> End {
        let Ok(AgentOrders { orders, .. }) = self.ask().await else { return End::NotReached };
        let count = orders.len();
        self.begin(orders);
        let mut reached = 0;
        while let Some(done) = self.running.join_next().await {
            let Ok((order, observation)) = done else { continue };
            reached += usize::from(observation.fault.is_none());
            self.take(order, observation);
        }
        // The operator lets itself be asked again after a fifth of a second.
        tokio::time::sleep(SHORTEST_WAIT).await;
        let is_told = self.ask().await.is_ok();
        if is_told && reached == count { End::AllReached } else { End::NotReached }
    }

    /// Reports what has been found, and takes orders. What could not be told is told the next time;
    /// what was told twice counts once.
    async fn ask(&mut self) -> Result<AgentOrders, Trouble> {
        let count = self.waiting.len().min(MOST_ANSWERS);
        let report = AgentReport { answers: self.waiting.drain(..count).collect() };
        let asked = self.operator.ask(&report).await;
        let place = self.operator.place();
        match &asked {
            Ok(_) => {
                self.backoff.succeed();
                self.progress.connected(&place);
            }
            Err(trouble) => {
                report.answers.into_iter().rev().for_each(|one| self.waiting.push_front(one));
                self.progress.trouble(&place, trouble.to_string());
            }
        }
        asked
    }

    fn pause(&mut self, trouble: &Trouble) -> Duration {
        let [first, longest] = match trouble {
            Trouble::NotLeader | Trouble::TooSoon => return jittered(AFTER_NOT_LEADER),
            Trouble::Refused(_) => AFTER_REFUSAL,
            Trouble::Other(_) => AFTER_ERROR,
        };
        self.backoff.fail(first, longest)
    }

    /// Begins all of them at once, as far as there is room. What is not begun is not answered: the
    /// operator orders it again.
    fn begin(&mut self, orders: Vec<AgentOrder>) {
        let now = Instant::now();
        let mut left = 0_usize;
        for order in orders {
            let address = order.probe.server.ip();
            if !self.addresses.allow(address) {
                let says = format!("{address} is none that this agent probes: see --addresses");
                self.take(order, Observation::not_made(&says));
            } else if self.running.len() < AT_ONCE && self.budget.take(now) {
                self.running.spawn(async move {
                    let observation = order.probe.run().await;
                    (order, observation)
                });
            } else {
                left += 1;
            }
        }
        if left > 0 && !self.was_over_budget {
            self.progress.note(&format!("{left} probes not made: too many at once"));
        }
        self.was_over_budget = left > 0;
    }

    async fn probe_until(&mut self, until: Instant) {
        let pause = sleep_until(until);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                Some(done) = self.running.join_next(), if !self.running.is_empty() => {
                    // A probe that panicked is one that nobody made.
                    if let Ok((order, observation)) = done {
                        self.take(order, observation);
                    }
                }
                () = &mut pause => return,
            }
        }
    }

    fn take(&mut self, order: AgentOrder, observation: Observation) {
        let AgentOrder { id, probe } = order;
        self.progress.found(&id, &probe, &observation);
        if observation.fault != Some(Fault::NoRoute) {
            tracing::debug!(server = %probe.server, fault = ?observation.fault, "probed");
        }
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Answer { id, observation });
    }
}

/// How many probes may begin: as many as the operator plans for one vantage, with two seconds' worth at
/// once.
#[derive(Debug)]
struct Budget {
    left: f64,
    at: Instant,
}

impl Budget {
    const MOST: f64 = 2.0 * PROBES_PER_SECOND as f64;

    const fn new(now: Instant) -> Self {
        Self { left: Self::MOST, at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * f64::from(PROBES_PER_SECOND)).min(Self::MOST);
        self.at = now;
        let may = self.left >= 1.0;
        self.left -= f64::from(u8::from(may));
        may
    }
}
