//! Five hundred relays.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use turn_probe::{
    Transport,
    plan::{Listener, PROBES_PER_SECOND, Relay, Vantage, VantageKind},
    survey::Survey,
};

use crate::simulation::{Change, Incident, PORTS, Simulation, fleet, outside, vantages};

const RELAYS: u16 = 500;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The most that begin within a second, whenever that begins.
fn most_in_a_second(begun: &[Duration]) -> usize {
    let within = |first: &Duration| {
        begun.iter().filter(|at| *at >= first && **at < *first + seconds(1)).count()
    };
    begun.iter().map(within).max().unwrap_or_default()
}

/// At which of the ascending times so many of a hundred are over.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() * percent).div_ceil(100).saturating_sub(1)]
}

#[test]
fn nothing_is_written_and_no_more_is_probed_than_planned_while_all_is_well() {
    let mut simulation = Simulation::new(fleet(RELAYS, vantages(4)), 1);
    simulation.run_for(seconds(40));
    assert!(simulation.verdict.relays.values().all(|relay| relay.admitted));
    let (changes, news) = (simulation.changes.len(), simulation.news);
    simulation.begun.clear();
    simulation.run_for(seconds(60));
    for (vantage, begun) in &simulation.begun {
        let interval = simulation.survey.plan().interval(vantage);
        let (count, most) = (begun.len(), most_in_a_second(begun));
        println!("{vantage}: {count} probes in 60 s, {most} in one second, interval {interval:?}");
        let planned = 60.0 * f64::from(RELAYS) * 2.0 / interval.as_secs_f64();
        assert!((count as f64 - planned).abs() < planned / 10.0, "{count} of {planned}");
        // What was not begun in the second before may be begun with those of this.
        assert!(most <= 2 * PROBES_PER_SECOND as usize, "{most}");
        assert!(count <= 61 * PROBES_PER_SECOND as usize, "{count}");
    }
    let (changes, news) = (simulation.changes.len() - changes, simulation.news - news);
    println!("changes of conditions in 60 s: {changes}, of anything: {news}");
    let began = Instant::now();
    simulation.survey.judge(simulation.now);
    println!("to judge all of it once takes {:?}", began.elapsed());
    assert_eq!((changes, news, simulation.refused), (0, 0, 0));
}

/// A fault of one relay, and when it comes; each is over after a minute.
struct Fault {
    at: Duration,
    relay: Arc<str>,
    incident: Incident,
}

const LASTS: Duration = seconds(60);

fn incident(rng: &mut StdRng) -> Incident {
    match rng.random_range(0..5) {
        0 => Incident::Listener(Transport::Udp),
        1 => Incident::Listener(Transport::Tcp),
        2 => Incident::RangeBelow(65_536),
        3 => Incident::RangeBelow(u32::from(PORTS.from) + 2_268),
        _ => Incident::Everything,
    }
}

