//! A fleet under observation: its plan, what was seen, and what follows for each relay. Pure: times
//! and observations go in, orders and verdicts come out.

mod clients;
mod seen;
mod times;
mod verdict;
mod vote;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::verdict::{RelayVerdict, SubjectVerdict, Suspicion, Verdict};
use self::{seen::Seen, times::Times};
use crate::{
    clients::Clients,
    diagnosis::{self, Elsewhere, Finding, wire},
    judgement::{Begun, Judgement, SILENCE, Word},
    loss::Losses,
    observation::{Fault, Observation},
    plan::{
        CONFIRM_AFTER, LIMIT_TO_CONFIRM, Listener, Order, Plan, PortRange, Relay, Subject, Vantage,
        ports_to_try, subjects,
    },
    sense::Sense,
    sign::Sign,
    visit::{Taken, Visit, VisitRefused, Visits},
};

/// How long a relay of which nobody says anything at all waits to be let in, where failing open is
/// allowed.
const UNHEARD: Duration = Duration::from_secs(60);
/// How long it takes, beyond the interval, until a fault that all relays have is known of all: a probe
/// more, which takes its time where nobody answers, and some seconds for a busy machine.
const KNOWN_OF_ALL: Duration =
    Duration::from_secs(9).saturating_add(CONFIRM_AFTER).saturating_add(LIMIT_TO_CONFIRM);
/// By when all have tried a new relay, and it has started.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
/// How often the words about an unchanged reason may change.
const REWORD_EVERY: Duration = Duration::from_secs(60);

/// What is observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// The relays that run.
    pub relays: Vec<Relay>,
    /// What each of them listens on.
    pub listeners: Vec<Listener>,
    /// Who probes.
    pub vantages: Vec<Vantage>,
    /// The relay ports of each.
    pub relay_ports: PortRange,
    /// How many vantages have to agree.
    pub min_vantages: usize,
    /// Whether relays stay in when all turn unreachable at once.
    pub fail_open: bool,
    /// The relays that were let in before, by whoever observed the fleet then.
    pub admitted: BTreeSet<Arc<str>>,
    /// The relays whose clock is known to be another one.
    pub skewed: BTreeSet<Arc<str>>,
}

/// An answer that nobody asked for, or that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such order is open: it was answered before, or never given.
    #[error("no such probe is awaited from this vantage: it was answered before, or never ordered")]
    NotAwaited,
    /// No probe finds that.
    #[error("no probe finds that: its parts contradict each other, or are too long")]
    Implausible,
}

/// A fleet under observation.
#[derive(Debug)]
pub struct Survey {
    fleet: Fleet,
    plan: Plan,
    judgement: Judgement,
    /// The probes under way.
    begun: BTreeMap<(Arc<str>, Subject), Begun>,
    admitted: BTreeSet<Arc<str>>,
    first_seen: BTreeMap<Arc<str>, Instant>,
    /// The nodes of the vantages that have one.
    nodes: BTreeMap<Arc<str>, String>,
    full: BTreeMap<Arc<str>, bool>,
    /// What was told last of each, and when.
    told: BTreeMap<Subject, (Finding, Instant)>,
    losses: Losses,
    visits: Visits,
    clients: Clients,
    /// What was found of each relay last.
    before: BTreeMap<Arc<str>, RelayVerdict>,
}

impl Survey {
    /// Begins to observe.
    #[must_use]
    pub fn new(fleet: Fleet, now: Instant) -> Self {
        let mut survey = Self {
            plan: Plan::default(),
            judgement: Judgement::default(),
            begun: BTreeMap::new(),
            admitted: fleet.admitted.clone(),
            first_seen: BTreeMap::new(),
            nodes: BTreeMap::new(),
            full: BTreeMap::new(),
            told: BTreeMap::new(),
            losses: Losses::default(),
            visits: Visits::default(),
            clients: Clients::default(),
            before: BTreeMap::new(),
            fleet,
        };
        survey.follow(now);
        survey
    }

