//! What is known of how a fleet's relays are reached: what each vantage has seen, and what enough of
//! them agree on. Pure.
//!
//! Of one vantage, two failures within [`FAILURES_WITHIN`] make it false, two successes in a row true,
//! and silence makes it unknown. A relay's listeners and its relay ports are judged apart: a listener
//! that answers is no worse for a closed range behind it.
//!
//! A vantage that loses its own way out sees one relay after the other fail, and no single failure
//! tells that from a relay's fault. So a failure counts once the vantage has reached another relay with
//! a probe that began after the first failure, and fails again here with one that began after that
//! (over UDP, over TCP, or at relay ports, as it fails here). Until then it is in doubt.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    observation::{Fault, Observation, PortSeen},
    plan::Subject,
    sense::{Latest, Sense},
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
    /// When the first failure was heard of those that now make it false.
    failing_since: Option<Instant>,
    /// Whether the vantage has shown since then that it reaches others.
    is_proved: bool,
    heard_at: Option<Instant>,
    fault: Option<Fault>,
}

impl Cell {
    /// Whether the next result is awaited sooner: what is known may change with it.
    fn wants_confirmation(&self) -> bool {
        match self.reached {
            Some(true) => self.failed_at.is_some(),
            Some(false) => self.successes > 0 || !self.is_proved,
            None => true,
        }
    }

    fn succeed(&mut self, now: Instant) {
        self.heard_at = Some(now);
        self.failed_at = None;
        self.failing_since = None;
        self.is_proved = false;
        self.successes = self.successes.saturating_add(1);
        if self.successes >= 2 {
            self.reached = Some(true);
            self.fault = None;
        }
    }

    /// `elsewhere` is when the vantage had begun its latest success at another relay, as far as that
    /// was known when this probe began.
    fn fail(&mut self, fault: Fault, elsewhere: Option<Instant>, now: Instant) {
        let before = self.failed_at.replace(now);
        let is_second =
            before.is_some_and(|before| now.saturating_duration_since(before) <= FAILURES_WITHIN);
        self.heard_at = Some(now);
        self.successes = 0;
        if !is_second && self.reached != Some(false) {
            self.failing_since = None;
        }
        let since = *self.failing_since.get_or_insert(now);
        self.is_proved |= elsewhere.is_some_and(|success| success >= since);
        if is_second || self.reached == Some(false) {
            self.reached = Some(false);
            self.fault = Some(fault);
        }
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
    latest: HashMap<(Arc<str>, Sense), Latest>,
}

/// A probe as it began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) at: Instant,
    /// When the vantage's latest success at another relay had begun: at a listener like this, and at
    /// relay ports.
    elsewhere: [Option<Instant>; 2],
    /// Whether the vantage shares the relay's node: coming through shows nothing of its way out.
    is_beside: bool,
}

/// What is to be probed soon because of what was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Next {
    /// The same again.
    pub(crate) confirm: bool,
    /// Another relay: what failed is in doubt.
    pub(crate) control: Option<Sense>,
}

/// What one vantage says of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) vantage: Arc<str>,
    /// None: nothing sure.
    pub(crate) reached: Option<bool>,
    pub(crate) fault: Option<Fault>,
    /// Whether the vantage has shown that it reaches others where it does not reach this.
    pub(crate) is_proved: bool,
    /// When it was reached last, with nothing else since.
    pub(crate) reached_at: Option<Instant>,
    /// The first failure since.
    pub(crate) failing_since: Option<Instant>,
}

impl Word {
    /// Whether it does not reach it, and nothing that answers says why.
    pub(crate) fn is_lost_on_the_way(&self) -> bool {
        let lost = [Fault::Silence, Fault::Refused, Fault::RelayPorts, Fault::LongPackets];
        self.fault.is_some_and(|fault| lost.contains(&fault))
    }
}

impl Judgement {
    /// What is known of a vantage when it begins to probe, perhaps on the relay's own node.
    pub(crate) fn begin(
        &self,
        vantage: &Arc<str>,
        subject: &Subject,
        is_beside: bool,
        now: Instant,
    ) -> Begun {
        let senses = [Sense::of_listener(subject), Sense::of_range(subject)];
        let elsewhere = |sense| {
            let latest = self.latest.get(&(Arc::clone(vantage), sense));
            latest.and_then(|latest| latest.elsewhere(&subject.relay))
        };
        Begun { at: now, elsewhere: senses.map(elsewhere), is_beside }
    }

