//! The servers that are measured, each as its maker would have it run for speed on one core.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    network::{Network, PEER_NETWORK, SERVER},
    requirement::search_path,
};

/// The port that both listen on.
pub(crate) const PORT: u16 = 3478;

/// The realm of both.
const REALM: &str = "bench";

/// The ports that both relay from: room for any number of flows that the command line takes.
const RELAY_PORTS: (u16, u16) = (40_000, 65_535);

/// The priority of both: above other programs of the machine.
const NICE: &str = "-20";

/// One of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours.
    Turnpike,
    /// Debian's.
    Coturn,
}

impl Kind {
    /// As it stands in the output.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Turnpike => "turnpike",
            Self::Coturn => "coturn",
        }
    }
}

/// What both servers are told.
pub(crate) struct Setup<'a> {
    pub(crate) network: &'a Network,
    /// Of this run: logs, configurations, the secret.
    pub(crate) folder: &'a Path,
    /// Turnpike's program.
    pub(crate) relay: &'a Path,
    /// The secret of time-limited credentials.
    pub(crate) secret: &'a str,
    /// The server's core.
    pub(crate) core: usize,
    /// How many allocations there will be.
    pub(crate) flows: u16,
}

/// A server that runs. Dropped, it has ended.
pub(crate) struct Server {
    kind: Kind,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a server, pinned to its core, in its namespace.
    pub(crate) fn start(kind: Kind, setup: &Setup<'_>) -> Result<Self> {
        let log = setup.folder.join(format!("{}.log", kind.name()));
        let mut command = setup.network.in_server();
        // Each of them becomes the next one: the process is the server itself in the end, and it
        // cannot outlive this one.
        command.args(["setpriv", "--pdeathsig", "KILL", "--", "setsid"]);
        command.args(["nice", "-n", NICE, "taskset", "-c", &setup.core.to_string()]);
        match kind {
            Kind::Turnpike => turnpike(&mut command, setup)?,
            Kind::Coturn => coturn(&mut command, setup),
        }
        let file = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {}", kind.name()))?;
        Ok(Self { kind, child, log })
    }

    /// Lets it go before other programs of the machine. Where Linux groups processes by session, a
    /// process's own priority counts only within its session, so the session has one too.
    pub(crate) fn raise_priority(&self) -> Result<()> {
        match fs::write(format!("/proc/{}/autogroup", self.child.id()), NICE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.context("raise the priority of the server's session"),
        }
    }

    /// That it still runs.
    ///
    /// # Errors
    /// With the end of its log when it does not.
    pub(crate) fn check(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<_> = log.lines().rev().take(20).collect();
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        ensure!(ended.is_none(), "{} has ended: {ended:?}\n{tail}", self.kind.name());
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One worker, and limits that the load does not meet.
fn turnpike(command: &mut Command, setup: &Setup<'_>) -> Result<()> {
    let secret = setup.folder.join("secret");
    fs::write(&secret, setup.secret)?;
    let (from, to) = RELAY_PORTS;
    let allocations = u32::from(setup.flows) + 16;
    let config = serde_json::json!({
        "realm": REALM,
        "addresses": [SERVER],
        "listeners": [{ "name": "udp", "protocol": "UDP", "port": PORT }],
        "relayPorts": { "from": from, "to": to },
        "auth": { "sharedSecrets": [secret] },
        "peers": { "allow": [PEER_NETWORK] },
        "limits": {
            "allocationsPerUser": allocations,
            "allocations": allocations,
            "unauthenticatedRepliesPerSecondPerPrefix": 1_000_000,
        },
        "admin": { "address": "127.0.0.1:9478" },
        "workers": 1,
    });
    let file = setup.folder.join("relay.yaml");
    fs::write(&file, config.to_string())?;
    command.arg(setup.relay).arg("--config").arg(file).env("RUST_LOG", "warn");
    Ok(())
}

/// One relay thread, no log, no quota, the same credentials, and nothing that it need not do.
fn coturn(command: &mut Command, setup: &Setup<'_>) {
    let Setup { folder, secret, .. } = setup;
    let (from, to) = RELAY_PORTS;
    command.args(["turnserver", "-n", "--relay-threads=1", "--use-auth-secret"]);
    command.args([format!("--static-auth-secret={secret}"), format!("--realm={REALM}")]);
    command.args([format!("--listening-ip={SERVER}"), format!("--relay-ip={SERVER}")]);
    command.args([format!("--listening-port={PORT}")]);
    command.args([format!("--min-port={from}"), format!("--max-port={to}")]);
    command.args(["--user-quota=0", "--total-quota=0", "--no-cli", "--no-tls", "--no-dtls"]);
    command.args(["--no-tcp", "--no-tcp-relay", "--no-rfc5780", "--no-software-attribute"]);
    command.args(["--no-stdout-log", "--log-file=/dev/null", "--simple-log"]);
    command.arg(format!("--pidfile={}", folder.join("coturn.pid").display()));
    command.arg(format!("--userdb={}", folder.join("coturn.db").display()));
}

/// Builds Turnpike's relay in the release profile and returns the program.
pub(crate) fn build_relay() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--package", "turn-relay", "--bin", "turn-relay"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    ensure!(output.status.success(), "turn-relay does not build");
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut artifacts = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    artifacts.next_back().context("cargo names no program")
}

/// What coturn says that it is.
pub(crate) fn coturn_version() -> Result<String> {
    let mut command = Command::new("turnserver");
    let output = command.arg("--version").env("PATH", search_path()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    Ok(last.unwrap_or("of unknown version").trim().to_owned())
}
