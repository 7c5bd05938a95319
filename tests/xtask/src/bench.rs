//! The benchmark, with its own arguments.

use std::process::ExitCode;

use anyhow::Result;

use crate::console;

/// Runs the benchmark in the release profile and passes its verdict on.
///
/// # Errors
/// When cargo cannot be started.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let mut cargo = console::cargo(&["run", "--release", "--package", "bench", "--"]);
    let status = cargo.args(arguments).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
