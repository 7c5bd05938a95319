//! Fuzzing: libFuzzer over the targets of `tests/fuzz`, on the stable compiler.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::console;

/// What makes the compiler tell libFuzzer where the program has been. The sanitizers would need an
/// unstable compiler; without our own unsafe code they would find little more.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
     -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";

/// What to look at, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A folder of tests/fuzz/corpus
    target: String,
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Add what was learned to the corpus in the repository
    #[arg(long)]
    keep: bool,
}

/// Builds the target and lets libFuzzer run it.
///
/// # Errors
/// When cargo or the target cannot be started.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let target = &arguments.target;
    let kept = cluster::images::workspace_folder().join("tests/fuzz/corpus").join(target);
    let built = build(target)?;
    let Some(program) = built else { return Ok(ExitCode::FAILURE) };
    let work = program.with_file_name(format!("corpus-{target}"));
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let found = program.with_file_name(format!("found-{target}-"));
    let status = fuzzer(&program)
        .args([&work, &kept])
        .arg(format!("-max_total_time={}", arguments.seconds))
        .arg(format!("-artifact_prefix={}", found.display()))
        .args(["-max_len=2048", "-timeout=20", "-print_final_stats=1"])
        .status()?;
    if !status.success() {
        console::line(&format!("The bytes that broke it: {}*", found.display()));
        return Ok(ExitCode::FAILURE);
    }
    if arguments.keep {
        // The fewest and shortest that reach every place which all of them reach.
        let status = fuzzer(&program)
            .args(["-set_cover_merge=1", "-use_counters=0", "-max_len=2048"])
            .args([&kept, &work])
            .status()?;
        anyhow::ensure!(status.success(), "the corpora could not be merged");
    }
    Ok(ExitCode::SUCCESS)
}

/// A command that runs the program. Other programs in Rust ignore SIGPIPE; one whose `main` is
/// libFuzzer's would die of a peer that has gone.
fn fuzzer(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' PIPE; exec \"$0\" \"$@\""]).arg(program);
    command
}

/// The program, if it builds.
fn build(target: &str) -> Result<Option<PathBuf>> {
    let name = format!("fuzz-{target}");
    // With a target named, build scripts and macros are not instrumented.
    let said = Command::new("rustc").args(["--print", "host-tuple"]).output()?;
    let host = String::from_utf8(said.stdout)?;
    let host = host.trim();
    let status = console::cargo(&["build", "--release", "--package", "fuzz", "--bin", &name])
        .args(["--features", "libfuzzer", "--target", host])
        .env("RUSTFLAGS", INSTRUMENTED)
        .status()?;
    let folder = std::env::current_exe()?;
    let folder = folder.parent().and_then(Path::parent).context("no target directory")?;
    Ok(status.success().then(|| folder.join(host).join("release").join(name)))
}