    /// Takes note of what the fleet is now.
    pub fn set(&mut self, fleet: Fleet, now: Instant) {
        if self.fleet != fleet {
            self.fleet = fleet;
            self.follow(now);
        }
    }

    fn follow(&mut self, now: Instant) {
        let Fleet { relays, listeners, vantages, .. } = &self.fleet;
        self.plan.set(relays, listeners, vantages, now);
        let names: BTreeSet<_> = relays.iter().map(|relay| Arc::clone(&relay.name)).collect();
        let by = vantages.iter().map(|vantage| Arc::clone(&vantage.name)).collect();
        self.judgement.retain(&by, &names);
        self.losses.retain(&by, &names);
        self.visits.retain(&by, &names);
        self.clients.retain(&names);
        self.admitted.retain(|name| names.contains(name));
        self.full.retain(|name, _| names.contains(name));
        self.first_seen.retain(|name, _| names.contains(name));
        self.told.retain(|subject, _| names.contains(&subject.relay));
        self.before.retain(|name, _| names.contains(name));
        self.begun.retain(|(_, subject), _| names.contains(&subject.relay));
        for name in names {
            self.first_seen.entry(name).or_insert(now);
        }
        let node = |vantage: &Vantage| Some((Arc::clone(&vantage.name), vantage.node.clone()?));
        self.nodes = self.fleet.vantages.iter().filter_map(node).collect();
    }

    /// The plan: intervals, and how much each vantage has to do.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What a vantage has to probe now.
    pub fn due(&mut self, vantage: &Arc<str>, now: Instant) -> Vec<Order> {
        let (judgement, range) = (&self.judgement, self.fleet.relay_ports);
        let ports = |subject: &Subject, round| {
            let closed = judgement.closed_ports(vantage, subject);
            ports_to_try(range, &(vantage, subject), round, &closed)
        };
        let orders = self.plan.due(vantage, now, ports);
        for Order { subject, .. } in &orders {
            let is_beside = self.is_beside(vantage, subject);
            let begun = self.judgement.begin(vantage, subject, is_beside, now);
            self.begun.insert((Arc::clone(vantage), subject.clone()), begun);
        }
        orders
    }

    /// Whether a vantage shares the node of the relay.
    fn is_beside(&self, vantage: &Arc<str>, subject: &Subject) -> bool {
        let relay = self.fleet.relays.iter().find(|relay| relay.name == subject.relay);
        relay.is_some_and(|relay| self.shares_node(vantage, relay))
    }

    fn shares_node(&self, vantage: &Arc<str>, relay: &Relay) -> bool {
        self.nodes.get(vantage) == Some(&relay.node)
    }

    /// When a vantage has something to do.
    #[must_use]
    pub fn poll_timeout(&self, vantage: &str) -> Option<Instant> {
        self.plan.poll_timeout(vantage)
    }

    /// Takes what a vantage has found to an order.
    ///
    /// # Errors
    /// When it was not asked, or tells what no probe finds. Nothing is taken of it then.
    pub fn record(
        &mut self,
        vantage: &Arc<str>,
        subject: &Subject,
        round: u64,
        observation: &Observation,
        now: Instant,
    ) -> Result<(), Refused> {
        if !self.plan.is_awaited(vantage, subject, round) {
            return Err(Refused::NotAwaited);
        }
        let Some(begun) = self.begun.get(&(Arc::clone(vantage), subject.clone())).copied() else {
            return Err(Refused::NotAwaited);
        };
        let PortRange { from, to } = self.fleet.relay_ports;
        let in_range = observation.ports.iter().all(|seen| (from..=to).contains(&seen.port));
        let since = now.saturating_duration_since(begun.at);
        if !observation.is_plausible() || !in_range || !observation.fits_into(since) {
            return Err(Refused::Implausible);
        }
        if observation.fault != Some(Fault::NoRoute) {
            let is_full = observation.fault == Some(Fault::Full);
            self.full.insert(Arc::clone(&subject.relay), is_full);
        }
        if let Some(datagrams) = observation.datagrams {
            self.losses.record(vantage, subject, datagrams);
        }
        let next = self.judgement.record(vantage, subject, begun, observation, now);
        self.plan.answered(vantage, subject, next.confirm, now);
        let is_beside = |other: &Subject| self.is_beside(vantage, other);
        let control = next
            .control
            .and_then(|sense| self.judgement.control(vantage, subject, sense, is_beside));
        if let Some(control) = control {
            self.plan.hasten(vantage, &control, now);
        }
        Ok(())
    }

