//! Loss on the way.

use std::time::Duration;

use crate::{
    simulation::{Simulation, fleet, vantages},
    weather::Weather,
};

#[test]
fn five_of_a_hundred_datagrams_lost_change_no_condition() {
    for seed in 0..40 {
        let mut simulation = Simulation::new(fleet(10, vantages(4)), seed);
        simulation.weather.loss_percent = 5;
        simulation.run_for(Duration::from_secs(60));
        assert!(simulation.verdict.relays.values().all(|relay| relay.admitted));
        let before = simulation.changes.len();
        simulation.run_for(Duration::from_secs(600));
        let probes: usize = simulation.begun.values().map(Vec::len).sum();
        println!("{probes} probes, faults: {:?}", simulation.faults);
        assert_eq!(simulation.changes[before..], []);
        assert!(simulation.signs.is_empty(), "{:?}", simulation.signs);
    }
}

#[test]
fn a_way_on_which_a_third_gets_lost_is_told_and_takes_nobody_out() {
    let mut simulation = Simulation::new(fleet(3, vantages(1)), 3);
    simulation.weather.loss_percent = 16;
    simulation.run_for(Duration::from_secs(300));
    let says: Vec<_> = simulation.signs.iter().map(|sign| sign.says.as_str()).collect();
    assert!(says.iter().any(|says| says.contains("agent-1 and every relay")), "{says:?}");
    simulation.weather = Weather::FAIR;
    simulation.run_for(Duration::from_secs(300));
    assert!(simulation.verdict.signs.is_empty(), "{:?}", simulation.verdict.signs);
    assert!(simulation.verdict.relays.values().all(|relay| relay.admitted));
}

#[test]
fn the_model_loses_nothing_in_fair_weather() {
    let mut simulation = Simulation::new(fleet(10, vantages(4)), 7);
    assert_eq!(simulation.weather.loss_percent, Weather::FAIR.loss_percent);
    simulation.run_for(Duration::from_secs(60));
    assert_eq!(simulation.faults.len(), 0);
}
