//! Our programs, built by the cargo that runs the tests.

use std::{
    collections::BTreeMap,
    env,
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

/// The programs that tests start.
const PROGRAMS: [&str; 3] = ["turnctl", "turn-relay", "browser"];

/// Where one of them is.
///
/// # Errors
/// When they do not build, or there is no program of the name.
pub fn program(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<BTreeMap<String, PathBuf>, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    let built = built.as_ref().map_err(|error| anyhow!("{error}"))?;
    built.get(name).cloned().with_context(|| format!("cargo has built no {name}"))
}

fn build() -> Result<BTreeMap<String, PathBuf>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        // Of the whole workspace, with whose features everything is built already.
        .args(["build", "--quiet", "--workspace", "--message-format", "json"])
        .args(PROGRAMS.iter().flat_map(|program| ["--bin", program]))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(built.status.success(), "{} do not build", PROGRAMS.join(", "));
    let messages = String::from_utf8(built.stdout)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages.filter_map(|message| executable(&message)).collect())
}

/// The name and the path of a program, if the message is about one.
fn executable(message: &Value) -> Option<(String, PathBuf)> {
    let path = message["executable"].as_str()?.into();
    Some((message["target"]["name"].as_str()?.to_owned(), path))
}
