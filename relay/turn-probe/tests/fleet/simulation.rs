//! What observes a fleet, as the operator does it, on virtual time: a driver that looks every half
//! second for the vantages inside, and agents outside that ask when they are told to.

use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use turn_probe::{
    Fault, Observation, PortSeen, Transport,
    plan::{Listener, Order, PortRange, Relay, Subject, Vantage, VantageKind},
    sign::Sign,
    survey::{Fleet, Survey, Verdict},
};

use crate::weather::Weather;

/// The driver's and the store's figures (`turn-operator`, `reachability`).
const JUDGE_EVERY: Duration = Duration::from_millis(500);
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How many probes of one vantage, and of all, a relay lets allocate at a time (`turn-proto`,
/// `probe_user`): each has two allocations.
const PROBES_OF_ONE: usize = 4;
const PROBES_OF_ALL: usize = 32;

pub(crate) const PORTS: PortRange = PortRange { from: 61_000, to: 65_535 };

/// What is wrong with a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incident {
    /// A firewall drops what comes to the listeners of this transport.
    Listener(Transport),
    /// A firewall drops what comes to the relay ports below this one.
    RangeBelow(u32),
    /// Its node is gone.
    Everything,
    /// It answers, and relays nothing.
    Lies,
}

/// What an agent does other than it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// It is as good as the network.
    Honest,
    /// Nothing reaches it.
    CutOff,
    /// A firewall lets none of its UDP out.
    NoUdp,
    /// It tells what cannot be.
    Nonsense,
    /// It says of all that it is good.
    Flatters,
    /// It says everything many times, with and without being asked.
    Floods,
}

/// When something happens; the earliest is the greatest, and what was planned first comes first.
struct Event {
    at: Instant,
    number: u64,
    what: What,
}

enum What {
    Drive,
    Ask(Arc<str>),
    Done(Order, Observation),
}

/// What is known of a relay that conditions show.
pub(crate) type Standing = (Option<bool>, bool);

#[derive(Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) at: Duration,
    pub(crate) relay: Arc<str>,
    pub(crate) now: Standing,
}

pub(crate) struct Simulation {
    pub(crate) survey: Survey,
    pub(crate) fleet: Fleet,
    pub(crate) weather: Weather,
    pub(crate) incidents: HashMap<Arc<str>, Incident>,
    pub(crate) habits: HashMap<Arc<str>, Habit>,
    pub(crate) rng: StdRng,
    pub(crate) verdict: Verdict,
    /// Each relay's condition whenever it changed.
    pub(crate) changes: Vec<Change>,
    /// How often anything in the verdict changed: what makes the operator look at the status.
    pub(crate) news: usize,
    /// All that was ever told beside conditions of relays.
    pub(crate) signs: BTreeSet<Sign>,
    /// When each vantage began each of its probes.
    pub(crate) begun: BTreeMap<Arc<str>, Vec<Duration>>,
    pub(crate) faults: BTreeMap<Fault, usize>,
    pub(crate) refused: usize,
    start: Instant,
    pub(crate) now: Instant,
    events: BinaryHeap<Event>,
    number: u64,
    /// What agents have found and not told yet.
    found: HashMap<Arc<str>, Vec<(Order, Observation)>>,
    told: HashMap<Arc<str>, Vec<(Order, Observation)>>,
    /// How many probes are under way, by relay and vantage.
    under_way: HashMap<Arc<str>, HashMap<Arc<str>, usize>>,
}

pub(crate) fn outside(name: &str) -> Vantage {
    Vantage { name: name.into(), kind: VantageKind::Outside, node: None }
}

/// The operator, and so many agents outside.
pub(crate) fn vantages(agents: usize) -> Vec<Vantage> {
    let name = "operator".into();
    let operator =
        Vantage { name, kind: VantageKind::Operator, node: Some("elsewhere".to_owned()) };
    let agents = (1..=agents).map(|index| outside(&format!("agent-{index}")));
    [operator].into_iter().chain(agents).collect()
}

pub(crate) fn fleet(relays: u16, vantages: Vec<Vantage>) -> Fleet {
    let relay = |index: u16| {
        let [high, low] = index.to_be_bytes();
        Relay {
            name: format!("relay-{index}").into(),
            node: format!("node-{index}"),
            region: "eu".into(),
            addresses: vec![IpAddr::from([198, 18, high, low])],
        }
    };
    let listener = |name: &str, transport| Listener { name: name.into(), transport, port: 3478 };
    Fleet {
        relays: (1..=relays).map(relay).collect(),
        listeners: vec![listener("udp", Transport::Udp), listener("tcp", Transport::Tcp)],
        vantages,
        relay_ports: PORTS,
        min_vantages: 1,
        fail_open: true,
        admitted: BTreeSet::new(),
        skewed: BTreeSet::new(),
    }
}