    /// Takes what a browser has found where a vantage is, and has everybody try at once what it did not
    /// reach.
    ///
    /// # Errors
    /// When it is no visit of this fleet. Nothing is taken of it then.
    pub fn visited(
        &mut self,
        vantage: &Arc<str>,
        visit: &Visit,
        now: Instant,
    ) -> Result<Taken, VisitRefused> {
        let subjects: Vec<_> =
            self.fleet.relays.iter().flat_map(|relay| self.subjects_of(relay)).collect();
        let taken = self.visits.record(vantage, visit, &subjects, now)?;
        for subject in &taken.unreached {
            self.plan.hasten_all(subject, now);
        }
        Ok(taken)
    }

    /// Judges, and lets relays in and out by it.
    pub fn judge(&mut self, now: Instant) -> Verdict {
        let seen = self.seen(now);
        let relays = self.fleet.relays.clone();
        let mut verdict = Verdict { broken: seen.broken(), ..Verdict::default() };
        let mut times = Times::default();
        for relay in &relays {
            let of_relay = self.judge_relay(relay, &seen, &mut times, now);
            verdict.relays.insert(Arc::clone(&relay.name), of_relay);
        }
        verdict.suspicion = self.suspicion(&verdict, &seen);
        self.review_clients(now);
        verdict.signs = self.signs(&verdict, now);
        if self.fleet.fail_open && verdict.suspicion.is_none() {
            self.hold(&mut verdict, &times, now);
        }
        self.admit(&mut verdict, now);
        self.before.clone_from(&verdict.relays);
        verdict
    }

    /// When all relays turn unreachable at once, one is the first of which that is known. So what is
    /// found of a relay that was let in is held back, and what was found before stays, until its
    /// listener was reached at another relay since, or a vantage that does not reach it has reached
    /// others, or until it would be known of all.
    fn hold(&self, verdict: &mut Verdict, times: &Times, now: Instant) {
        let intervals = self.fleet.vantages.iter().map(|vantage| self.plan.interval(&vantage.name));
        let limit = intervals.max().unwrap_or_default() + KNOWN_OF_ALL;
        let is_new = |subject: &Subject| {
            let since = times.failing_since.get(subject).copied().unwrap_or(now);
            now.saturating_duration_since(since) < limit && !times.is_told_apart(subject, since)
        };
        let admitted = verdict.relays.iter_mut().filter(|(name, _)| self.admitted.contains(*name));
        for (name, relay) in admitted.filter(|(_, relay)| relay.reached == Some(false)) {
            let mut unreached = relay.subjects.iter().filter(|one| one.reached == Some(false));
            if let Some(before) = self.before.get(name)
                && before.reached != Some(false)
                && unreached.all(|one| is_new(&one.subject))
            {
                relay.clone_from(before);
            }
        }
    }

    fn silence(&self, vantage: &str) -> Duration {
        (self.plan.interval(vantage) * 3).max(SILENCE)
    }

    fn words(&self, subject: &Subject, now: Instant) -> Vec<Word> {
        let silence = |vantage: &str| self.silence(vantage);
        self.judgement.of_listener(subject, now, silence)
    }

    fn range_words(&self, subject: &Subject, now: Instant) -> Vec<Word> {
        let silence = |vantage: &str| self.silence(vantage);
        self.judgement.of_range(subject, now, silence)
    }

    fn subjects_of<'a>(&'a self, relay: &'a Relay) -> impl Iterator<Item = Subject> + use<'a> {
        subjects(relay, &self.fleet.listeners)
    }

