//! `turn-relay` as a process, with a configuration that no resource gives it.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use turn_auth::{Secret, TimeLimitedCredential, UnixSeconds};

use crate::{certificate::Certificate, ports::free_port};

/// The shared secret of all relays.
pub(crate) const SECRET: &str = "north-by-northwest";

/// A user of all relays, with a password of its own.
pub(crate) const USER: (&str, &str) = ("bob", "thornhill");

/// How long the start may take, on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(20);

/// A relay that runs. It ends with the value.
pub(crate) struct Relay {
    child: Child,
    folder: TempDir,
    admin: u16,
    /// The port of its listeners, UDP and TCP.
    pub(crate) port: u16,
    /// The port of its listeners, DTLS and TLS.
    pub(crate) secure_port: u16,
}

impl Relay {
    /// Starts a relay on loopback, with more fields of its configuration, and waits until it is
    /// ready.
    pub(crate) fn start(more: &Value) -> anyhow::Result<Self> {
        let ports @ [port, secure_port, admin] = [free_port()?, free_port()?, free_port()?];
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("relay.yaml");
        let Certificate { certificate, key, .. } = Certificate::new()?;
        for (name, text) in
            [("secret", SECRET), ("password", USER.1), ("tls.crt", &certificate), ("tls.key", &key)]
        {
            fs::write(folder.path().join(name), text)?;
        }
        fs::write(&config, configuration(&folder, ports, more).to_string())?;
        let child = Command::new(cluster::program("turn-relay")?)
            .arg("--config")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()?;
        let relay = Self { child, folder, admin, port, secure_port };
        relay.wait_until_ready()?;
        Ok(relay)
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        while !self.is_ready() {
            ensure!(Instant::now() < deadline, "not ready in time; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.page("/readyz").is_ok_and(|page| page.starts_with("HTTP/1.1 200"))
    }

    /// A page of its HTTP port, with its head.
    pub(crate) fn page(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).context("no HTTP port")?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    }

    /// How much memory it holds.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Time-limited credentials that last: username and password.
pub(crate) fn credentials() -> anyhow::Result<(String, String)> {
    let secret = Secret::from_file(SECRET.as_bytes()).context("no secret")?;
    let minted = TimeLimitedCredential::mint(&secret, "alice", UnixSeconds(4_000_000_000));
    Ok((minted.username, minted.password))
}

fn configuration(folder: &TempDir, ports: [u16; 3], more: &Value) -> Value {
    let [port, secure_port, admin] = ports;
    let file = |name: &str| folder.path().join(name);
    let listener = |(protocol, port): (&str, u16)| json!({"name": protocol, "protocol": protocol, "port": port});
    let listeners = [("UDP", port), ("TCP", port), ("DTLS", secure_port), ("TLS", secure_port)];
    let user = json!({"name": USER.0, "passwordFile": file("password")});
    let mut config = json!({
        "realm": "interop.example.org",
        "addresses": ["127.0.0.1"],
        "listeners": listeners.map(listener),
        "auth": {"sharedSecrets": [file("secret")], "users": [user]},
        "tls": {"certificateFile": file("tls.crt"), "privateKeyFile": file("tls.key")},
        "peers": {"allow": ["127.0.0.0/8", "::1/128"]},
        "limits": {"allocationsPerUser": 100},
        "admin": {"address": format!("127.0.0.1:{admin}")},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        config[field] = value.clone();
    }
    config
}
