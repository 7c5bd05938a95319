//! `cargo xtask test`: everything from an empty machine to a count of the tests.

use std::process::ExitCode;

use anyhow::Result;
use cluster::{
    Binaries,
    requirement::{Requirement, first_unmet},
};

use crate::{check, console, debian, image, leavings::Leavings, tally::Tally};

/// The suites that need images, clusters or programs of others; they run after everything else. Each
/// with its package.
const END_TO_END: [(&str, &str); 2] = [("interop", "interop"), ("operator-it", "end_to_end")];

/// Installs what is missing, checks, builds, and runs every test whose name contains
/// `filter`, or all. A failure of one stage does not hide what the others would find.
///
/// # Errors
/// When a tool cannot be started at all.
pub(crate) fn run(filter: Option<&str>) -> Result<ExitCode> {
    let mut tally = Tally::default();
    let leavings = Leavings::look();
    prepare(&mut tally);
    if filter.is_none() {
        check::run()?.into_iter().for_each(|check| tally.fail(check));
    }
    tally.add(console::stage("Tests", || plain_tests(filter))?);
    // Without a cluster nothing would run them.
    if first_unmet(&[Requirement::Cluster]).is_none()
        && let Err(error) = console::stage("Images", image::build)
    {
        tally.fail(format!("images: {error:#}"));
    }
    tally.add(console::stage("End-to-end tests", || end_to_end_tests(filter))?);
    // Elsewhere somebody else may be at work beside the tests.
    let alone = std::env::var("CI").is_ok_and(|value| value == "true");
    for left in leavings.new_since() {
        console::line(&format!("Left behind, or begun by somebody else meanwhile: {left}"));
        if alone {
            tally.fail(format!("left behind: {left}"));
        }
    }
    Ok(if tally.report(alone) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Debian's packages and Kubernetes. What cannot be had is a failure only where it should be
/// there; otherwise the tests that need it are skipped, and named.
fn prepare(tally: &mut Tally) {
    if let Err(error) = console::stage("Packages", debian::install) {
        tally.fail(format!("packages: {error:#}"));
    }
    match first_unmet(&[Requirement::Cluster]) {
        Some(reason) => console::line(&format!("No cluster: {reason}")),
        None => {
            if let Err(error) = console::stage("Kubernetes", Binaries::obtain) {
                tally.fail(format!("kubernetes: {error:#}"));
            }
        }
    }
}

fn plain_tests(filter: Option<&str>) -> Result<Tally> {
    let mut cargo = console::cargo(&["test", "--workspace", "--no-fail-fast"]);
    for (package, _) in END_TO_END {
        cargo.args(["--exclude", package]);
    }
    Tally::of("plain tests", cargo.arg("--").args(filter))
}

fn end_to_end_tests(filter: Option<&str>) -> Result<Tally> {
    // Of the whole workspace: a package alone has fewer features, and all would be built anew.
    let mut cargo = console::cargo(&["test", "--workspace", "--no-fail-fast"]);
    for (_, suite) in END_TO_END {
        cargo.args(["--test", suite]);
    }
    Tally::of("end-to-end tests", cargo.arg("--").args(filter))
}