    /// What all of it looks like at once.
    fn seen(&self, now: Instant) -> Seen {
        let age = |at: &Instant| now.saturating_duration_since(*at);
        let mut seen = Seen::default();
        seen.is_settling = self.first_seen.values().any(|at| age(at) < SETTLED_AFTER);
        for relay in &self.fleet.relays {
            for subject in self.subjects_of(relay) {
                let reached = |word: &Word| word.reached == Some(true);
                let words = self.words(&subject, now);
                if words.iter().any(reached) {
                    seen.answered.insert(subject.clone());
                    seen.wires.insert(wire(subject.transport));
                }
                let outside = |word: &Word| !self.shares_node(&word.vantage, relay);
                let is_witness = |word: &Word| {
                    word.reached == Some(false) && !self.first_seen.contains_key(&word.vantage)
                };
                let range = self.range_words(&subject, now);
                let mut both = words.iter().chain(&range).filter(|word| outside(word));
                if both.any(is_witness) {
                    seen.unreached.insert(Arc::clone(&relay.name));
                }
                let (words, range) = (words.into_iter(), range.into_iter());
                seen.take(Sense::of_listener(&subject), &relay.name, words.filter(outside));
                seen.take(Sense::of_range(&subject), &relay.name, range.filter(outside));
            }
        }
        seen
    }

    fn judge_relay(
        &mut self,
        relay: &Relay,
        seen: &Seen,
        times: &mut Times,
        now: Instant,
    ) -> RelayVerdict {
        let subjects: Vec<_> = self.subjects_of(relay).collect();
        let subjects: Vec<_> = subjects
            .into_iter()
            .map(|subject| self.judge_subject(relay, subject, seen, times, now))
            .collect();
        let reached = if subjects.iter().any(|one| one.reached == Some(false)) {
            Some(false)
        } else if subjects.iter().all(|one| one.reached == Some(true)) {
            Some(true)
        } else {
            None
        };
        let finding = subjects.iter().filter_map(|one| one.finding.as_ref());
        RelayVerdict {
            // A relay without an address cannot be reached, and that is said elsewhere.
            reached: reached.filter(|_| !subjects.is_empty()),
            admitted: false,
            finding: finding.min_by_key(|finding| finding.reason).cloned(),
            full: self.full.get(&relay.name).copied().unwrap_or_default(),
            subjects,
        }
    }

    fn judge_subject(
        &mut self,
        relay: &Relay,
        subject: Subject,
        seen: &Seen,
        times: &mut Times,
        now: Instant,
    ) -> SubjectVerdict {
        let (of_listener, of_range) = (Sense::of_listener(&subject), Sense::of_range(&subject));
        let listener = self.vote(relay, self.words(&subject, now), of_listener, seen);
        let range = self.vote(relay, self.range_words(&subject, now), of_range, seen);
        times.note(&subject, &listener, &range);
        let reached = match (listener.reached, range.reached) {
            (Some(true), Some(true)) => Some(true),
            (Some(false), _) | (_, Some(false)) => Some(false),
            _ => None,
        };
        let is_in_doubt = listener.is_in_doubt || range.is_in_doubt;
        if let Some(before) = self.found_before(&subject).filter(|_| is_in_doubt)
            && reached != Some(false)
        {
            return before.clone();
        }
        let finding = if listener.reached == Some(false) {
            listener.fault.map(|fault| self.of_listener(&subject, fault, seen))
        } else if range.reached == Some(false) {
            Some(self.of_range(&subject, &range.against))
        } else if reached.is_none() {
            let only = [&listener, &range].into_iter().find(|vote| !vote.only_beside.is_empty());
            only.map(|vote| diagnosis::of_hairpin(&vote.only_beside, subject.address))
        } else {
            None
        };
        let finding = finding.map(|finding| self.worded(&subject, finding, now));
        if finding.is_none() {
            self.told.remove(&subject);
        }
        let not_reached_from: BTreeSet<_> =
            listener.against.into_iter().chain(range.against).collect();
        let reached_from =
            listener.for_it.into_iter().filter(|name| !not_reached_from.contains(name)).collect();
        let not_reached_from = not_reached_from.into_iter().collect();
        SubjectVerdict { subject, reached, finding, reached_from, not_reached_from }
    }

