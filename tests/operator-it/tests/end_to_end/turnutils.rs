//! coturn's own test programs: a client that nobody here wrote, and the peer that it talks to.

use std::{
    fmt,
    net::Ipv4Addr,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};
use cluster::{ClientHost, Cluster, Running, output};

use crate::fleet;

/// The port at which the peer listens.
const PEER_PORT: &str = "3480";

/// How many clients there have been.
static CLIENTS: AtomicU32 = AtomicU32::new(0);

/// The peer, which sends back what it gets; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    host: ClientHost,
    _running: Running,
}

impl Peer {
    /// Starts it on the host `peer`.
    pub(crate) fn start(cluster: &Cluster) -> Result<Self> {
        let host = fleet::peer(cluster)?;
        let address = host.address().to_string();
        let arguments = ["-L", &address, "-p", PEER_PORT];
        let running = host.start("turnutils-peer", "turnutils_peer", &arguments)?;
        Ok(Self { host, _running: running })
    }
}

/// How a client sends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// UDP, through channels.
    Channels,
    /// UDP, in Send indications.
    Indications,
    /// TCP, through channels.
    Tcp,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Channels, Self::Indications, Self::Tcp];

    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Channels => &[],
            Self::Indications => &["-s"],
            Self::Tcp => &["-t"],
        }
    }
}

/// What a client is to do.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    pub(crate) relay: Ipv4Addr,
    pub(crate) secret: &'a str,
    pub(crate) way: Way,
    /// How many allocations, and how many messages for each.
    pub(crate) allocations: u32,
    pub(crate) messages: u32,
    pub(crate) interval_milliseconds: u32,
}

impl<'a> Client<'a> {
    /// A client that is done in seconds.
    pub(crate) const fn short(relay: Ipv4Addr, secret: &'a str, way: Way) -> Self {
        Self { relay, secret, way, allocations: 2, messages: 50, interval_milliseconds: 20 }
    }

    /// Relays to `peer` from the host `client`, and returns what came back.
    pub(crate) fn run(&self, cluster: &Cluster, peer: &Peer) -> Result<Outcome> {
        let host = cluster.client_host("client")?;
        let mut command = host.command("timeout");
        command.args(["120", "turnutils_uclient"]).args(self.arguments(peer));
        self.outcome(&output(&mut command)?)
    }

    /// The same in the background; `name` names its log.
    pub(crate) fn start(&self, cluster: &Cluster, peer: &Peer, name: &str) -> Result<Busy> {
        let host = cluster.client_host("client")?;
        let arguments = self.arguments(peer);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let running = host.start(name, "turnutils_uclient", &arguments)?;
        Ok(Busy { log: running.log().to_owned(), running })
    }

    fn arguments(&self, peer: &Peer) -> Vec<String> {
        // A user of its own: what a client leaves behind counts against its user for a while.
        let user = format!("client-{}", CLIENTS.fetch_add(1, Ordering::Relaxed));
        let peer = peer.host.address().to_string();
        // -c: without it the client asks for an even port and the next one, for RTCP.
        let fixed =
            ["-c", "-l", "160", "-u", &user, "-W", self.secret, "-e", &peer, "-r", PEER_PORT];
        let mut arguments: Vec<_> = fixed.map(str::to_owned).into();
        for (flag, number) in
            [("-m", self.allocations), ("-n", self.messages), ("-z", self.interval_milliseconds)]
        {
            arguments.extend([flag.to_owned(), number.to_string()]);
        }
        arguments.extend(self.way.flags().iter().map(|flag| (*flag).to_owned()));
        arguments.push(self.relay.to_string());
        arguments
    }

    fn outcome(&self, output: &str) -> Result<Outcome> {
        Outcome::read(output, self.allocations * self.messages)
            .with_context(|| format!("{:?} through {} said\n{output}", self.way, self.relay))
    }
}

/// A client that is still relaying.
#[derive(Debug)]
pub(crate) struct Busy {
    running: Running,
    log: PathBuf,
}

impl Busy {
    /// How many messages have come back so far, as far as the client has said.
    pub(crate) fn received(&self) -> Result<u32> {
        let output = self.running.output()?;
        Ok(output
            .lines()
            .filter_map(|line| number_after(line, "tot_recv_msgs="))
            .max()
            .unwrap_or(0))
    }

    /// Whether it is still at it.
    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.running.ended()?.is_none())
    }

    /// Waits for it to be done.
    pub(crate) fn finish(self, client: &Client<'_>) -> Result<Outcome> {
        let status = self.running.wait()?;
        let output = std::fs::read_to_string(&self.log)?;
        ensure!(status.success(), "turnutils_uclient ended with {status}:\n{output}");
        client.outcome(&output)
    }
}

/// What a client has counted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    wanted: u32,
    sent: u32,
    received: u32,
}

impl Outcome {
    /// Reads it from the client's last line of sums.
    fn read(output: &str, wanted: u32) -> Result<Self> {
        let sums = output
            .lines()
            .rfind(|line| line.contains("start_mclient: tot_send_msgs="))
            .context("turnutils_uclient printed no sums")?;
        let number = |field: &str| number_after(sums, field).with_context(|| field.to_owned());
        Ok(Self { wanted, sent: number("tot_send_msgs=")?, received: number("tot_recv_msgs=")? })
    }

    /// An error unless every message was sent and has come back.
    pub(crate) fn nothing_lost(&self) -> Result<()> {
        ensure!(self.sent == self.wanted && self.received == self.sent, "datagrams lost: {self}");
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} sent, {} came back", self.sent, self.wanted, self.received)
    }
}

fn number_after(line: &str, field: &str) -> Option<u32> {
    let (_, rest) = line.split_once(field)?;
    let end = rest.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
