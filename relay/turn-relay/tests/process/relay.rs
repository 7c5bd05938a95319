//! A relay as a process, with files and ports of its own.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use turn_auth::{Secret, TimeLimitedCredential, UnixSeconds};
use turn_probe::{Credentials, Failure, Report, Target, Transport, Trust, echo};

use crate::{certificates::Certificate, mount::Mount};

/// How long anything may take that should happen at once, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A user of each relay, with a password.
pub(crate) const BOB: (&str, &str) = ("bob", "thornhill");

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A relay that runs. It ends with the value.
pub(crate) struct Relay {
    child: Child,
    files: Files,
}

/// What stands in the files of a relay.
pub(crate) struct Files {
    directory: TempDir,
    config: Mount,
    secret: Mount,
    tls: Mount,
    pub(crate) certificate: Certificate,
    pub(crate) realm: String,
    /// Each as the configuration has it.
    pub(crate) listeners: Vec<String>,
    /// More lines of configuration.
    pub(crate) more: String,
    pub(crate) port: u16,
    admin: u16,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let mount = |name: &str| Mount::new(&directory.path().join(name));
        let port = free_port();
        let listeners = ["UDP", "TCP"].map(|protocol| listener(protocol, port)).to_vec();
        let files = Self {
            config: mount("config"),
            secret: mount("credentials"),
            tls: mount("tls"),
            certificate: Certificate::new(),
            realm: "example.org".to_owned(),
            listeners,
            more: String::new(),
            port,
            admin: free_port(),
            directory,
        };
        files.write_secret("north\n");
        files.write_certificate();
        files
    }

    fn write_secret(&self, text: &str) {
        self.secret.put(&[("secret", text), ("password", BOB.1)]);
    }

    fn write_certificate(&self) {
        let Certificate { pem, key, .. } = &self.certificate;
        self.tls.put(&[("tls.crt", pem), ("tls.key", key)]);
    }

    fn write(&self) {
        let Self { realm, more, admin, .. } = self;
        let [secret, password] = ["secret", "password"].map(|name| self.secret.path(name));
        let (name, tls) = (BOB.0, &self.tls);
        let text = format!(
            "realm: {realm}\n\
             addresses: [127.0.0.1]\n\
             listeners: [{}]\n\
             auth: {{sharedSecrets: [{secret:?}], \
             users: [{{name: {name}, passwordFile: {password:?}}}]}}\n\
             tls: {{certificateFile: {:?}, privateKeyFile: {:?}}}\n\
             admin: {{address: \"127.0.0.1:{admin}\"}}\n\
             {more}",
            self.listeners.join(", "),
            tls.path("tls.crt"),
            tls.path("tls.key"),
        );
        self.config.put(&[("relay.yaml", &text)]);
    }
}

/// A listener, as the configuration has it.
pub(crate) fn listener(protocol: &str, port: u16) -> String {
    format!("{{name: {}-{port}, protocol: {protocol}, port: {port}}}", protocol.to_lowercase())
}

/// A port that is free over UDP and TCP.
pub(crate) fn free_port() -> u16 {
    let free = || {
        let port = TcpListener::bind((LOOPBACK, 0)).ok()?.local_addr().ok()?.port();
        UdpSocket::bind((LOOPBACK, port)).ok().map(|_| port)
    };
    (0..100).find_map(|_| free()).expect("a free port")
}

fn program(config: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turn-relay"));
    command.arg("--config").arg(config);
    command
}

/// Runs the program with a configuration that it has to refuse.
pub(crate) fn refused(text: &str) -> Output {
    let directory = tempfile::tempdir().expect("a folder");
    let path = directory.path().join("relay.yaml");
    fs::write(&path, text).expect("written");
    program(&path).output().expect("it runs")
}

/// Tries a relay.
pub(crate) fn probe(target: &Target) -> Result<Report, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(echo(target))
}

impl Relay {
    /// Starts a relay with more lines of configuration, and waits until it is ready.
    pub(crate) fn start(more: &str) -> Self {
        Self::start_with(|files| more.clone_into(&mut files.more))
    }

