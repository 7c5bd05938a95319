//! Relays, peers and vantages that tell what is not so.

use std::{sync::Arc, time::Duration};

use turn_probe::{Transport, survey::Suspicion};

use crate::simulation::{Habit, Incident, Simulation, fleet, vantages};

const WARM: Duration = Duration::from_secs(40);

fn admitted(simulation: &Simulation) -> Vec<bool> {
    simulation.verdict.relays.values().map(|relay| relay.admitted).collect()
}

fn reached(simulation: &Simulation) -> Vec<Option<bool>> {
    simulation.verdict.relays.values().map(|relay| relay.reached).collect()
}

fn all(relays: u16, incident: Incident) -> impl Iterator<Item = (Arc<str>, Incident)> {
    (1..=relays).map(move |index| (format!("relay-{index}").into(), incident))
}

#[test]
fn a_relay_that_answers_and_never_relays_is_never_ready() {
    let mut simulation = Simulation::new(fleet(3, vantages(2)), 1);
    simulation.incidents.insert("relay-2".into(), Incident::Lies);
    simulation.run_for(Duration::from_secs(300));
    assert_eq!(admitted(&simulation), [true, false, true]);
    let ever = simulation.changes.iter().any(|change| &*change.relay == "relay-2" && change.now.1);
    assert!(!ever);
}

#[test]
fn nonsense_is_refused_and_changes_nothing() {
    for seed in 0..5 {
        let mut simulation = Simulation::new(fleet(10, vantages(3)), seed);
        simulation.habits.insert("agent-1".into(), Habit::Nonsense);
        simulation.incidents.insert("relay-3".into(), Incident::Everything);
        simulation.run_for(WARM);
        let before = simulation.changes.len();
        simulation.run_for(Duration::from_secs(300));
        assert!(simulation.refused > 0);
        assert_eq!(simulation.changes.len(), before);
        assert_eq!(admitted(&simulation).iter().filter(|admitted| **admitted).count(), 9);
        assert!(!simulation.verdict.relays["relay-3"].admitted);
    }
}

#[test]
fn nonsense_alone_makes_nobody_ready() {
    for seed in 0..5 {
        let mut fleet = fleet(10, vantages(1));
        fleet.vantages.remove(0);
        fleet.fail_open = false;
        let mut simulation = Simulation::new(fleet, seed);
        simulation.habits.insert("agent-1".into(), Habit::Nonsense);
        simulation.run_for(Duration::from_secs(300));
        assert_eq!(admitted(&simulation), [false; 10]);
        assert_eq!(reached(&simulation), [None; 10]);
    }
}

#[test]
fn a_flood_and_repetitions_change_nothing() {
    let mut simulation = Simulation::new(fleet(10, vantages(3)), 1);
    simulation.habits.insert("agent-1".into(), Habit::Floods);
    simulation.run_for(WARM);
    let (before, news) = (simulation.changes.len(), simulation.news);
    simulation.begun.clear();
    simulation.run_for(Duration::from_secs(100));
    assert!(simulation.refused > 1_000, "{}", simulation.refused);
    assert_eq!((simulation.changes.len(), simulation.news), (before, news));
    // It is asked no more often for it.
    let count = |name: &str| simulation.begun[name].len();
    assert!(count("agent-1").abs_diff(count("agent-2")) < 20);
    simulation.incidents.insert("relay-2".into(), Incident::Everything);
    simulation.run_for(Duration::from_secs(40));
    assert!(!simulation.verdict.relays["relay-2"].admitted, "and is not believed of what was");
}

#[test]
fn a_flatterer_keeps_no_relay_in_that_others_do_not_reach() {
    let mut simulation = Simulation::new(fleet(10, vantages(3)), 1);
    simulation.habits.insert("agent-1".into(), Habit::Flatters);
    simulation.run_for(WARM);
    simulation.incidents.insert("relay-2".into(), Incident::RangeBelow(65_536));
    simulation.run_for(WARM);
    assert!(!simulation.verdict.relays["relay-2"].admitted);
}

#[test]
fn one_vantage_that_is_cut_off_is_called_broken_and_the_fleet_stays() {
    let mut simulation = Simulation::new(fleet(10, vantages(4)), 1);
    simulation.run_for(WARM);
    let before = simulation.changes.len();
    simulation.habits.insert("agent-1".into(), Habit::CutOff);
    simulation.run_for(Duration::from_secs(300));
    assert_eq!(simulation.verdict.broken, ["agent-1".into()]);
    assert_eq!(simulation.changes[before..], []);
}

#[test]
fn a_vantage_that_has_no_udp_is_not_believed_of_udp() {
    let mut simulation = Simulation::new(fleet(10, vantages(4)), 1);
    simulation.run_for(WARM);
    let before = simulation.changes.len();
    simulation.habits.insert("agent-1".into(), Habit::NoUdp);
    simulation.run_for(Duration::from_secs(120));
    assert_eq!(simulation.verdict.broken, ["agent-1".into()]);
    assert_eq!(simulation.changes.len(), before);
    // What it sees over TCP counts still.
    simulation.incidents.insert("relay-2".into(), Incident::Listener(Transport::Tcp));
    simulation.run_for(WARM);
    let relay = &simulation.verdict.relays["relay-2"];
    let tcp = relay.subjects.iter().find(|of| of.subject.transport == Transport::Tcp);
    assert!(tcp.is_some_and(|of| of.not_reached_from.contains(&"agent-1".into())));
}

#[test]
fn when_all_is_unreachable_at_once_the_vantages_are_suspected_and_the_relays_stay() {
    for (incident, suspicion) in [
        (Incident::Everything, Suspicion::NothingAnswers),
        (Incident::RangeBelow(65_536), Suspicion::NoneIsWhole),
        (Incident::Lies, Suspicion::NoneIsWhole),
    ] {
        for seed in 0..5 {
            let mut simulation = Simulation::new(fleet(20, vantages(4)), seed);
            simulation.run_for(WARM);
            let before = simulation.changes.len();
            simulation.incidents.extend(all(20, incident));
            simulation.run_for(Duration::from_secs(300));
            assert_eq!(simulation.verdict.suspicion, Some(suspicion), "{incident:?}");
            simulation.incidents.clear();
            simulation.run_for(Duration::from_secs(60));
            assert_eq!(simulation.verdict.suspicion, None);
            assert_eq!(reached(&simulation), [Some(true); 20]);
            // Neither meanwhile nor when they come back one by one.
            let since = simulation.changes[before..].iter();
            let out: Vec<_> = since.filter(|change| !change.now.1).collect();
            assert!(out.is_empty(), "{incident:?}: {out:?}");
        }
    }
}
