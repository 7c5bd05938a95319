//! `turnctl doctor` as a process, against a relay that `turnctl up` runs.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, UdpSocket},
    process::{Child, Command, Output, Stdio},
};

use anyhow::Context as _;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

const TURNCTL: &str = env!("CARGO_BIN_EXE_turnctl");

/// A relay on loopback. It ends with the value.
struct Relay {
    process: Child,
    _manifest: NamedTempFile,
    /// What it gives clients.
    ice_servers: Value,
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _gone_already = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// A port that nobody has, for UDP and for TCP.
fn free_port() -> anyhow::Result<u16> {
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let udp = UdpSocket::bind(tcp.local_addr()?)?;
    Ok(udp.local_addr()?.port())
}

impl Relay {
    /// Starts one, and waits until it is ready.
    fn start() -> anyhow::Result<Self> {
        let (port, admin) = (free_port()?, free_port()?);
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "doctor"},
            "stringData": {"shared-secret": "north-by-northwest"},
        });
        let server = json!({
            "apiVersion": "turnpike.dev/v1alpha1",
            "kind": "TurnServer",
            "metadata": {"name": "doctor"},
            "spec": {
                "realm": "doctor.example.org",
                "auth": {"secretRef": {"name": "doctor"}},
                "peers": {"allow": ["127.0.0.0/8"]},
                "limits": {"allocationsPerUser": 100},
                "admin": {"port": admin},
                "listeners": [
                    {"name": "udp", "protocol": "UDP", "port": port},
                    {"name": "tcp", "protocol": "TCP", "port": port},
                ],
            },
        });
        let mut manifest = NamedTempFile::with_suffix(".yaml")?;
        write!(manifest, "{secret}\n---\n{server}\n")?;
        let mut process = Command::new(TURNCTL)
            .args(["up", "--output", "json", "--file"])
            .arg(manifest.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().context("no output")?;
        let mut relay = Self { process, _manifest: manifest, ice_servers: Value::Null };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let printed: Value = serde_json::from_str(&line).with_context(|| format!("{line:?}"))?;
        relay.ice_servers = printed["iceServers"].clone();
        Ok(relay)
    }
}

fn doctor(ice_servers: &Value, output: &str) -> anyhow::Result<Output> {
    let mut file = NamedTempFile::new()?;
    write!(file, "{ice_servers}")?;
    let mut command = Command::new(TURNCTL);
    command.args(["doctor", "--timeout", "20s", "--output", output, "--ice-servers"]);
    Ok(command.arg(file.path()).stdin(Stdio::null()).output()?)
}

#[test]
fn a_wrong_password_is_named_and_no_password_is_shown() -> anyhow::Result<()> {
    let relay = Relay::start()?;
    let good = doctor(&relay.ice_servers, "json")?;
    let said: Value = serde_json::from_slice(&good.stdout)?;
    assert_eq!((&said["well"], good.status.code()), (&json!(true), Some(0)), "{said:#}");

    let mut wrong = relay.ice_servers.clone();
    wrong[0]["credential"] = json!("hidden");
    let urls = wrong[0]["urls"].as_array_mut().context("no urls")?;
    urls.push(json!("turn:alice:hidden@127.0.0.1:3478"));
    let count = urls.len();
    let told = doctor(&wrong, "json")?;
    let said: Value = serde_json::from_slice(&told.stdout)?;
    assert_eq!(told.status.code(), Some(1), "{said:#}");
    let checks = said["checks"].as_array().context("no checks")?;
    let (invalid, rejected) = checks.split_last().context("no checks")?;
    assert_eq!(invalid["reason"], "InvalidUrl", "{said:#}");
    assert_eq!(rejected.len() + 1, count, "{said:#}");
    for check in rejected {
        assert_eq!(check["reason"], "CredentialsRejected", "{check:#}");
        let seen = check["observation"].as_str().unwrap_or_default();
        assert!(seen.contains("401"), "{check:#}");
    }

    let shown = doctor(&wrong, "text")?;
    for bytes in [&told.stdout, &told.stderr, &shown.stdout, &shown.stderr] {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("hidden"), "{text}");
    }
    Ok(())
}
