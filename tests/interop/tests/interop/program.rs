//! Our programs, built by the cargo that runs the tests, and ports for them.

use std::{
    collections::BTreeMap,
    env,
    net::{TcpListener, UdpSocket},
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::Value;

/// The programs that tests start.
const PROGRAMS: [&str; 2] = ["turnctl", "turn-relay"];

/// Where one of [`PROGRAMS`] is.
pub(crate) fn path(name: &str) -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<BTreeMap<String, PathBuf>, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    let built = built.as_ref().map_err(|error| anyhow!("{error}"))?;
    built.get(name).cloned().with_context(|| format!("cargo has built no {name}"))
}

fn build() -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        // Of the whole workspace, with whose features everything is built already.
        .args(["build", "--quiet", "--workspace", "--message-format", "json"])
        .args(PROGRAMS.iter().flat_map(|program| ["--bin", program]))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(built.status.success(), "{} do not build", PROGRAMS.join(" and "));
    let messages = String::from_utf8(built.stdout)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages.filter_map(|message| executable(&message)).collect())
}

/// The name and the path of a program, if the message is about one.
fn executable(message: &Value) -> Option<(String, PathBuf)> {
    let path = message["executable"].as_str()?.into();
    Some((message["target"]["name"].as_str()?.to_owned(), path))
}

/// A port that is free over UDP and TCP. Nobody else is kept from it; ports are drawn at random by
/// the system, so that two tests hardly draw the same.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        let tcp = TcpListener::bind(("127.0.0.1", 0))?;
        let port = tcp.local_addr()?.port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free over both UDP and TCP")
}
