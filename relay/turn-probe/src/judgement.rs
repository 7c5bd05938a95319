//! What is known of how a fleet's relays are reached: what each vantage has seen, and what enough of
//! them agree on. Pure.
//!
//! Of one vantage, two failures within [`FAILURES_WITHIN`] make it false, two successes in a row true,
//! and silence makes it unknown. A relay's listeners and its relay ports are judged apart: a listener
//! that answers is no worse for a closed range behind it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    observation::{Fault, Observation, PortSeen},
    plan::Subject,
};

/// Two failures make it false that are not farther apart.
pub const FAILURES_WITHIN: Duration = Duration::from_secs(30);
/// How long a vantage may say nothing until what it said counts no more, at the least: three of its
/// intervals otherwise.
pub const SILENCE: Duration = Duration::from_secs(45);
/// How many relay ports of one relay are remembered from one vantage.
const PORTS_REMEMBERED: usize = 64;
/// How long a relay port is remembered that is not tried again: an open one, and a closed one.
const OPEN_FOR: Duration = Duration::from_secs(120);
const CLOSED_FOR: Duration = Duration::from_secs(30);

/// What one vantage knows of one thing.
#[derive(Debug, Clone, Default)]
struct Cell {
    reached: Option<bool>,
    /// Successes in a row.
    successes: u32,
    failed_at: Option<Instant>,
    /// The first failure since the last success.
    failing_since: Option<Instant>,
    heard_at: Option<Instant>,
    fault: Option<Fault>,
}

impl Cell {
    /// Whether the next result is awaited sooner: what is known may change with it.
    fn wants_confirmation(&self) -> bool {
        match self.reached {
            Some(true) => self.failed_at.is_some(),
            Some(false) => self.successes > 0,
            None => true,
        }
    }

    fn succeed(&mut self, now: Instant) {
        self.heard_at = Some(now);
        self.failed_at = None;
        self.failing_since = None;
        self.successes = self.successes.saturating_add(1);
        if self.successes >= 2 {
            self.reached = Some(true);
            self.fault = None;
        }
    }

    fn fail(&mut self, fault: Fault, now: Instant) {
        let before = self.failed_at.replace(now);
        let is_second =
            before.is_some_and(|before| now.saturating_duration_since(before) <= FAILURES_WITHIN);
        self.failing_since.get_or_insert(now);
        self.heard_at = Some(now);
        self.successes = 0;
        if is_second || self.reached == Some(false) {
            self.reached = Some(false);
            self.fault = Some(fault);
        }
    }

    fn at(&self, now: Instant, silence: Duration) -> Option<bool> {
        let heard = self.heard_at?;
        self.reached.filter(|_| now.saturating_duration_since(heard) <= silence)
    }
}

/// The relay ports of one relay, as one vantage has seen them.
#[derive(Debug, Clone, Default)]
struct Ports(BTreeMap<u16, (bool, Instant)>);

impl Ports {
    fn see(&mut self, seen: &[PortSeen], now: Instant) {
        self.forget(now);
        let news = self.which(false).next().is_none() && seen.iter().any(|seen| !seen.open);
        if news {
            // Whether the open ones still are is to be seen anew.
            self.0.clear();
        }
        for PortSeen { port, open } in seen {
            self.0.insert(*port, (*open, now));
        }
        while self.0.len() > PORTS_REMEMBERED {
            let oldest = self.0.iter().min_by_key(|(_, (_, at))| *at).map(|(port, _)| *port);
            oldest.map(|port| self.0.remove(&port));
        }
    }

    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, (open, at)| {
            let limit = if *open { OPEN_FOR } else { CLOSED_FOR };
            now.saturating_duration_since(*at) <= limit
        });
    }

    fn which(&self, open: bool) -> impl Iterator<Item = u16> {
        self.0.iter().filter(move |(_, (is, _))| *is == open).map(|(port, _)| *port)
    }
}

