//! Formatting, lints and documentation.

use anyhow::Result;

use crate::console;

/// The checks by name, and cargo's arguments for each.
const CHECKS: [(&str, &[&str]); 3] = [
    ("format", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]),
    ("documentation", &["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]),
];

/// Runs every check, and returns the names of those that failed.
///
/// # Errors
/// When cargo cannot be started.
pub(crate) fn run() -> Result<Vec<String>> {
    let mut failed = Vec::new();
    for (name, arguments) in CHECKS {
        let status = console::stage(&format!("Check {name}"), || {
            console::cargo(arguments).env("RUSTDOCFLAGS", "--deny warnings").status()
        })?;
        if !status.success() {
            failed.push(format!("check {name}"));
        }
    }
    Ok(failed)
}