    /// Takes what a vantage has found, and says what is to be probed soon because of it.
    pub(crate) fn record(
        &mut self,
        vantage: &Arc<str>,
        subject: &Subject,
        begun: Begun,
        observation: &Observation,
        now: Instant,
    ) -> Next {
        if observation.is_beside_the_point() {
            return Next::default();
        }
        if observation.fault == Some(Fault::Busy) {
            self.leave_range(vantage, subject, now);
            let cell = self.listener(vantage, subject);
            cell.heard_at = cell.heard_at.map(|_| now);
            return Next::default();
        }
        if observation.fault == Some(Fault::Full) {
            self.leave_range(vantage, subject, now);
        } else {
            self.record_ports(vantage, subject, begun, observation, now);
        }
        let cell = self.listener(vantage, subject);
        match observation.fault {
            None | Some(Fault::RelayPorts | Fault::Full) => cell.succeed(now),
            Some(fault) => cell.fail(fault, begun.elsewhere[0], now),
        }
        let listener = cell.clone();
        if listener.failing_since.is_none() {
            self.succeeded(vantage, subject, Sense::of_listener(subject), begun);
        }
        let by_vantage = self.ranges.get(&range_of(subject)).and_then(|of| of.get(vantage));
        let range = by_vantage.map(|(cell, _)| cell).filter(|cell| cell.heard_at == Some(now));
        let of =
            |cell: &Cell, sense| (cell.failing_since.is_some() && !cell.is_proved).then_some(sense);
        let in_doubt = of(&listener, Sense::of_listener(subject));
        Next {
            confirm: listener.wants_confirmation() || range.is_some_and(Cell::wants_confirmation),
            control: in_doubt.or_else(|| of(range?, Sense::of_range(subject))),
        }
    }

    fn succeeded(&mut self, vantage: &Arc<str>, subject: &Subject, sense: Sense, begun: Begun) {
        if begun.is_beside {
            return;
        }
        let latest = self.latest.entry((Arc::clone(vantage), sense)).or_default();
        latest.add(&subject.relay, begun.at);
    }

    /// A relay without room, for all or for this prober, has answered; its relay ports are what they
    /// were.
    fn leave_range(&mut self, vantage: &Arc<str>, subject: &Subject, now: Instant) {
        let by_vantage = self.ranges.get_mut(&range_of(subject));
        if let Some((cell, _)) = by_vantage.and_then(|of| of.get_mut(vantage)) {
            cell.heard_at = Some(now);
        }
    }

    fn record_ports(
        &mut self,
        vantage: &Arc<str>,
        subject: &Subject,
        begun: Begun,
        observation: &Observation,
        now: Instant,
    ) {
        let closed = observation.fault == Some(Fault::RelayPorts);
        if observation.ports.is_empty() && !closed {
            return;
        }
        let by_vantage = self.ranges.entry(range_of(subject)).or_default();
        let (cell, ports) = by_vantage.entry(Arc::clone(vantage)).or_default();
        ports.see(&observation.ports, now);
        if closed || observation.ports.iter().any(|seen| !seen.open) {
            cell.fail(Fault::RelayPorts, begun.elsewhere[1], now);
        } else if ports.which(false).next().is_none() {
            // While a port is known to be closed, another that is open changes nothing.
            cell.succeed(now);
        } else {
            cell.heard_at = Some(now);
        }
        if observation.ports.iter().any(|seen| seen.open) {
            self.succeeded(vantage, subject, Sense::of_range(subject), begun);
        }
    }

    /// Something at another relay that a vantage has reached so far, in the same way: what it finds
    /// there now shows whether it is at fault itself.
    pub(crate) fn control(
        &self,
        vantage: &Arc<str>,
        failed: &Subject,
        sense: Sense,
        is_beside: impl Fn(&Subject) -> bool,
    ) -> Option<Subject> {
        let reaches = |subject: &Subject, by: &BTreeMap<Arc<str>, Cell>| {
            let fits = sense == Sense::of_listener(subject) || sense == Sense::of_range(subject);
            fits && subject.relay != failed.relay
                && !is_beside(subject)
                && by.get(vantage).is_some_and(|cell| cell.reached == Some(true))
        };
        self.listeners.iter().find(|(subject, by)| reaches(subject, by)).map(|(of, _)| of.clone())
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
        self.latest.retain(|(vantage, _), _| vantages.contains(vantage));
    }

