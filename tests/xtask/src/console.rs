//! What a person sees of a task: a heading with the time for each stage.

use std::{io::Write, process::Command, time::Instant};

use anyhow::{Context, Result, ensure};

/// Prints a line on standard output.
pub(crate) fn line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // A reader that went away must not end a test run half way.
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Prints a line on standard error.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Runs a stage under its heading, and says afterwards how long it took.
pub(crate) fn stage<T>(name: &str, run: impl FnOnce() -> T) -> T {
    line(&format!("\n=== {name}"));
    let started = Instant::now();
    let outcome = run();
    line(&format!("=== {name}: {} s", started.elapsed().as_secs()));
    outcome
}

/// Cargo, the one that runs this task, in the root of the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(cluster::images::workspace_folder());
    cargo
}

/// Runs a command with its output on ours.
///
/// # Errors
/// When it cannot be started, or ends with an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("start {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}
