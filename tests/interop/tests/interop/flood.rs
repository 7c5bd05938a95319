//! Datagrams from more forged source addresses than a relay could remember.

use std::{
    io::IoSlice,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use nix::{
    libc,
    sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg},
};
use serde_json::json;

use crate::{
    network::{Host, two_hosts},
    relay::Relay,
    turn_client,
    unauthenticated::{Challenge, kinds},
};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

/// Each source is in a /24 of its own, so that nothing can be kept for a neighbourhood either.
const SOURCES: u32 = 50_000;

/// The pace: all of them in ten seconds, a burst at a time.
const BURST: u32 = 50;
const BURST_EVERY: Duration = Duration::from_millis(10);

/// How much more memory the relay may hold afterwards.
const GROWTH_KIB: u64 = 2 * 1024;

/// The longest of the datagrams, so that none of them travels in fragments.
const LONGEST: usize = 1_400;

/// Every kind of datagram that proves nothing, from [`SOURCES`] addresses, leaves the relay's
/// memory where it was, while a client loses nothing.
pub(crate) fn leaves_memory_and_clients_alone() -> anyhow::Result<()> {
    let [server, outside] = hosts()?;
    let config = json!({"addresses": [SERVER], "peers": {"allow": ["192.168.77.0/24"]}});
    let relay = server.run(|| Relay::start(&config))?;
    let to = SocketAddrV4::new(SERVER, relay.port);
    let datagrams = datagrams(&relay);
    let flood = |sources| outside.run(|| send_all(&datagrams, sources));
    let handled = || server.run(|| handled(&relay));
    // Whatever is made when it is needed first is made now.
    flood(0..1_000)?;
    let (before, handled_before) = (relay.resident_kib()?, handled()?);
    let is_over = AtomicBool::new(false);
    let until_over = || !is_over.load(Ordering::Relaxed);
    let relay_meanwhile =
        || outside.run(|| turn_client::exchanges_while(to.into(), CLIENT, until_over));
    let exchanges = std::thread::scope(|scope| {
        let client = scope.spawn(relay_meanwhile);
        let flooded = flood(0..SOURCES);
        is_over.store(true, Ordering::Relaxed);
        let exchanges = client.join().unwrap_or_else(|_| bail!("the client has panicked"));
        flooded.and(exchanges)
    })?;
    let (after, handled) = (relay.resident_kib()?, handled()? - handled_before);
    ensure!(exchanges > 0, "the client relayed nothing");
    ensure!(handled >= u64::from(SOURCES), "only {handled} datagrams have arrived");
    ensure!(after <= before + GROWTH_KIB, "{before} KiB before, {after} KiB after");
    Ok(())
}

/// The relay's host, and one that has all other addresses.
fn hosts() -> anyhow::Result<[Host; 2]> {
    let [server, outside] = two_hosts()?;
    server.ip(&format!("address add {SERVER}/24 dev cable"))?;
    server.ip(&format!("route add 10.0.0.0/8 via {CLIENT}"))?;
    outside.ip(&format!("address add {CLIENT}/24 dev cable"))?;
    outside.ip("route add local 10.0.0.0/8 dev lo")?;
    Ok([server, outside])
}

/// One of each kind, and where it goes.
fn datagrams(relay: &Relay) -> Vec<(SocketAddrV4, Vec<u8>)> {
    let all = kinds().into_iter().map(|kind| {
        let port = if kind.is_dtls { relay.secure_port } else { relay.port };
        (SocketAddrV4::new(SERVER, port), kind.datagram(&Challenge::default()))
    });
    all.filter(|(_, datagram)| datagram.len() <= LONGEST).collect()
}

/// One datagram from each source.
fn send_all(
    datagrams: &[(SocketAddrV4, Vec<u8>)],
    sources: std::ops::Range<u32>,
) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0)))?;
    let start = Instant::now();
    for (index, (to, datagram)) in sources.zip(datagrams.iter().cycle()) {
        if index % BURST == 0 {
            let next = start + BURST_EVERY * (index / BURST);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        send(&socket, source(index), *to, datagram)?;
    }
    Ok(())
}

/// 10.x.y.7, with the index as x and y.
fn source(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0A00_0007 + (index << 8))
}

fn send(
    socket: &UdpSocket,
    from: Ipv4Addr,
    to: SocketAddrV4,
    datagram: &[u8],
) -> anyhow::Result<()> {
    let from = libc::in_addr { s_addr: u32::from(from).to_be() };
    let any = libc::in_addr { s_addr: 0 };
    let packet = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: from, ipi_addr: any };
    let control = [ControlMessage::Ipv4PacketInfo(&packet)];
    let (data, flags) = ([IoSlice::new(datagram)], MsgFlags::empty());
    sendmsg(socket.as_raw_fd(), &data, &control, flags, Some(&SockaddrIn::from(to)))
        .context("send from another address")?;
    Ok(())
}

/// How many datagrams the relay has answered, refused or dropped.
fn handled(relay: &Relay) -> anyhow::Result<u64> {
    const COUNTERS: [&str; 5] = [
        "turn_socket_events_total{event=\"cookies_sent\"}",
        "turn_handshakes_failed_total",
        "turn_messages_dropped_total",
        "turn_requests_refused_total",
        "turn_requests_succeeded_total",
    ];
    let page = relay.page("/metrics")?;
    let ours = |line: &&str| COUNTERS.iter().any(|counter| line.starts_with(counter));
    let value = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
    Ok(page.lines().filter(ours).filter_map(value).sum())
}
