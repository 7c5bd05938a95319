//! Counting tests by what test binaries print, those of libtest and of libtest-mimic.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::console;

/// How many tests passed, and which did not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: usize,
    failed: Vec<String>,
    /// The tests that were not run, each with its reason if it gave one.
    skipped: Vec<String>,
    /// What the summaries say; the names must not be fewer.
    counted_failed: usize,
    counted_skipped: usize,
}

impl Tally {
    /// Runs `cargo test` with its output on ours, and counts its tests. A run that fails without a
    /// failed test, as when something does not compile, counts as a failure named `what`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn of(what: &str, command: &mut Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("start cargo test")?;
        let stdout = child.stdout.take().context("its standard output")?;
        let mut tally = Self::default();
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            console::line(&line);
            tally.read(&line);
        }
        let status = child.wait()?;
        if !status.success() && tally.failed.is_empty() {
            tally.fail(format!("{what}: {status}"));
        }
        Ok(tally)
    }

    /// Counts a failure.
    pub(crate) fn fail(&mut self, what: String) {
        self.failed.push(what);
    }

    /// Adds what another run has counted.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }

    /// Takes one line of a test binary's output into account.
    ///
    /// Passed tests are counted by the summary line: a test that prints while it runs breaks its
    /// own line. One of those that failed or was skipped is counted all the same, without a name.
    fn read(&mut self, line: &str) {
        if let Some(summary) = line.strip_prefix("test result: ") {
            self.read_summary(summary);
        } else if let Some((name, outcome)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        {
            let name = name.trim_end();
            if outcome == "FAILED" {
                self.failed.push(name.to_owned());
            } else if let Some(reason) = outcome.strip_prefix("ignored") {
                // libtest writes `ignored, reason`, libtest-mimic `ignored (reason)`.
                let reason = reason.trim_start_matches([',', ' ', '(']).trim_end_matches(')');
                let colon = if reason.is_empty() { "" } else { ": " };
                self.skipped.push(format!("{name}{colon}{reason}"));
            }
        }
    }

    fn read_summary(&mut self, summary: &str) {
        let count = |noun: &str| -> usize {
            summary
                .split([';', '.'])
                .filter_map(|part| part.trim().strip_suffix(noun)?.trim().parse().ok())
                .next()
                .unwrap_or_default()
        };
        self.passed += count("passed");
        self.counted_failed += count("failed");
        self.counted_skipped += count("ignored");
        let unnamed = "a test whose own output hides its name".to_owned();
        self.failed.resize(self.failed.len().max(self.counted_failed), unnamed.clone());
        self.skipped.resize(self.skipped.len().max(self.counted_skipped), unnamed);
    }

    /// Prints the skipped and the failed tests, and the counts as the last line. Returns whether
    /// the run is a success; where `skips_fail`, a skipped test is none.
    pub(crate) fn report(&self, skips_fail: bool) -> bool {
        for (title, names) in [("Skipped", &self.skipped), ("Failed", &self.failed)] {
            if !names.is_empty() {
                console::line(&format!("\n{title}:"));
                names.iter().for_each(|name| console::line(&format!("  {name}")));
            }
        }
        let skips_are_failures = skips_fail && !self.skipped.is_empty();
        if skips_are_failures {
            console::line("\nCI is set: a skipped test is a failure");
        }
        let (failed, skipped) = (self.failed.len(), self.skipped.len());
        console::line(&format!("\n{} passed, {failed} failed, {skipped} skipped", self.passed));
        failed == 0 && !skips_are_failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_and_libtest_mimic_are_counted() {
        let mut tally = Tally::default();
        let output = "\
running 3 tests
test one ... ok
test two::three ... ignored, needs root
test padded          ... ignored
test mimic           ... ignored (reaches into a node, and KUBECONFIG names a cluster)
test four ... FAILED
test result: FAILED. 5 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.1s
test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        output.lines().for_each(|line| tally.read(line));
        let expected = Tally {
            passed: 12,
            failed: vec!["four".to_owned()],
            skipped: [
                "two::three: needs root",
                "padded",
                "mimic: reaches into a node, and KUBECONFIG names a cluster",
            ]
            .map(str::to_owned)
            .into(),
            counted_failed: 1,
            counted_skipped: 3,
        };
        assert_eq!(tally, expected);
    }
}
