//! Runs the simulation: `cargo run --release -p simulation -- --seed 7`, or `--count 10000`.

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
    for seed in seed..seed.saturating_add(count) {
        let said = match simulation::run(seed) {
            Ok(summary) => writeln!(out, "seed {seed}: {summary:?}"),
            Err(broken) => {
                let _unread = writeln!(out, "{broken}");
                return ExitCode::FAILURE;
            }
        };
        if said.is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
