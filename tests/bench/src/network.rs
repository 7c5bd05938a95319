//! The network of a run: the server in the middle of two cables.
//!
//! ```text
//! namespace "outside"                     namespace "server"
//!   clients 10.99.1.2 ---- cable ---- 10.99.1.1
//!   peers   10.99.2.2 ---- cable ---- 10.99.2.1
//! ```
//!
//! A cable is a pair of veth devices. Each end polls (GRO is what makes a veth end able to, and that
//! the other end has no TSO is what makes it do so for every frame: else the sender's core pays for
//! the receiver's stack), in a kernel thread of its own that is pinned: those of the server's ends to the server's core, so that
//! what the kernel does for the server is paid there, and those of the other ends to the load's
//! core. The outer ends have no addresses: packet sockets stand for all clients and all peers.

use std::{
    fs,
    net::Ipv4Addr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sched::{CloneFlags, CpuSet, sched_setaffinity, setns},
    unistd::Pid,
};

use crate::{
    frame::Mac,
    link::{CableEnd, Link},
    requirement::search_path,
};

/// What the server listens on and relays from.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 1);
/// Where all clients are.
pub(crate) const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 2);
/// Where all peers are.
pub(crate) const PEERS: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 2);
/// The network of the peers.
pub(crate) const PEER_NETWORK: &str = "10.99.2.0/24";

/// How long the kernel may take to start a polling thread.
const THREAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The real-time priority of the kernel's polling, which so goes before all programs, the server
/// too, as it does where it runs in an interrupt; and of the load, which has to be punctual.
const PRIORITY: &str = "1";

/// A cable between the server and the outside.
struct Cable {
    inner: String,
    outer: String,
    inner_mac: Mac,
    outer_mac: Mac,
    inner_address: Ipv4Addr,
    outer_address: Ipv4Addr,
}

/// Two namespaces and two cables. Dropped, they are gone.
pub(crate) struct Network {
    server: String,
    outside: String,
    cables: [Cable; 2],
}

/// Which core does what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cores {
    /// The server and the kernel's work for it.
    pub(crate) server: usize,
    /// Clients and peers.
    pub(crate) load: usize,
}

impl Network {
    /// Makes both namespaces and all that is in them.
    pub(crate) fn make(cores: Cores) -> Result<Self> {
        let id = std::process::id();
        let cable = |letter: char, number: u8, inner_address, outer_address| Cable {
            inner: format!("tb{id}{letter}0"),
            outer: format!("tb{id}{letter}1"),
            inner_mac: [0x02, 0x54, 0, 0, number, 1],
            outer_mac: [0x02, 0x54, 0, 0, number, 2],
            inner_address,
            outer_address,
        };
        let peer_gateway = Ipv4Addr::new(10, 99, 2, 1);
        // Made before anything else, so that whatever is made is also removed.
        let network = Self {
            server: format!("turnpike-bench-{id}-server"),
            outside: format!("turnpike-bench-{id}-outside"),
            cables: [cable('c', 1, SERVER, CLIENTS), cable('p', 2, peer_gateway, PEERS)],
        };
        network.add_namespaces()?;
        for cable in &network.cables {
            network.add_cable(cable)?;
            network.poll_in_thread(&network.server, &cable.inner, cores.server)?;
            network.poll_in_thread(&network.outside, &cable.outer, cores.load)?;
        }
        Ok(network)
    }

    /// A command in the server's namespace.
    pub(crate) fn in_server(&self) -> Command {
        let mut command = Command::new("ip");
        command.env("PATH", search_path()).args(["netns", "exec", &self.server]);
        command
    }

