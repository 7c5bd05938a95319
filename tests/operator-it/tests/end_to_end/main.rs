//! End-to-end tests on a real cluster with two nodes, which all of them share.
//!
//! Each test brings about what it needs (see [`fleet`]), so any of them can run alone. They run in
//! this order, one after the other: what one does to the operator another would see.

mod caller;
mod chart;
mod children;
mod conflicts;
mod cut;
mod doctor;
mod draining;
mod fleet;
mod harness;
mod incident;
mod operator_death;
mod refusals;
mod relaying;
mod replacement;
mod shared;
mod steady_state;
mod turnutils;

use std::process::ExitCode;

use anyhow::Result;
use cluster::{
    Cluster,
    requirement::{Requirement, trial},
};
use libtest_mimic::{Arguments, Trial};

/// What a test needs that watches the fleet through the API server only.
const API: &[Requirement] = &[Requirement::Cluster, Requirement::Images];

/// What a test needs that relays between hosts beside the nodes, or reaches into a node.
const NODES: &[Requirement] = &[
    Requirement::OwnCluster,
    Requirement::Images,
    Requirement::Program("turnutils_uclient", "coturn"),
];

/// What a test needs in which somebody calls.
const CALLERS: &[Requirement] = &[
    Requirement::OwnCluster,
    Requirement::Images,
    Requirement::Program("chromium", "chromium"),
    Requirement::Program("chromedriver", "chromium-driver"),
];

/// A test on the shared cluster.
fn on_cluster(
    name: &str,
    requirements: &'static [Requirement],
    test: fn(&Cluster) -> Result<()>,
) -> Trial {
    trial(name, requirements, move || shared::with_cluster(test))
}

fn trials() -> Vec<Trial> {
    let mut trials = harness::trials();
    trials.extend(chart::install_trials());
    trials.extend(relaying::trials());
    trials.extend(doctor::trials());
    trials.extend(incident::trials());
    trials.extend(replacement::trials());
    trials.extend(children::trials());
    trials.extend(refusals::trials());
    trials.extend(conflicts::trials());
    trials.extend(steady_state::trials());
    trials.extend(draining::trials());
    trials.extend(operator_death::trials());
    trials.extend(chart::upgrade_trials());
    trials.extend(children::removal_trials());
    trials
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, trials());
    let stopped = shared::stop(conclusion.has_failed());
    assert!(stopped.is_ok(), "the cluster did not stop: {stopped:?}");
    conclusion.exit_code()
}