fn faults(seed: u64, count: usize, within: Duration) -> Vec<Fault> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut faults: Vec<Fault> = Vec::new();
    while faults.len() < count {
        let relay: Arc<str> = format!("relay-{}", rng.random_range(1..=RELAYS)).into();
        if faults.iter().all(|fault| fault.relay != relay) {
            let at = seconds(40) + rng.random_range(Duration::ZERO..within);
            faults.push(Fault { at, relay, incident: incident(&mut rng) });
        }
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// How long it took from a time on until a relay's condition was this.
fn after(changes: &[Change], relay: &str, reached: bool, since: Duration) -> Option<Duration> {
    let is_it = |change: &&Change| {
        &*change.relay == relay && change.at >= since && change.now == (Some(reached), reached)
    };
    changes.iter().find(is_it).map(|change| change.at - since)
}

fn detection(agents: usize, count: usize, seed: u64) {
    let faults = faults(seed, count, seconds(120));
    let mut simulation = Simulation::new(fleet(RELAYS, vantages(agents)), seed);
    let begin = faults.iter().enumerate().map(|(index, fault)| (fault.at, true, index));
    let end = faults.iter().enumerate().map(|(index, fault)| (fault.at + LASTS, false, index));
    let mut turns: Vec<_> = begin.chain(end).collect();
    turns.sort();
    for (at, begins, index) in turns {
        simulation.run_until(at);
        let Fault { relay, incident, .. } = &faults[index];
        if begins {
            simulation.incidents.insert(Arc::clone(relay), *incident);
        } else {
            simulation.incidents.remove(relay);
        }
    }
    simulation.run_for(seconds(70));
    let mut found = Vec::new();
    let mut over = Vec::new();
    for Fault { at, relay, incident } in &faults {
        let was_found = after(&simulation.changes, relay, false, *at);
        let is_over = after(&simulation.changes, relay, true, *at + LASTS);
        let what = || format!("{relay}: {incident:?} at {at:?}: {was_found:?}, {is_over:?}");
        found.push(was_found.unwrap_or_else(|| panic!("not found: {}", what())));
        over.push(is_over.unwrap_or_else(|| panic!("not over: {}", what())));
    }
    found.sort();
    over.sort();
    let figures = |times: &[Duration]| [50, 99, 100].map(|percent| percentile(times, percent));
    println!("{agents} agents and the operator, {count} faults in 120 s of {RELAYS} relays");
    println!("found within (p50, p99, worst): {:?}", figures(&found));
    println!("over within (p50, p99, worst): {:?}", figures(&over));
    let strays = simulation.changes.iter().filter(|change| change.at > seconds(40));
    let strays = strays.filter(|change| faults.iter().all(|fault| fault.relay != change.relay));
    assert_eq!(strays.count(), 0, "relays without a fault");
    assert!(percentile(&found, 99) < seconds(30), "{:?}", figures(&found));
    assert!(percentile(&over, 100) < seconds(60), "{:?}", figures(&over));
}

#[test]
fn faults_are_found_within_thirty_seconds_and_over_within_sixty() {
    detection(4, 100, 2);
}

#[test]
fn one_vantage_alone_finds_them_as_well() {
    detection(0, 100, 3);
}

#[test]
fn no_relay_has_to_refuse_probes_for_want_of_room() {
    let mut fleet = fleet(3, vantages(4));
    let of = |name: &str, transport| Listener { name: name.into(), transport, port: 3478 };
    fleet.listeners = vec![
        of("udp", Transport::Udp),
        of("tcp", Transport::Tcp),
        of("tls", Transport::Tls),
        of("dtls", Transport::Dtls),
    ];
    for (index, relay) in fleet.relays.iter_mut().enumerate() {
        let last = u16::try_from(index).expect("few");
        relay.addresses.push(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
    }
    let mut simulation = Simulation::new(fleet, 5);
    simulation.run_for(seconds(20));
    assert!(simulation.verdict.relays.values().all(|relay| relay.admitted), "all of it soon");
    simulation.run_for(seconds(40));
    // Its relay ports are closed: each probe now lasts as long as it may.
    simulation.incidents.insert("relay-2".into(), Incident::RangeBelow(65_536));
    simulation.run_for(seconds(60));
    assert!(!simulation.verdict.relays["relay-2"].admitted);
    simulation.incidents.clear();
    simulation.run_for(seconds(60));
    assert!(simulation.verdict.relays["relay-2"].admitted);
    assert_eq!(simulation.faults.get(&turn_probe::Fault::Busy), None);
}

/// Every relay is a vantage too.
#[test]
fn five_hundred_relays_that_probe_each_other_are_planned_without_delay() {
    let mut fleet = fleet(RELAYS, vantages(4));
    let of = |relay: &Relay| Vantage {
        name: Arc::clone(&relay.name),
        kind: VantageKind::Relay,
        node: Some(relay.node.clone()),
    };
    let relays: Vec<_> = fleet.relays.iter().map(of).collect();
    fleet.vantages.extend(relays);
    let began = Instant::now();
    let mut survey = Survey::new(fleet.clone(), began);
    let begun = began.elapsed();
    fleet.relays.pop();
    let again = Instant::now();
    survey.set(fleet, again);
    let (changed, judging) = (again.elapsed(), Instant::now());
    survey.judge(judging);
    let judged = judging.elapsed();
    let counts = survey.plan().vantages().map(|(_, count)| count);
    println!("planned in {begun:?}, once more in {changed:?}, judged in {judged:?}");
    println!("subjects of all vantages: {}", counts.sum::<usize>());
    // Many times what it takes.
    assert!(begun < seconds(5) && changed < seconds(5) && judged < seconds(2));
}

#[test]
fn small_fleets_find_faults_as_soon() {
    let mut found = Vec::new();
    for relays in 1..=3 {
        for seed in 0..100 {
            let mut simulation = Simulation::new(fleet(relays, vec![outside("berlin")]), seed);
            simulation.fleet.fail_open = false;
            simulation.survey.set(simulation.fleet.clone(), simulation.now);
            let at = seconds(40) + simulation.rng.random_range(Duration::ZERO..seconds(20));
            simulation.run_until(at);
            let incident = incident(&mut simulation.rng);
            simulation.incidents.insert("relay-1".into(), incident);
            simulation.run_for(seconds(60));
            let was_found = after(&simulation.changes, "relay-1", false, at);
            found.push(was_found.unwrap_or_else(|| panic!("{relays} relays: {incident:?}")));
        }
    }
    found.sort();
    let figures = [50, 99, 100].map(|percent| percentile(&found, percent));
    println!("fleets of one to three, one vantage: found within (p50, p99, worst): {figures:?}");
    assert!(figures[1] < seconds(30), "{figures:?}");
}