/// The relay ports of a relay at one address.
type Range = (Arc<str>, IpAddr);

/// What each vantage has seen.
#[derive(Debug, Default)]
pub struct Judgement {
    listeners: BTreeMap<Subject, BTreeMap<Arc<str>, Cell>>,
    ranges: BTreeMap<Range, BTreeMap<Arc<str>, (Cell, Ports)>>,
}

/// What one vantage says of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) vantage: Arc<str>,
    /// None: nothing lately.
    pub(crate) reached: Option<bool>,
    pub(crate) fault: Option<Fault>,
    /// When it was reached last, with nothing else since.
    pub(crate) reached_at: Option<Instant>,
    /// The first failure since.
    pub(crate) failing_since: Option<Instant>,
}

impl Judgement {
    /// Takes what a vantage has found, and says whether it is to be confirmed soon.
    pub fn record(
        &mut self,
        vantage: &Arc<str>,
        subject: &Subject,
        observation: &Observation,
        now: Instant,
    ) -> bool {
        if observation.is_beside_the_point() {
            return false;
        }
        if observation.fault == Some(Fault::Full) {
            return self.record_full(vantage, subject, now);
        }
        let range_confirms = self.record_ports(vantage, subject, observation, now);
        let cell = self.listener(vantage, subject);
        match observation.fault {
            None | Some(Fault::RelayPorts) => cell.succeed(now),
            Some(fault) => cell.fail(fault, now),
        }
        cell.wants_confirmation() || range_confirms
    }

    /// A relay without room has answered; its relay ports are what they were.
    fn record_full(&mut self, vantage: &Arc<str>, subject: &Subject, now: Instant) -> bool {
        let by_vantage = self.ranges.get_mut(&range_of(subject));
        if let Some((cell, _)) = by_vantage.and_then(|of| of.get_mut(vantage)) {
            cell.heard_at = Some(now);
        }
        let cell = self.listener(vantage, subject);
        cell.succeed(now);
        cell.wants_confirmation()
    }

    fn record_ports(
        &mut self,
        vantage: &Arc<str>,
        subject: &Subject,
        observation: &Observation,
        now: Instant,
    ) -> bool {
        let closed = observation.fault == Some(Fault::RelayPorts);
        if observation.ports.is_empty() && !closed {
            return false;
        }
        let by_vantage = self.ranges.entry(range_of(subject)).or_default();
        let (cell, ports) = by_vantage.entry(Arc::clone(vantage)).or_default();
        ports.see(&observation.ports, now);
        if closed || observation.ports.iter().any(|seen| !seen.open) {
            cell.fail(Fault::RelayPorts, now);
        } else if ports.which(false).next().is_none() {
            // While a port is known to be closed, another that is open changes nothing.
            cell.succeed(now);
        } else {
            cell.heard_at = Some(now);
        }
        cell.wants_confirmation()
    }

    fn listener(&mut self, vantage: &Arc<str>, subject: &Subject) -> &mut Cell {
        let by_vantage = self.listeners.entry(subject.clone()).or_default();
        by_vantage.entry(Arc::clone(vantage)).or_default()
    }

    /// The relay ports that a vantage has found closed: those to try again.
    #[must_use]
    pub fn closed_ports(&self, vantage: &str, subject: &Subject) -> Vec<u16> {
        let found = self.ranges.get(&range_of(subject)).and_then(|of| of.get(vantage));
        found.map(|(_, ports)| ports.which(false).collect()).unwrap_or_default()
    }

    /// The relay ports behind a listener that any of these vantages has found open, and closed.
    pub(crate) fn ports_seen(
        &self,
        vantages: &[Arc<str>],
        subject: &Subject,
    ) -> (BTreeSet<u16>, BTreeSet<u16>) {
        let (mut open, mut closed) = (BTreeSet::new(), BTreeSet::new());
        let by_vantage = self.ranges.get(&range_of(subject)).into_iter().flatten();
        for (_, (_, ports)) in by_vantage.filter(|(name, _)| vantages.contains(name)) {
            open.extend(ports.which(true));
            closed.extend(ports.which(false));
        }
        (open, closed)
    }