    /// Starts a relay with other files, and waits until it is ready.
    pub(crate) fn start_with(change: impl FnOnce(&mut Files)) -> Self {
        let mut files = Files::new();
        change(&mut files);
        files.write_certificate();
        files.write();
        let log = fs::File::create(files.directory.path().join("log")).expect("created");
        let child = program(&files.config.path("relay.yaml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let mut relay = Self { child, files };
        relay.until("ready", |relay| relay.get("/readyz").0 == 200);
        relay
    }

    /// Waits for a condition.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + SOON;
        while !holds(self) {
            assert!(Instant::now() < deadline, "not {what} in time; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.files.directory.path().join("log")).unwrap_or_default()
    }

    /// Changes the configuration.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Files)) {
        change(&mut self.files);
        self.files.write();
    }

    /// Replaces the additional lines of the configuration.
    pub(crate) fn configure(&mut self, more: &str) {
        self.change(|files| more.clone_into(&mut files.more));
    }

    pub(crate) fn write_secret(&self, text: &str) {
        self.files.write_secret(text);
    }

    /// Gives it a new certificate, with which it does its handshakes from then on.
    pub(crate) fn rotate_certificate(&mut self) {
        self.files.certificate = Certificate::new();
        self.files.write_certificate();
    }

    /// Makes the tests expect another certificate than the relay has.
    pub(crate) fn expect_another_certificate(&mut self) {
        self.files.certificate = Certificate::new();
    }

    /// Replaces the certificate's file by something else.
    pub(crate) fn write_certificate(&self, pem: &str) {
        self.files.tls.put(&[("tls.crt", pem), ("tls.key", &self.files.certificate.key)]);
    }

    /// Replaces the certificate's files by those of another.
    pub(crate) fn write_files_of(&self, other: &Certificate) {
        self.files.tls.put(&[("tls.crt", &other.pem), ("tls.key", &other.key)]);
    }

    pub(crate) const fn certificate(&self) -> &Certificate {
        &self.files.certificate
    }

    /// Waits until so many new configurations have been taken since the start.
    pub(crate) fn until_applied(&mut self, count: u64) {
        self.until("reloaded", |relay| {
            relay.metric("turn_config_reloads_total{result=\"applied\"}") == count
        });
    }

    /// Waits until so many new configurations have been refused for a reason.
    pub(crate) fn until_refused(&mut self, reason: &str, count: u64) {
        let name = format!("turn_config_reload_failures_total{{reason=\"{reason}\"}}");
        self.until("refused", |relay| relay.metric(&name) == count);
    }

    /// The status code and the body of a page; zero when the port is not open.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, &[], "").unwrap_or_default()
    }

    /// The status code and the body of the answer to a request with JSON.
    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        self.ask("POST", path, &headers, body).expect("it is ready, and answers")
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect((LOOPBACK, self.files.admin)).ok()?;
        let headers: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let len = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\
             content-length: {len}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).ok()?;
        // Who refuses early does not read it all.
        let _unread = stream.write_all(body.as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// The value of a metric, by its name with its labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, page) = self.get("/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name} in\n{page}")).parse().expect("a number")
    }

    pub(crate) const fn server(&self) -> SocketAddr {
        self.at(self.files.port)
    }

    /// A port of it.
    pub(crate) const fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(LOOPBACK, port)
    }

    /// Relays through its first port, under a secret.
    pub(crate) fn echo(&self, transport: Transport, secret: &str) -> Result<Report, Failure> {
        self.echo_at(self.server(), transport, secret)
    }

    /// Relays through it, under a secret.
    pub(crate) fn echo_at(
        &self,
        server: SocketAddr,
        transport: Transport,
        secret: &str,
    ) -> Result<Report, Failure> {
        let secret = Secret::from_file(secret.as_bytes()).expect("a secret");
        let minted = TimeLimitedCredential::mint(&secret, "alice", UnixSeconds(4_000_000_000));
        self.echo_as(server, transport, (&minted.username, &minted.password))
    }

    /// Relays through it, as somebody with a password.
    pub(crate) fn echo_as(
        &self,
        server: SocketAddr,
        transport: Transport,
        user: (&str, &str),
    ) -> Result<Report, Failure> {
        probe(&self.target(server, transport, user))
    }

    /// What relaying through it tries, as somebody with a password.
    pub(crate) fn target(
        &self,
        server: SocketAddr,
        transport: Transport,
        (name, password): (&str, &str),
    ) -> Target {
        let credentials = Credentials::new(name.to_owned(), password.to_owned()).expect("short");
        let trust = Trust::exactly(self.certificate().der.clone()).expect("cryptography");
        Target {
            last: turn_probe::Stage::Refresh,
            server,
            transport,
            credentials: [credentials.clone(), credentials],
            limit: SOON,
            bind: None,
            relayed_at: None,
            relay_ports: [None; 2],
            trust: Some(trust),
            as_proxy: false,
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let arguments = [format!("-{name}"), self.child.id().to_string()];
        assert!(Command::new("kill").args(arguments).status().expect("kill runs").success());
    }

    /// How it has ended; none while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// How much memory it holds, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}