    /// What the vantages say of a listener, each silent after its own time.
    pub(crate) fn of_listener(
        &self,
        subject: &Subject,
        now: Instant,
        silence: impl Fn(&str) -> Duration,
    ) -> Vec<Word> {
        let cells = self.listeners.get(subject).into_iter().flatten();
        cells.filter_map(|(name, cell)| word(name, cell, now, silence(name))).collect()
    }

    /// What the vantages say of the relay ports behind a listener.
    pub(crate) fn of_range(
        &self,
        subject: &Subject,
        now: Instant,
        silence: impl Fn(&str) -> Duration,
    ) -> Vec<Word> {
        let cells = self.ranges.get(&range_of(subject)).into_iter().flatten();
        cells.filter_map(|(name, (cell, _))| word(name, cell, now, silence(name))).collect()
    }
}

fn range_of(subject: &Subject) -> Range {
    (Arc::clone(&subject.relay), subject.address)
}

/// None: it says nothing any more.
fn word(name: &Arc<str>, cell: &Cell, now: Instant, silence: Duration) -> Option<Word> {
    let is_over = now.saturating_duration_since(cell.heard_at?) > silence;
    let Cell { reached, is_proved, heard_at, failing_since, .. } = *cell;
    let fault = cell.fault.filter(|_| reached == Some(false));
    let reached_at = heard_at.filter(|_| reached == Some(true) && failing_since.is_none());
    let vantage = Arc::clone(name);
    (!is_over).then_some(Word { vantage, reached, fault, is_proved, reached_at, failing_since })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(results: &[(u64, bool)], at: u64) -> Option<bool> {
        let (start, mut cell) = (Instant::now(), Cell::default());
        for (seconds, good) in results {
            let now = start + Duration::from_secs(*seconds);
            if *good { cell.succeed(now) } else { cell.fail(Fault::Silence, None, now) }
        }
        let now = start + Duration::from_secs(at);
        word(&"london".into(), &cell, now, SILENCE).and_then(|word| word.reached)
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
    fn a_failure_is_proved_by_a_success_elsewhere_between_two_of_its_kind() {
        let (start, mut cell) = (Instant::now(), Cell::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        cell.fail(Fault::Silence, Some(at(0)), at(1));
        cell.fail(Fault::Silence, Some(at(0)), at(3));
        assert!(!cell.is_proved && cell.wants_confirmation(), "that was before");
        cell.fail(Fault::Silence, Some(at(1)), at(5));
        assert!(cell.is_proved && !cell.wants_confirmation());
        cell.succeed(at(6));
        assert!(!cell.is_proved);
    }

    #[test]
    fn a_prober_that_is_given_no_more_allocations_leaves_what_is_known() {
        let (start, mut judgement) = (Instant::now(), Judgement::default());
        let (vantage, relay): (Arc<str>, Arc<str>) = ("london".into(), "relay".into());
        let subject = Subject {
            relay,
            address: "192.0.2.1".parse().expect("an address"),
            listener: "udp".into(),
            transport: crate::Transport::Udp,
            port: 3478,
        };
        let mut see = |seconds, fault| {
            let now = start + Duration::from_secs(seconds);
            let observation = Observation { fault: Some(fault), ..Observation::not_made("") };
            let begun = judgement.begin(&vantage, &subject, false, now);
            judgement.record(&vantage, &subject, begun, &observation, now);
            let words = judgement.of_listener(&subject, now, |_| SILENCE);
            words.first().and_then(|word| word.reached)
        };
        assert_eq!(see(0, Fault::Busy), None);
        assert_eq!(see(1, Fault::LongPackets), None);
        assert_eq!(see(3, Fault::LongPackets), Some(false));
        for round in 1..20 {
            assert_eq!(see(3 + round * 10, Fault::Busy), Some(false), "round {round}");
        }
    }

    #[test]
    fn silence_makes_it_unknown() {
        assert_eq!(cell(&[(0, true), (1, true)], 46), Some(true));
        assert_eq!(cell(&[(0, true), (1, true)], 47), None);
        assert_eq!(cell(&[(0, false), (1, false)], 47), None);
    }
}
