mod clients;
mod visits;

use std::net::IpAddr;

use super::*;
use crate::{Transport, diagnosis::Reason, observation::PortSeen, plan::VantageKind};

/// What each vantage would see of each relay, now.
type World<'a> = dyn Fn(&str, &str, Transport) -> Option<Fault> + 'a;

struct Scene {
    survey: Survey,
    fleet: Fleet,
    now: Instant,
    /// The relays that were let out again at any time.
    let_out: BTreeSet<Arc<str>>,
}

fn vantage(name: &str, kind: VantageKind, node: Option<&str>) -> Vantage {
    Vantage { name: name.into(), kind, node: node.map(str::to_owned) }
}

fn fleet(relays: u8, vantages: Vec<Vantage>) -> Fleet {
    let relay = |index: u8| Relay {
        name: format!("relay-{index}").into(),
        node: format!("node-{index}"),
        region: "eu".into(),
        addresses: vec![IpAddr::from([192, 0, 2, index])],
    };
    let listener = |name: &str, transport| Listener { name: name.into(), transport, port: 3478 };
    Fleet {
        relays: (1..=relays).map(relay).collect(),
        listeners: vec![listener("udp", Transport::Udp), listener("tcp", Transport::Tcp)],
        vantages,
        relay_ports: PortRange { from: 61_000, to: 65_535 },
        min_vantages: 1,
        fail_open: true,
        admitted: BTreeSet::new(),
        skewed: BTreeSet::new(),
    }
}

fn outside() -> Vec<Vantage> {
    vec![vantage("outside", VantageKind::Outside, None)]
}

/// The operator on the node of the first of two relays, which probe each other.
fn inside() -> Vec<Vantage> {
    vec![
        vantage("operator", VantageKind::Operator, Some("node-1")),
        vantage("relay-1", VantageKind::Relay, Some("node-1")),
        vantage("relay-2", VantageKind::Relay, Some("node-2")),
    ]
}

impl Scene {
    fn new(fleet: Fleet) -> Self {
        let now = Instant::now();
        Self { survey: Survey::new(fleet.clone(), now), fleet, now, let_out: BTreeSet::new() }
    }

    /// Lets time go by, with probes that see what `world` says; of the first relay, the ports below
    /// `closed_below` are closed.
    fn pass(&mut self, seconds: u64, closed_below: u32, world: &World<'_>) -> Verdict {
        for _ in 0..seconds * 4 {
            self.step(closed_below, world);
        }
        self.survey.judge(self.now)
    }

    /// A quarter of a second.
    fn step(&mut self, closed_below: u32, world: &World<'_>) -> Verdict {
        self.now += Duration::from_millis(250);
        for vantage in self.fleet.vantages.clone() {
            for order in self.survey.due(&vantage.name, self.now) {
                let observation = observe(&order, closed_below, world);
                let Order { vantage, subject, round, .. } = order;
                let taken = self.survey.record(&vantage, &subject, round, &observation, self.now);
                assert_eq!(taken, Ok(()), "{observation:?}");
            }
        }
        let were = self.survey.admitted.clone();
        let verdict = self.survey.judge(self.now);
        self.let_out.extend(were.difference(&self.survey.admitted).cloned());
        verdict
    }
}

fn observe(order: &Order, closed_below: u32, world: &World<'_>) -> Observation {
    let fault = world(&order.vantage, &order.subject.relay, order.subject.transport);
    let is_first = &*order.subject.relay == "relay-1";
    let seen = order
        .ports
        .map(|port| PortSeen { port, open: !is_first || u32::from(port) >= closed_below });
    let closed = seen.iter().any(|seen| !seen.open).then_some(Fault::RelayPorts);
    let ports = if fault.is_none() { seen.to_vec() } else { Vec::new() };
    let answered = !matches!(fault, Some(Fault::Silence | Fault::Refused | Fault::NoRoute));
    Observation {
        fault: fault.or(closed),
        says: String::new(),
        ports,
        // No time goes by in these probes.
        round_trip_milliseconds: answered.then_some(0),
        datagrams: None,
    }
}

fn all_well(_: &str, _: &str, _: Transport) -> Option<Fault> {
    None
}

fn reached(verdict: &Verdict) -> Vec<Option<bool>> {
    verdict.relays.values().map(|relay| relay.reached).collect()
}

fn admitted(verdict: &Verdict) -> Vec<bool> {
    verdict.relays.values().map(|relay| relay.admitted).collect()
}