    /// Forgets the vantages and relays that are no more.
    pub fn retain(&mut self, vantages: &BTreeSet<Arc<str>>, relays: &BTreeSet<Arc<str>>) {
        self.listeners.retain(|subject, by_vantage| {
            by_vantage.retain(|vantage, _| vantages.contains(vantage));
            relays.contains(&subject.relay)
        });
        self.ranges.retain(|(relay, _), by_vantage| {
            by_vantage.retain(|vantage, _| vantages.contains(vantage));
            relays.contains(relay)
        });
    }

    /// What the vantages say of a listener, each silent after its own time.
    pub(crate) fn of_listener(
        &self,
        subject: &Subject,
        now: Instant,
        silence: impl Fn(&str) -> Duration,
    ) -> Vec<Word> {
        let cells = self.listeners.get(subject).into_iter().flatten();
        cells.map(|(name, cell)| word(name, cell, now, silence(name))).collect()
    }

    /// What the vantages say of the relay ports behind a listener.
    pub(crate) fn of_range(
        &self,
        subject: &Subject,
        now: Instant,
        silence: impl Fn(&str) -> Duration,
    ) -> Vec<Word> {
        let cells = self.ranges.get(&range_of(subject)).into_iter().flatten();
        cells.map(|(name, (cell, _))| word(name, cell, now, silence(name))).collect()
    }
}

fn range_of(subject: &Subject) -> Range {
    (Arc::clone(&subject.relay), subject.address)
}

fn word(name: &Arc<str>, cell: &Cell, now: Instant, silence: Duration) -> Word {
    let reached = cell.at(now, silence);
    let fault = cell.fault.filter(|_| reached == Some(false));
    let Cell { heard_at, failing_since, .. } = *cell;
    let reached_at = heard_at.filter(|_| reached == Some(true) && failing_since.is_none());
    Word { vantage: Arc::clone(name), reached, fault, reached_at, failing_since }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(results: &[(u64, bool)], at: u64) -> Option<bool> {
        let (start, mut cell) = (Instant::now(), Cell::default());
        for (seconds, good) in results {
            let now = start + Duration::from_secs(*seconds);
            if *good { cell.succeed(now) } else { cell.fail(Fault::Silence, now) }
        }
        cell.at(start + Duration::from_secs(at), SILENCE)
    }

    #[test]
    fn two_failures_within_thirty_seconds_make_it_false_and_two_successes_true() {
        assert_eq!(cell(&[(0, true)], 0), None);
        assert_eq!(cell(&[(0, true), (1, true)], 1), Some(true));
        assert_eq!(cell(&[(0, true), (1, true), (10, false)], 10), Some(true));
        assert_eq!(cell(&[(0, true), (1, true), (10, false), (40, false)], 40), Some(false));
        assert_eq!(cell(&[(0, true), (1, true), (10, false), (41, false)], 41), Some(true));
        assert_eq!(
            cell(&[(0, true), (1, true), (9, false), (19, true), (29, false)], 29),
            Some(true)
        );
        assert_eq!(cell(&[(0, false), (2, false)], 2), Some(false));
        assert_eq!(cell(&[(0, false), (2, false), (12, true)], 12), Some(false));
        assert_eq!(cell(&[(0, false), (2, false), (12, true), (14, true)], 14), Some(true));
    }

    #[test]
    fn silence_makes_it_unknown() {
        assert_eq!(cell(&[(0, true), (1, true)], 46), Some(true));
        assert_eq!(cell(&[(0, true), (1, true)], 47), None);
        assert_eq!(cell(&[(0, false), (1, false)], 47), None);
    }
}
