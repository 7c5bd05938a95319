//! A relay as a process, with files and ports of its own.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use turn_auth::{Secret, TimeLimitedCredential, UnixSeconds};
use turn_probe::{Credentials, Failure, Report, Target, Transport, echo};

/// How long anything may take that should happen at once, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A relay that runs. It ends with the value.
pub(crate) struct Relay {
    child: Child,
    directory: TempDir,
    pub(crate) port: u16,
    admin: u16,
}

/// A folder with the files of a relay, and its ports.
fn files(more: &str) -> (TempDir, u16, u16) {
    let directory = tempfile::tempdir().expect("a folder");
    fs::write(directory.path().join("secret"), "north\n").expect("written");
    let (port, admin) = (free_port(), free_port());
    write_config(&directory, port, admin, more);
    (directory, port, admin)
}

fn write_config(directory: &TempDir, port: u16, admin: u16, more: &str) {
    let secret = directory.path().join("secret");
    let text = format!(
        "realm: example.org\n\
         addresses: [127.0.0.1]\n\
         listeners:\n\
         - {{name: udp, protocol: UDP, port: {port}}}\n\
         - {{name: tcp, protocol: TCP, port: {port}}}\n\
         auth: {{sharedSecrets: [{secret:?}]}}\n\
         admin: {{address: \"127.0.0.1:{admin}\"}}\n\
         {more}"
    );
    // As Kubernetes does it: the file is never half there.
    let fresh = directory.path().join("relay.yaml.new");
    fs::write(&fresh, text).expect("written");
    fs::rename(fresh, directory.path().join("relay.yaml")).expect("renamed");
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

impl Relay {
    /// Starts a relay with more lines of configuration, and waits until it is ready.
    pub(crate) fn start(more: &str) -> Self {
        let (directory, port, admin) = files(more);
        let log = fs::File::create(directory.path().join("log")).expect("created");
        let child = program(&directory.path().join("relay.yaml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let mut relay = Self { child, directory, port, admin };
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
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.directory.path().join("relay.yaml")
    }

    /// Replaces the configuration.
    pub(crate) fn configure(&self, more: &str) {
        write_config(&self.directory, self.port, self.admin, more);
    }

    pub(crate) fn write_secret(&self, text: &str) {
        fs::write(self.directory.path().join("secret"), text).expect("written");
    }

    /// The status code and the body of a page; zero when the port is not open.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let page = || {
            let mut stream = TcpStream::connect((LOOPBACK, self.admin)).ok()?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n")
                .ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            let (head, body) = answer.split_once("\r\n\r\n")?;
            Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
        };
        page().unwrap_or_default()
    }

    /// The value of a metric, by its name with its labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, page) = self.get("/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name} in\n{page}")).parse().expect("a number")
    }

    pub(crate) fn server(&self) -> SocketAddr {
        SocketAddr::new(LOOPBACK, self.port)
    }

    /// Relays through it, under a secret.
    pub(crate) fn echo(&self, transport: Transport, secret: &str) -> Result<Report, Failure> {
        let secret = Secret::from_file(secret.as_bytes()).expect("a secret");
        let minted = TimeLimitedCredential::mint(&secret, "alice", UnixSeconds(4_000_000_000));
        let credentials = Credentials::new(minted.username, minted.password).expect("short");
        let target = Target {
            server: self.server(),
            transport,
            credentials: [credentials.clone(), credentials],
            limit: SOON,
            bind: None,
            relayed_at: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(echo(&target))
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