impl Simulation {
    pub(crate) fn new(fleet: Fleet, seed: u64) -> Self {
        // Printed when the test fails.
        println!("seed {seed}");
        let now = Instant::now();
        let mut simulation = Self {
            survey: Survey::new(fleet.clone(), now),
            weather: Weather::FAIR,
            incidents: HashMap::new(),
            habits: HashMap::new(),
            rng: StdRng::seed_from_u64(seed),
            verdict: Verdict::default(),
            changes: Vec::new(),
            news: 0,
            signs: BTreeSet::new(),
            begun: BTreeMap::new(),
            faults: BTreeMap::new(),
            refused: 0,
            start: now,
            now,
            events: BinaryHeap::new(),
            number: 0,
            found: HashMap::new(),
            told: HashMap::new(),
            under_way: HashMap::new(),
            fleet,
        };
        simulation.plan(now, What::Drive);
        for vantage in simulation.fleet.vantages.clone() {
            if vantage.kind == VantageKind::Outside {
                let after = simulation.rng.random_range(Duration::ZERO..LONGEST_WAIT);
                simulation.plan(now + after, What::Ask(vantage.name));
            }
        }
        simulation
    }

    /// How long it has run.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn plan(&mut self, at: Instant, what: What) {
        self.number += 1;
        self.events.push(Event { at, number: self.number, what });
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.elapsed() + time);
    }

    pub(crate) fn run_until(&mut self, elapsed: Duration) {
        let end = self.start + elapsed;
        while self.events.peek().is_some_and(|event| event.at <= end) {
            let Some(event) = self.events.pop() else { break };
            self.now = event.at;
            match event.what {
                What::Drive => self.drive(),
                What::Ask(agent) => self.ask(&agent),
                What::Done(order, observation) => self.done(order, observation),
            }
        }
        self.now = end;
    }

    fn drive(&mut self) {
        let inside = |vantage: &&Vantage| vantage.kind != VantageKind::Outside;
        let inside: Vec<_> =
            self.fleet.vantages.iter().filter(inside).map(|of| Arc::clone(&of.name)).collect();
        for vantage in inside {
            for order in self.survey.due(&vantage, self.now) {
                self.begin(order);
            }
        }
        self.judge();
        self.plan(self.now + JUDGE_EVERY, What::Drive);
    }

    fn judge(&mut self) {
        let verdict = self.survey.judge(self.now);
        self.news += usize::from(verdict != self.verdict);
        self.signs.extend(verdict.signs.iter().cloned());
        for (relay, of) in &verdict.relays {
            let now = (of.reached, of.admitted);
            let was = self.verdict.relays.get(relay).map(|was| (was.reached, was.admitted));
            if was != Some(now) {
                let (at, relay) = (self.elapsed(), Arc::clone(relay));
                self.changes.push(Change { at, relay, now });
            }
        }
        self.verdict = verdict;
    }

    /// An agent brings what it has found, and takes what it is to do.
    fn ask(&mut self, agent: &Arc<str>) {
        let mut found = self.found.remove(agent).unwrap_or_default();
        match self.habit(agent) {
            Habit::Floods => {
                let told = self.told.entry(Arc::clone(agent)).or_default();
                told.extend(found.iter().cloned());
                // All that it has ever told, and the same of rounds that are still to come.
                let old = told.iter().rev().take(100).cloned();
                let later = old.clone().map(|(order, seen)| {
                    let round = order.round + 1 + u64::from(order.subject.port % 3);
                    (Order { round, ..order }, seen)
                });
                found = found.iter().flat_map(|one| [one.clone(), one.clone()]).collect();
                found.extend(old.chain(later));
            }
            Habit::Nonsense => {
                let strange = found.iter().map(|(order, seen)| {
                    let subject = Subject { relay: "nobody".into(), ..order.subject.clone() };
                    (Order { subject, ..order.clone() }, seen.clone())
                });
                found = strange.chain(found.iter().cloned()).collect();
            }
            Habit::Honest | Habit::CutOff | Habit::NoUdp | Habit::Flatters => {}
        }
        for (order, observation) in found {
            self.record(agent, &order, &observation);
        }
        for order in self.survey.due(agent, self.now) {
            self.begin(order);
        }
        let next = self.survey.poll_timeout(agent);
        let wait = next.map_or(LONGEST_WAIT, |due| due.saturating_duration_since(self.now));
        let wait = wait.clamp(SHORTEST_WAIT, LONGEST_WAIT);
        self.plan(self.now + wait, What::Ask(Arc::clone(agent)));
    }

    fn record(&mut self, vantage: &Arc<str>, order: &Order, observation: &Observation) {
        let Order { subject, round, .. } = order;
        let taken = self.survey.record(vantage, subject, *round, observation, self.now);
        self.refused += usize::from(taken.is_err());
    }

    fn habit(&self, vantage: &str) -> Habit {
        self.habits.get(vantage).copied().unwrap_or(Habit::Honest)
    }

    fn begin(&mut self, order: Order) {
        let elapsed = self.elapsed();
        self.begun.entry(Arc::clone(&order.vantage)).or_default().push(elapsed);
        let of_relay = self.under_way.entry(Arc::clone(&order.subject.relay)).or_default();
        let of_all: usize = of_relay.values().sum();
        let of_vantage = of_relay.entry(Arc::clone(&order.vantage)).or_default();
        let is_full = *of_vantage >= PROBES_OF_ONE || of_all >= PROBES_OF_ALL;
        *of_vantage += 1;
        let (took, observation) = self.probe(&order, is_full);
        if let Some(fault) = observation.fault {
            *self.faults.entry(fault).or_default() += 1;
        }
        self.plan(self.now + took, What::Done(order, observation));
    }

    fn done(&mut self, order: Order, observation: Observation) {
        let of_relay = self.under_way.entry(Arc::clone(&order.subject.relay)).or_default();
        *of_relay.entry(Arc::clone(&order.vantage)).or_default() -= 1;
        let is_outside = |of: &Vantage| of.name == order.vantage && of.kind == VantageKind::Outside;
        let vantage = Arc::clone(&order.vantage);
        if self.fleet.vantages.iter().any(is_outside) {
            self.found.entry(vantage).or_default().push((order, observation));
        } else {
            self.record(&vantage, &order, &observation);
        }
    }

    /// What a probe that begins now will find, and when.
    fn probe(&mut self, order: &Order, is_full: bool) -> (Duration, Observation) {
        let seen = |ports: [u16; 2], is_open: &dyn Fn(u16) -> bool| {
            ports.map(|port| PortSeen { port, open: is_open(port) }).to_vec()
        };
        let good = || (Duration::from_millis(100), observation(None, seen(order.ports, &|_| true)));
        match self.habit(&order.vantage) {
            Habit::Flatters => return good(),
            Habit::CutOff => {
                return (order.limit, observation(Some(Fault::Silence), Vec::new()));
            }
            Habit::Nonsense => return (Duration::from_millis(1), self.nonsense(order)),
            Habit::NoUdp if order.subject.transport == Transport::Udp => {
                return (order.limit, observation(Some(Fault::Silence), Vec::new()));
            }
            Habit::NoUdp if !self.incidents.contains_key(&order.subject.relay) => {
                let closed = seen(order.ports, &|_| false);
                return (order.limit, observation(Some(Fault::RelayPorts), closed));
            }
            Habit::Honest | Habit::Floods | Habit::NoUdp => {}
        }
        let fault = match self.incidents.get(&order.subject.relay) {
            Some(Incident::Everything) => Some(Fault::Silence),
            Some(Incident::Listener(of)) if *of == order.subject.transport => Some(Fault::Silence),
            Some(Incident::Lies) => Some(Fault::RelayPorts),
            Some(Incident::Listener(_) | Incident::RangeBelow(_)) | None => None,
        };
        if let Some(fault) = fault {
            return (order.limit, observation(Some(fault), Vec::new()));
        }
        if is_full {
            return (Duration::from_millis(50), observation(Some(Fault::Busy), Vec::new()));
        }
        if let Some(Incident::RangeBelow(closed)) = self.incidents.get(&order.subject.relay) {
            let closed = *closed;
            let ports = seen(order.ports, &|port| u32::from(port) >= closed);
            if ports.iter().any(|seen| !seen.open) {
                return (order.limit, observation(Some(Fault::RelayPorts), ports));
            }
        }
        let (took, fault) = self.weather.probe(&mut self.rng, order);
        if fault.is_some() {
            return (took, observation(fault, Vec::new()));
        }
        let datagrams = self.weather.datagrams(&mut self.rng, order);
        (took, Observation { datagrams, ..observation(None, seen(order.ports, &|_| true)) })
    }

    /// Something that no probe finds, or none of these.
    fn nonsense(&mut self, order: &Order) -> Observation {
        let of = |port| PortSeen { port, open: true };
        let Order { ports: [first, _], .. } = order;
        let good = observation(None, vec![of(*first)]);
        match self.rng.random_range(0..6) {
            // A success without a round trip, and one that began before there was time.
            0 => Observation { round_trip_milliseconds: None, ..good },
            1 => Observation { round_trip_milliseconds: Some(u64::MAX), ..good },
            // Relay ports outside of the range.
            2 => observation(None, vec![of(1), of(22)]),
            3 => observation(None, vec![of(*first), of(PORTS.from - 1)]),
            // More of them than a probe tries.
            4 => observation(None, vec![of(*first); 100]),
            // Ports of a relay that was not reached.
            _ => observation(Some(Fault::Silence), vec![of(*first)]),
        }
    }
}

fn observation(fault: Option<Fault>, ports: Vec<PortSeen>) -> Observation {
    let answered = !matches!(fault, Some(Fault::Silence | Fault::Refused | Fault::NoRoute));
    let says = fault.map(|fault| format!("{fault:?}")).unwrap_or_default();
    Observation {
        fault,
        says,
        ports,
        round_trip_milliseconds: answered.then_some(20),
        datagrams: None,
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}