    /// What was found of a listener of a relay that is out because of it. A new relay beside it puts that
    /// in doubt for a moment, and lets nobody in.
    fn found_before(&self, subject: &Subject) -> Option<&SubjectVerdict> {
        let before = self.before.get(&subject.relay).filter(|relay| !relay.admitted)?;
        before.subjects.iter().find(|one| one.subject == *subject && one.reached == Some(false))
    }

    fn of_listener(&self, subject: &Subject, fault: Fault, seen: &Seen) -> Finding {
        let Subject { relay, address, transport, port, .. } = subject;
        let skewed = self.fleet.skewed.contains(relay);
        let over_ipv4 = |other: &&Subject| {
            other.relay == *relay && other.listener == subject.listener && other.address.is_ipv4()
        };
        let elsewhere = Elsewhere {
            same_wire: seen.wires.contains(wire(*transport)),
            other_wire: seen.wires.iter().any(|other| *other != wire(*transport)),
            same_relay_over_ipv4: seen.answered.iter().any(|other| over_ipv4(&other)),
        };
        diagnosis::of_listener(fault, *transport, *address, *port, elsewhere, skewed)
    }

    fn of_range(&self, subject: &Subject, by: &[Arc<str>]) -> Finding {
        let (open, closed) = self.judgement.ports_seen(by, subject);
        diagnosis::of_range(subject.address, self.fleet.relay_ports, &open, &closed)
    }

    /// The same words as before, unless there is another reason, or time to say it better.
    fn worded(&mut self, subject: &Subject, finding: Finding, now: Instant) -> Finding {
        if let Some((told, since)) = self.told.get(subject)
            && told.reason == finding.reason
            && now.saturating_duration_since(*since) < REWORD_EVERY
        {
            return told.clone();
        }
        self.told.insert(subject.clone(), (finding.clone(), now));
        finding
    }

    /// What is amiss although it takes no relay out.
    fn signs(&self, verdict: &Verdict, now: Instant) -> Vec<Sign> {
        let reached = |subject: &Subject| verdict.of(subject)?.reached;
        let mut signs = self.visits.signs(now, reached);
        signs.extend(self.losses.signs());
        signs.extend(self.clients.signs());
        signs.sort();
        signs.dedup();
        signs
    }

    /// Whether no relay is reached any more, of which there were some.
    fn suspicion(&self, verdict: &Verdict, seen: &Seen) -> Option<Suspicion> {
        let of_all = || verdict.relays.values().map(|relay| relay.reached);
        let is_suspect = self.fleet.fail_open
            && !self.admitted.is_empty()
            && of_all().all(|reached| reached != Some(true))
            && of_all().any(|reached| reached == Some(false));
        let answers = !seen.answered.is_empty();
        let suspicion = if answers { Suspicion::NoneIsWhole } else { Suspicion::NothingAnswers };
        is_suspect.then_some(suspicion)
    }

    fn admit(&mut self, verdict: &mut Verdict, now: Instant) {
        for (name, relay) in &mut verdict.relays {
            let unheard = || {
                let since = self.first_seen.get(name).copied().unwrap_or(now);
                let silent = relay.subjects.iter().all(|one| {
                    one.reached.is_none()
                        && one.reached_from.is_empty()
                        && one.not_reached_from.is_empty()
                });
                silent && now.saturating_duration_since(since) >= UNHEARD
            };
            match relay.reached {
                Some(true) => _ = self.admitted.insert(Arc::clone(name)),
                Some(false) if verdict.suspicion.is_none() => _ = self.admitted.remove(name),
                None if self.fleet.fail_open && unheard() => {
                    self.admitted.insert(Arc::clone(name));
                }
                Some(false) | None => {}
            }
            relay.admitted = self.admitted.contains(name);
        }
    }
}

#[cfg(test)]
mod tests;
