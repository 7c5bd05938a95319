//! `cargo xtask`: everything that is done with the workspace beside building it.

mod bench;
mod check;
mod console;
mod crds;
mod debian;
mod fuzz;
mod image;
mod leavings;
mod local_cluster;
mod suites;
mod tally;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Tests, checks, images and clusters of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what the tests need, then run all of them; the last line counts them
    Test {
        /// Run only the tests whose name contains this, and no checks
        filter: Option<String>,
    },
    /// Check formatting, lints and documentation, with warnings as errors
    Check,
    /// Write the custom resource definitions from their types
    Crds,
    /// Build the container images as OCI archives
    Image,
    /// Start or end a real cluster on this machine
    #[command(subcommand)]
    Cluster(local_cluster::Task),
    /// Look for bytes that break something, with libFuzzer
    Fuzz(fuzz::Arguments),
    /// Run the benchmark; its own arguments follow
    #[command(disable_help_flag = true)]
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    run(Arguments::parse().task).unwrap_or_else(|error| {
        // Without the backtrace: it would show this program, and not what is wrong.
        console::error(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Test { filter } => suites::run(filter.as_deref()),
        Task::Check => check::run().map(exit_code),
        Task::Crds => crds::write().map(|()| ExitCode::SUCCESS),
        Task::Image => image::build().map(|()| ExitCode::SUCCESS),
        Task::Cluster(task) => task.run().map(|()| ExitCode::SUCCESS),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Bench { arguments } => bench::run(&arguments),
    }
}

/// Success if nothing failed.
fn exit_code(failed: Vec<String>) -> ExitCode {
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