#[test]
fn a_relay_that_is_reached_is_let_in_within_seconds() {
    for vantages in [outside(), inside()] {
        let mut scene = Scene::new(fleet(2, vantages));
        let verdict = scene.pass(4, 0, &all_well);
        assert_eq!(reached(&verdict), [Some(true); 2]);
        assert_eq!(admitted(&verdict), [true; 2]);
    }
}

#[test]
fn each_fault_is_found_within_thirty_seconds_and_over_within_sixty() {
    let udp = |fault| move |transport| (transport == Transport::Udp).then_some(fault);
    let tcp = |transport| (transport == Transport::Tcp).then_some(Fault::Silence);
    let nothing = |_: Transport| None;
    let silence = |_: Transport| Some(Fault::Silence);
    type Seen<'a> = &'a dyn Fn(Transport) -> Option<Fault>;
    let incidents: [(Seen<'_>, u32, Reason); 6] = [
        (&udp(Fault::Silence), 0, Reason::ListenerPortBlocked),
        (&nothing, 65_536, Reason::RelayRangeBlocked),
        (&nothing, 63_268, Reason::RelayRangePartiallyBlocked),
        (&tcp, 0, Reason::ListenerPortBlocked),
        (&silence, 0, Reason::ListenerPortBlocked),
        (&udp(Fault::LongPackets), 0, Reason::PathMTUTooSmall),
    ];
    for (seen, closed_below, reason) in incidents {
        let mut scene = Scene::new(fleet(2, outside()));
        scene.pass(20, 0, &all_well);
        let world = |_: &str, relay: &str, over| (relay == "relay-1").then(|| seen(over)).flatten();
        let verdict = scene.pass(30, closed_below, &world);
        assert_eq!(verdict.reason("relay-1"), Some(reason), "{verdict:#?}");
        assert_eq!(reached(&verdict), [Some(false), Some(true)], "{reason}");
        assert_eq!(admitted(&verdict), [false, true], "{reason}");
        let verdict = scene.pass(60, 0, &all_well);
        assert_eq!(admitted(&verdict), [true; 2], "{reason}");
        assert_eq!(verdict.worst(Some(false)), None, "{reason}");
    }
}

#[test]
fn relays_find_each_others_faults_without_anybody_outside() {
    let mut scene = Scene::new(fleet(2, inside()));
    scene.pass(20, 0, &all_well);
    // Its own node reaches it still.
    let world = |from: &str, relay: &str, _| {
        (relay == "relay-1" && from != "operator").then_some(Fault::Silence)
    };
    let verdict = scene.pass(30, 0, &world);
    assert_eq!(admitted(&verdict), [false, true], "{verdict:#?}");
}

#[test]
fn when_everything_is_unreachable_at_once_relays_stay_in_and_the_vantages_are_suspected() {
    let mut scene = Scene::new(fleet(3, outside()));
    scene.pass(20, 0, &all_well);
    let verdict = scene.pass(40, 0, &|_, _, _| Some(Fault::Silence));
    assert_eq!(verdict.suspicion, Some(Suspicion::NothingAnswers));
    assert_eq!(admitted(&verdict), [true; 3]);
    assert!(scene.let_out.is_empty(), "for a while: {:?}", scene.let_out);
    let mut strict = Scene::new(Fleet { fail_open: false, ..fleet(3, outside()) });
    strict.pass(20, 0, &all_well);
    let verdict = strict.pass(40, 0, &|_, _, _| Some(Fault::Silence));
    assert_eq!(admitted(&verdict), [false; 3]);
}

#[test]
fn nobody_is_let_out_on_the_way_to_knowing_that_all_are_unreachable() {
    for over in [Transport::Udp, Transport::Tcp] {
        let mut scene = Scene::new(fleet(2, inside()));
        scene.pass(20, 0, &all_well);
        // The operator goes to the relay beside it through no firewall.
        let world = |from: &str, relay: &str, transport| {
            let is_beside = from == "operator" && relay == "relay-1";
            (!is_beside && transport == over).then_some(Fault::Silence)
        };
        let verdict = scene.pass(60, 0, &world);
        assert_eq!(verdict.suspicion, Some(Suspicion::NoneIsWhole), "{over}");
        assert!(scene.let_out.is_empty(), "{over}: {:?}", scene.let_out);
    }
}

#[test]
fn who_fell_silent_before_vouches_for_nobody() {
    let mut scene = Scene::new(fleet(2, [outside(), inside()].concat()));
    scene.pass(20, 0, &all_well);
    // From here on the agent says nothing, and what it said counts for a while.
    scene.fleet.vantages.retain(|vantage| vantage.kind != VantageKind::Outside);
    let world = |from: &str, relay: &str, _| {
        let is_beside = from == "operator" && relay == "relay-1";
        (!is_beside).then_some(Fault::Silence)
    };
    for _ in 0..60 {
        scene.pass(1, 0, &world);
        assert!(scene.let_out.is_empty(), "{:?}", scene.let_out);
    }
    assert!(scene.survey.judge(scene.now).suspicion.is_some());
}

/// What is dropped between two relays says not yet which of them is closed; whoever reaches one does.
#[test]
fn a_relay_that_is_not_reached_is_no_witness_against_one_that_others_reach() {
    let mut scene = Scene::new(fleet(2, [outside(), inside()].concat()));
    scene.pass(20, 0, &all_well);
    let world = |from: &str, relay: &str, _| {
        let crosses = (from == "relay-2") != (relay == "relay-2");
        crosses.then_some(Fault::LongPackets)
    };
    let verdict = scene.pass(30, 0, &world);
    assert_eq!(admitted(&verdict), [true, false], "{verdict:#?}");
    assert_eq!(verdict.reason("relay-2"), Some(Reason::PathMTUTooSmall));
    assert_eq!(verdict.suspicion, None);
    let of_other = &verdict.relays["relay-1"];
    assert_eq!(of_other.reached, Some(true));
}

#[test]
fn a_relay_that_was_never_reached_is_not_let_in_and_the_reason_named() {
    let mut scene = Scene::new(fleet(1, outside()));
    let verdict = scene.pass(120, 0, &|_, _, _| Some(Fault::Silence));
    assert_eq!(admitted(&verdict), [false]);
    assert_eq!(verdict.reason("relay-1"), Some(Reason::ListenerPortBlocked));
}

#[test]
fn a_new_relay_lets_nobody_in_who_is_not_reached() {
    let elsewhere = vantage("operator", VantageKind::Operator, Some("node-9"));
    let vantages = [outside(), vec![elsewhere]].concat();
    let two = Fleet { fail_open: false, ..fleet(2, vantages) };
    for works_after in [0, 12, 40] {
        let one = Fleet { relays: two.relays[..1].to_vec(), ..two.clone() };
        let mut scene = Scene::new(one);
        let closed = |from: &str, relay: &str, _| {
            (from == "outside" && relay == "relay-1").then_some(Fault::Silence)
        };
        assert_eq!(admitted(&scene.pass(30, 0, &closed)), [false]);
        scene.fleet = two.clone();
        scene.survey.set(two.clone(), scene.now);
        for second in 0..60 {
            let starts = |from: &str, relay: &str, over| {
                let is_new = relay == "relay-2" && second < works_after;
                is_new.then_some(Fault::Silence).or_else(|| closed(from, relay, over))
            };
            let verdict = scene.pass(1, 0, &starts);
            assert_eq!(reached(&verdict)[0], Some(false), "after {second} s, {works_after}");
        }
        assert_eq!(admitted(&scene.pass(1, 0, &closed)), [false, true]);
    }
}

/// A node behind a router that leads nothing back to where it comes from.
#[test]
fn who_shares_the_node_and_does_not_reach_the_relay_shows_nothing() {
    let operator = vantage("operator", VantageKind::Operator, Some("node-1"));
    let mut scene = Scene::new(fleet(1, vec![operator]));
    let hairpin = |from: &str, _: &str, _| (from == "operator").then_some(Fault::Silence);
    let verdict = scene.pass(30, 0, &hairpin);
    assert_eq!((reached(&verdict), admitted(&verdict)), (vec![None], vec![false]));
    assert_eq!(verdict.reason("relay-1"), Some(Reason::HairpinUnsupported));
    assert_eq!(admitted(&scene.pass(60, 0, &hairpin)), [true], "where failing open is allowed");
    scene.fleet.vantages.extend(outside());
    scene.survey.set(scene.fleet.clone(), scene.now);
    let verdict = scene.pass(30, 0, &hairpin);
    assert_eq!((reached(&verdict), verdict.reason("relay-1")), (vec![Some(true)], None));
}

#[test]
fn a_vantage_that_fails_everywhere_does_not_count_while_others_reach_the_relays() {
    let vantages = [outside(), inside()].concat();
    let mut scene = Scene::new(fleet(3, vantages));
    scene.pass(20, 0, &all_well);
    let verdict = scene.pass(40, 0, &|from, _, _| (from == "outside").then_some(Fault::Silence));
    assert_eq!(verdict.broken, ["outside".into()]);
    assert_eq!(reached(&verdict), [Some(true); 3]);
}

#[test]
fn as_many_vantages_as_are_asked_for_have_to_agree() {
    let of = |name: &str| vantage(name, VantageKind::Outside, None);
    let vantages = vec![of("a"), of("b"), of("c")];
    let mut scene = Scene::new(Fleet { min_vantages: 2, ..fleet(2, vantages) });
    scene.pass(20, 0, &all_well);
    let one = |from: &str, relay: &str, over| {
        (from == "a" && relay == "relay-1" && over == Transport::Udp).then_some(Fault::Silence)
    };
    assert_eq!(admitted(&scene.pass(40, 0, &one)), [true; 2]);
    let two = |from: &str, relay: &str, over| {
        (from != "c" && relay == "relay-1" && over == Transport::Udp).then_some(Fault::Silence)
    };
    assert_eq!(admitted(&scene.pass(40, 0, &two)), [false, true]);
}

#[test]
fn silence_changes_nothing_but_what_is_known() {
    let mut scene = Scene::new(fleet(2, outside()));
    scene.pass(20, 0, &all_well);
    scene.now += Duration::from_secs(300);
    let verdict = scene.survey.judge(scene.now);
    assert_eq!(reached(&verdict), [None; 2]);
    assert_eq!(admitted(&verdict), [true; 2]);
}

#[test]
fn a_new_relay_that_nobody_speaks_of_is_let_in_late_and_only_where_failing_open_is_allowed() {
    for fail_open in [true, false] {
        let fleet = Fleet { fail_open, ..fleet(1, outside()) };
        let now = Instant::now();
        let mut survey = Survey::new(fleet, now);
        assert_eq!(admitted(&survey.judge(now + Duration::from_secs(59))), [false]);
        assert_eq!(admitted(&survey.judge(now + Duration::from_secs(60))), [fail_open]);
    }
}

#[test]
fn a_full_relay_is_reached_and_said_to_be_full() {
    let mut scene = Scene::new(fleet(1, outside()));
    scene.pass(20, 0, &all_well);
    let verdict = scene.pass(120, 0, &|_, _, _| Some(Fault::Full));
    let relay = &verdict.relays["relay-1"];
    assert_eq!((relay.reached, relay.full), (Some(true), true));
    assert!(!scene.pass(20, 0, &all_well).relays["relay-1"].full);
}

#[test]
fn what_nobody_asked_for_and_what_no_probe_finds_is_refused() {
    let mut scene = Scene::new(fleet(1, outside()));
    let vantage: Arc<str> = "outside".into();
    let order = scene.survey.due(&vantage, scene.now).remove(0);
    let good = observe(&order, 0, &all_well);
    let Order { subject, round, .. } = order;
    let mut record = |from: &str, round, observation: &Observation| {
        scene.survey.record(&from.into(), &subject, round, observation, scene.now)
    };
    assert_eq!(record("outside", round + 1, &good), Err(Refused::NotAwaited));
    assert_eq!(record("stranger", round, &good), Err(Refused::NotAwaited));
    let never_answered = Observation { round_trip_milliseconds: None, ..good.clone() };
    assert_eq!(record("outside", round, &never_answered), Err(Refused::Implausible));
    let closed = Observation { ports: vec![PortSeen { port: 1, open: false }], ..good.clone() };
    assert_eq!(record("outside", round, &closed), Err(Refused::Implausible));
    let flood = Observation { ports: vec![PortSeen { port: 1, open: true }; 99], ..good.clone() };
    assert_eq!(record("outside", round, &flood), Err(Refused::Implausible));
    assert_eq!(record("outside", round, &good), Ok(()));
    assert_eq!(record("outside", round, &good), Err(Refused::NotAwaited), "each counts once");
}

#[test]
fn the_words_stay_while_the_reason_does() {
    let mut scene = Scene::new(fleet(2, outside()));
    scene.pass(20, 0, &all_well);
    let first = scene.pass(30, 63_268, &all_well);
    let mut changes = 0;
    for _ in 0..30 {
        let now = scene.pass(2, 63_268, &all_well);
        changes += u32::from(now.relays["relay-1"].finding != first.relays["relay-1"].finding);
        assert_eq!(now.reason("relay-1"), Some(Reason::RelayRangePartiallyBlocked));
    }
    assert!(changes <= 30, "{changes}");
}