    /// The outer ends of both cables: the clients' and the peers'.
    pub(crate) fn links(&self) -> Result<[Link; 2]> {
        let namespace = fs::File::open(format!("/run/netns/{}", self.outside))?;
        let open = || -> Result<[CableEnd; 2]> {
            setns(&namespace, CloneFlags::CLONE_NEWNET).context("enter the outside namespace")?;
            let [clients, peers] = &self.cables;
            let end =
                |cable: &Cable| CableEnd::open(&cable.outer, (cable.outer_mac, cable.inner_mac));
            Ok([end(clients)?, end(peers)?])
        };
        // A thread of its own: a socket stays in the namespace that it was made in.
        let ends = std::thread::scope(|scope| scope.spawn(open).join())
            .unwrap_or_else(|_| bail!("the thread that opens the links has panicked"))?;
        Ok(ends.map(Link::new))
    }

    fn add_namespaces(&self) -> Result<()> {
        for namespace in [&self.server, &self.outside] {
            ip(&["netns", "add", namespace])?;
            // Neighbour discovery would be traffic that nobody counts on.
            self.shell(namespace, "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")?;
        }
        ip(&["-n", &self.server, "link", "set", "lo", "up"])
    }

    fn add_cable(&self, cable: &Cable) -> Result<()> {
        let Cable { inner, outer, .. } = cable;
        let (inner_mac, outer_mac) = (mac(cable.inner_mac), mac(cable.outer_mac));
        let (server, outside) = (&self.server, &self.outside);
        ip(&[
            "link", "add", inner, "address", &inner_mac, "netns", server, "type", "veth", "peer",
            "name", outer, "address", &outer_mac, "netns", outside,
        ])?;
        self.shell(server, &format!("ethtool -K {inner} gro on tso off"))?;
        self.shell(outside, &format!("ethtool -K {outer} gro on tso off"))?;
        let address = format!("{}/24", cable.inner_address);
        ip(&["-n", server, "address", "add", &address, "dev", inner])?;
        ip(&["-n", server, "link", "set", inner, "up"])?;
        ip(&["-n", outside, "link", "set", outer, "up"])?;
        let neighbour = cable.outer_address.to_string();
        ip(&[
            "-n",
            server,
            "neigh",
            "add",
            &neighbour,
            "lladdr",
            &outer_mac,
            "dev",
            inner,
            "nud",
            "permanent",
        ])
    }

    /// Lets a device poll in a kernel thread, which is pinned to a core.
    fn poll_in_thread(&self, namespace: &str, device: &str, core: usize) -> Result<()> {
        self.shell(namespace, &format!("echo 1 > /sys/class/net/{device}/threaded"))?;
        let deadline = Instant::now() + THREAD_TIMEOUT;
        let thread = loop {
            if let Some(thread) = polling_thread(device)? {
                break thread;
            }
            ensure!(Instant::now() < deadline, "{device} has no polling thread");
            std::thread::sleep(Duration::from_millis(5));
        };
        pin(thread, core)?;
        go_first(thread)
    }

    fn shell(&self, namespace: &str, line: &str) -> Result<()> {
        ip(&["netns", "exec", namespace, "sh", "-c", line])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.outside] {
            // One that was not made yet cannot be removed; the devices go with their namespaces.
            let _ = ip(&["netns", "delete", namespace]);
        }
    }
}

/// Lets a thread run on one core only.
pub(crate) fn pin(thread: Pid, core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(thread, &cores).with_context(|| format!("pin {thread} to core {core}"))
}

/// Lets a thread go before all others of its core.
pub(crate) fn go_first(thread: Pid) -> Result<()> {
    // What it starts is a program like all others again.
    run("chrt", &["--rr", "--reset-on-fork", "--pid", PRIORITY, &thread.to_string()])
}

fn polling_thread(device: &str) -> Result<Option<Pid>> {
    let prefix = format!("napi/{device}-");
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(name) = fs::read_to_string(path.join("comm")) else { continue };
        if name.starts_with(&prefix) {
            let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            return Ok(number.map(Pid::from_raw));
        }
    }
    Ok(None)
}

fn ip(arguments: &[&str]) -> Result<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    let output = command
        .args(arguments)
        .env("PATH", search_path())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {program}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), error.trim());
    Ok(())
}

fn mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
