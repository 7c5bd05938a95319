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
    }
}

#[test]
fn the_model_loses_nothing_in_fair_weather() {
    let mut simulation = Simulation::new(fleet(10, vantages(4)), 7);
    assert_eq!(simulation.weather.loss_percent, Weather::FAIR.loss_percent);
    simulation.run_for(Duration::from_secs(60));
    assert_eq!(simulation.faults.len(), 0);
}
