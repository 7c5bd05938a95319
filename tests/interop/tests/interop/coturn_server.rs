//! Debian's coturn as a server, on loopback.

use std::{
    fs,
    net::UdpSocket,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::ensure;
use tempfile::TempDir;

use crate::{certificate::Certificate, ports::free_port, relay::SECRET, unauthenticated::marker};

/// How long the start may take, on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(20);

/// A server that runs. It ends with the value.
pub(crate) struct CoturnServer {
    child: Child,
    /// Its port.
    pub(crate) port: u16,
    /// Its port for DTLS.
    pub(crate) secure_port: u16,
    _folder: TempDir,
}

impl CoturnServer {
    /// Starts it with time-limited credentials, the settings of Debian's configuration file and
    /// `more` options, and waits until it answers.
    pub(crate) fn start(realm: &str, more: &[&str]) -> anyhow::Result<Self> {
        let (folder, port, secure_port) = (tempfile::tempdir()?, free_port()?, free_port()?);
        let file = |name: &str| folder.path().join(name).display().to_string();
        let Certificate { certificate, key, .. } = Certificate::new()?;
        fs::write(file("cert"), certificate)?;
        fs::write(file("key"), key)?;
        let child = Command::new("turnserver")
            .args(["-n", "--no-rfc5780", "--no-stun-backward-compatibility"])
            .args(["--response-origin-only-with-rfc5780", "--use-auth-secret", "--no-cli"])
            .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--no-tls"])
            .args([format!("--cert={}", file("cert")), format!("--pkey={}", file("key"))])
            .arg(format!("--tls-listening-port={secure_port}"))
            .args(["--no-stdout-log", "--log-file=/dev/null", "--simple-log"])
            .arg(format!("--static-auth-secret={SECRET}"))
            .args([format!("--realm={realm}"), format!("--listening-port={port}")])
            .args([format!("--pidfile={}", file("pid")), format!("--userdb={}", file("db"))])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { child, port, secure_port, _folder: folder };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(("127.0.0.1", self.port))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let deadline = Instant::now() + START_WITHIN;
        // A port that is not open yet refuses, at one of the next calls.
        while socket.send(&marker()).and_then(|_| socket.recv(&mut [0; 512])).is_err() {
            ensure!(Instant::now() < deadline, "coturn does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for CoturnServer {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}
