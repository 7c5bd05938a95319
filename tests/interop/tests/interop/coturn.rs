//! Debian's coturn: its client, and its peer.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::{
    certificate::Certificate,
    ports::free_port,
    relay::{self, Relay},
    up::{self, Up},
};

/// Where peers are that need be nowhere else.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Clients, and messages of each: enough to lose one, and over in some seconds.
const CLIENTS: &str = "4";
const MESSAGES: &str = "100";

/// A peer that sends back what it gets. It ends with the value.
struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Peer {
    fn start(ip: IpAddr) -> anyhow::Result<Self> {
        let port = free_port()?;
        let child = Command::new("turnutils_peer")
            .args(["-L", &ip.to_string(), "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, address: SocketAddr::new(ip, port) })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ended_meanwhile = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Runs the client against the relay on a port; what it printed.
fn uclient(port: u16, peer: &Peer, options: &[&str]) -> anyhow::Result<String> {
    let (address, peer_port) = (peer.address.ip().to_string(), peer.address.port().to_string());
    let output = Command::new("turnutils_uclient")
        .args(["-n", MESSAGES, "-m", CLIENTS, "-l", "160"])
        .args(["-e", &address, "-r", &peer_port])
        .args(["-p", &port.to_string()])
        .args(options)
        .arg("127.0.0.1")
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(printed + &String::from_utf8_lossy(&output.stderr))
}

fn nothing_lost(printed: &str) -> anyhow::Result<()> {
    let lost = printed.lines().rfind(|line| line.contains("Total lost packets"));
    let lost = lost.with_context(|| format!("no result in\n{printed}"))?;
    ensure!(lost.contains("Total lost packets 0 ") && lost.contains("send dropped 0 "), "{lost}");
    Ok(())
}

/// With a time-limited credential under the shared secret.
pub(crate) fn loses_nothing(options: &[&str]) -> anyhow::Result<()> {
    let (up, peer) = (Up::start()?, Peer::start(LOOPBACK)?);
    let options = [&["-u", "alice", "-W", up::SECRET], options].concat();
    nothing_lost(&uclient(up.port, &peer, &options)?)
}

/// A listener of a relay with a certificate.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Listener {
    /// TLS and DTLS.
    Secure,
    /// TCP and TLS on one port.
    Auto,
}

/// With a relay that has a certificate, by one of its listeners.
pub(crate) fn loses_nothing_securely(listener: Listener, options: &[&str]) -> anyhow::Result<()> {
    let (up, peer) = (Up::start_secure(&Certificate::new()?)?, Peer::start(LOOPBACK)?);
    let port = match listener {
        Listener::Secure => up.secure_port,
        Listener::Auto => up.auto_port,
    };
    let options = [&["-u", "alice", "-W", up::SECRET], options].concat();
    nothing_lost(&uclient(port, &peer, &options)?)
}

/// With a relay that has addresses of both families, and a peer at `ip`.
pub(crate) fn loses_nothing_with_both_families(ip: IpAddr, options: &[&str]) -> anyhow::Result<()> {
    let relay = Relay::start(&json!({"addresses": ["127.0.0.1", "::1"]}))?;
    let peer = Peer::start(ip)?;
    let options = [&["-u", "alice", "-W", relay::SECRET], options].concat();
    nothing_lost(&uclient(relay.port, &peer, &options)?)
}

/// Relayed clients that connect to each other (RFC 6062), through a relay whose workers hand
/// connections to one another.
pub(crate) fn relays_tcp(options: &[&str]) -> anyhow::Result<()> {
    connects(relay_that_connects()?.port, options)
}

/// The same over TLS.
pub(crate) fn relays_tcp_securely() -> anyhow::Result<()> {
    connects(relay_that_connects()?.secure_port, &["-S"])
}

fn relay_that_connects() -> anyhow::Result<Relay> {
    Relay::start(&json!({"features": {"tcpRelaying": true}, "workers": 2}))
}

/// `-T` knows its peers itself: the client's other half.
fn connects(port: u16, options: &[&str]) -> anyhow::Result<()> {
    let nobody = Peer::start(LOOPBACK)?;
    let options = [&["-T", "-u", "alice", "-W", relay::SECRET], options].concat();
    nothing_lost(&uclient(port, &nobody, &options)?)
}

/// With the credential that `turnctl up` printed.
pub(crate) fn printed_credential() -> anyhow::Result<()> {
    let (up, peer) = (Up::start()?, Peer::start(LOOPBACK)?);
    let server = &up.printed["iceServers"][0];
    let text = |of: &str| server[of].as_str().with_context(|| format!("no {of} in {server}"));
    ensure!(up.printed["ready"] == true, "not ready: {}", up.printed);
    let conditions = up.printed["status"]["conditions"].as_array().context("no conditions")?;
    for condition in conditions {
        let (status, reason) = match condition["type"].as_str() {
            Some("Degraded") => ("False", "Ok"),
            // Nobody outside tries it.
            Some("Reachable") => ("Unknown", "NotProbed"),
            _ => ("True", "Ok"),
        };
        ensure!(condition["status"] == status, "{condition}");
        ensure!(condition["reason"] == reason, "{condition}");
    }
    let urls = server["urls"].as_array().context("no urls")?;
    let port = up.port;
    for transport in ["udp", "tcp"] {
        let url = format!("turn:127.0.0.1:{port}?transport={transport}");
        ensure!(urls.iter().any(|found| *found == url), "{url} is not in {urls:?}");
    }
    let credential = ["-c", "-u", text("username")?, "-w", text("credential")?];
    nothing_lost(&uclient(port, &peer, &credential)?)
}

/// Who has another secret relays nothing.
pub(crate) fn wrong_secret() -> anyhow::Result<()> {
    let (up, peer) = (Up::start()?, Peer::start(LOOPBACK)?);
    let printed = uclient(up.port, &peer, &["-c", "-u", "alice", "-W", "south"])?;
    ensure!(!printed.contains("Total lost packets 0 "), "let in:\n{printed}");
    ensure!(printed.contains("401") || printed.contains("Cannot"), "said\n{printed}");
    Ok(())
}
