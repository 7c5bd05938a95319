//! `turnctl up` as a process.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::UdpSocket,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{certificate::Certificate, ports::free_port};

/// The shared secret of the manifests.
pub(crate) const SECRET: &str = "north-by-northwest";

/// How long the end may take.
const END_WITHIN: Duration = Duration::from_secs(10);

/// A relay that runs. It ends with the value.
pub(crate) struct Up {
    _process: Process,
    /// Of UDP and TCP.
    pub(crate) port: u16,
    /// Of TLS and DTLS.
    pub(crate) secure_port: u16,
    /// Of TCP and TLS.
    pub(crate) auto_port: u16,
    /// What it printed when it was ready.
    pub(crate) printed: Value,
    _manifest: NamedTempFile,
}

impl Up {
    /// Starts a relay on free ports of loopback, and waits until it is ready.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let port = free_port()?;
        let manifest = manifest(port, free_port()?, "")?;
        Ok(Self { port, ..Self::start_manifest(manifest)? })
    }

    /// Starts one that listens over TLS and DTLS too, on [`Up::secure_port`], and over TCP and TLS on
    /// [`Up::auto_port`].
    pub(crate) fn start_secure(certificate: &Certificate) -> anyhow::Result<Self> {
        let [port, secure_port, auto_port] = [free_port()?, free_port()?, free_port()?];
        let Certificate { certificate, key, .. } = certificate;
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": "certificate"},
            "stringData": {"tls.crt": certificate, "tls.key": key},
        });
        let more = format!(
            "\x20 - {{name: tls, protocol: TLS, port: {secure_port}}}\n\
             \x20 - {{name: dtls, protocol: DTLS, port: {secure_port}}}\n\
             \x20 - {{name: auto, protocol: Auto, port: {auto_port}}}\n\
             \x20 tls: {{secretRef: {{name: certificate}}}}\n\
             ---\n\
             {secret}\n"
        );
        let manifest = manifest(port, free_port()?, &more)?;
        Ok(Self { port, secure_port, auto_port, ..Self::start_manifest(manifest)? })
    }

    fn start_manifest(manifest: NamedTempFile) -> anyhow::Result<Self> {
        let mut process = Process(turnctl(&manifest)?.stdout(Stdio::piped()).spawn()?);
        let stdout = process.0.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let printed = serde_json::from_str(&line).with_context(|| format!("printed {line:?}"))?;
        Ok(Self {
            _process: process,
            port: 0,
            secure_port: 0,
            auto_port: 0,
            printed,
            _manifest: manifest,
        })
    }

    /// The `iceServers` that it printed, with only the URLs that reach the relay over `transport`:
    /// `udp`, `tcp` or `tls`.
    pub(crate) fn ice_servers(&self, transport: &str) -> anyhow::Result<Value> {
        let mut servers = self.printed["iceServers"].clone();
        for server in servers.as_array_mut().context("no iceServers")? {
            let urls = server["urls"].as_array_mut().context("no urls")?;
            urls.retain(|url| url.as_str().is_some_and(|url| transport_of(url) == Some(transport)));
            ensure!(!urls.is_empty(), "no URL over {transport} in {}", self.printed);
        }
        Ok(servers)
    }
}

/// How a URL of RFC 7065 reaches its server; none for one of STUN.
fn transport_of(url: &str) -> Option<&str> {
    match url.split_once(':')? {
        ("turns", _) => Some("tls"),
        ("turn", rest) => Some(rest.split_once("?transport=").map_or("udp", |(_, name)| name)),
        _ => None,
    }
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // The first signal drains; what clients have left behind need not be waited for.
        for _ in 0..2 {
            signal(&self.0, "INT");
            let deadline = Instant::now() + END_WITHIN / 10;
            while Instant::now() < deadline {
                if matches!(self.0.try_wait(), Ok(Some(_)) | Err(_)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ended_meanwhile = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn signal(child: &Child, name: &str) {
    let arguments = [format!("-{name}"), child.id().to_string()];
    let _gone_already = Command::new("kill").args(arguments).stderr(Stdio::null()).status();
}

fn manifest(port: u16, admin: u16, more: &str) -> anyhow::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_suffix(".yaml")?;
    write!(
        file,
        "apiVersion: v1\n\
         kind: Secret\n\
         metadata: {{name: interop}}\n\
         stringData: {{shared-secret: {SECRET}}}\n\
         ---\n\
         apiVersion: turnpike.dev/v1alpha1\n\
         kind: TurnServer\n\
         metadata: {{name: interop}}\n\
         spec:\n\
         \x20 realm: interop.example.org\n\
         \x20 auth: {{secretRef: {{name: interop}}}}\n\
         \x20 peers: {{allow: [127.0.0.0/8]}}\n\
         \x20 limits: {{allocationsPerUser: 100}}\n\
         \x20 admin: {{port: {admin}}}\n\
         \x20 listeners:\n\
         \x20 - {{name: udp, protocol: UDP, port: {port}}}\n\
         \x20 - {{name: tcp, protocol: TCP, port: {port}}}\n\
         {more}"
    )?;
    Ok(file)
}

/// The command.
fn turnctl(manifest: &NamedTempFile) -> anyhow::Result<Command> {
    let mut command = Command::new(cluster::program("turnctl")?);
    command.args(["up", "--output", "json", "--file"]).arg(manifest.path());
    Ok(command)
}

/// A port that another program has is named, with the listener that wants it.
pub(crate) fn port_taken() -> anyhow::Result<()> {
    let taken = UdpSocket::bind(("127.0.0.1", 0))?;
    let port = taken.local_addr()?.port();
    let said = refused(&manifest(port, free_port()?, "")?)?;
    ensure!(said.contains("\"udp\"") && said.contains(&port.to_string()), "said {said}");
    Ok(())
}

/// A wrong field is named, with what would be right.
pub(crate) fn wrong_field() -> anyhow::Result<()> {
    let more = "  relayPorts: {from: 62000, to: 61000}\n";
    let said = refused(&manifest(free_port()?, free_port()?, more)?)?;
    ensure!(said.contains("spec.relayPorts.from") && said.contains("62000"), "said {said}");
    Ok(())
}

/// What is said of a manifest that is refused.
fn refused(manifest: &NamedTempFile) -> anyhow::Result<String> {
    let mut child = turnctl(manifest)?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut said = String::new();
    child.stderr.take().context("no stderr")?.read_to_string(&mut said)?;
    let status = child.wait()?;
    ensure!(!status.success(), "not refused");
    Ok(said)
}
