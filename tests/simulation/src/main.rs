//! Runs the simulation: `cargo run -p simulation -- --seed 7`, or `--count 10000`.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use clap::Parser;

/// Runs the server against simulated clients, peers and strangers
#[derive(Debug, Parser)]
struct Arguments {
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    count: u64,
}

fn main() -> ExitCode {
    let Arguments { seed, count } = Arguments::parse();
    let mut out = stdout();
    let (said, code) = match simulation::run_all(seed..seed.saturating_add(count)) {
        Ok(summary) => (writeln!(out, "{count} seeds: {summary:?}"), ExitCode::SUCCESS),
        Err(broken) => (writeln!(out, "{broken}"), ExitCode::FAILURE),
    };
    if said.is_err() { ExitCode::FAILURE } else { code }
}
