//! `turn-client-proto`, a client in Rust that shares no code with ours.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde_json::json;
use turn_client_proto::{
    api::{Transmit, TurnClientApi, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet},
    stun::{Instant, auth::Feature},
    tcp::TurnClientTcp,
    types::{AddressFamily, TransportType, TurnCredentials, stun::message::IntegrityAlgorithm},
    udp::TurnClientUdp,
};

use crate::{
    relay::{self, Relay},
    up::Up,
};

/// How long a socket waits before the client is asked again what it wants to send.
const TURN: Duration = Duration::from_millis(20);

/// How long anything may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(20);

/// The client's clock goes on by steps that are shorter than any of its deadlines.
const STEP: Duration = Duration::from_secs(60);

/// More than the lifetime of allocations, permissions and channels, each of them.
const STEPS: usize = 20;

/// Of whole words, since this client does not pad ChannelData messages over TCP, as RFC 8656,
/// section 12.5 demands.
const TO_PEER: &[u8] = b"to the peer.";
const TO_CLIENT: &[u8] = b"to the client...";

/// A permission, a channel, twenty minutes of the client's clock, and an end, over UDP.
pub(crate) fn keeps_an_allocation_over_udp() -> anyhow::Result<()> {
    let up = Up::start()?;
    let (link, local, server) = udp_link(up.port)?;
    let config = config(&up)?;
    live_and_die(&link, || TurnClientUdp::allocate(local, server, config.clone()))
}

/// A socket for the server on a port of loopback, and both of its addresses.
fn udp_link(port: u16) -> anyhow::Result<(Link, SocketAddr, SocketAddr)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(TURN))?;
    let (local, server) = (socket.local_addr()?, socket.peer_addr()?);
    Ok((Link::Udp(socket), local, server))
}

/// The same with messages that name nobody: the server finds the user by a hash.
pub(crate) fn keeps_an_allocation_of_a_hidden_name() -> anyhow::Result<()> {
    let relay = Relay::start(&json!({}))?;
    let (name, password) = relay::USER;
    let mut config = TurnConfig::new(TurnCredentials::new(name, password));
    config.set_supported_integrity(IntegrityAlgorithm::Sha256);
    config.set_anonymous_username(Feature::Required);
    let (link, local, server) = udp_link(relay.port)?;
    live_and_die(&link, || TurnClientUdp::allocate(local, server, config.clone()))
}

/// One allocation with an address of each family, which relay to peers of their own.
pub(crate) fn has_addresses_of_both_families() -> anyhow::Result<()> {
    let relay = Relay::start(&json!({"addresses": ["127.0.0.1", "::1"]}))?;
    let (username, password) = relay::credentials()?;
    let mut config = with_sha256(TurnConfig::new(TurnCredentials::new(&username, &password)));
    config.add_address_family(AddressFamily::IPV6);
    let (link, local, server) = udp_link(relay.port)?;
    let mut driver = Driver::new(TurnClientUdp::allocate(local, server, config), &link);
    let relayed = [driver.allocated()?, driver.allocated()?];
    for relayed in relayed {
        let peer = UdpSocket::bind((relayed.ip(), 0))?;
        peer.set_read_timeout(Some(PATIENCE))?;
        // No channel: this client would give both peers the same number.
        driver.permit(&peer, relayed)?;
    }
    ensure!(relayed[0].is_ipv4() != relayed[1].is_ipv4(), "of one family: {relayed:?}");
    Ok(())
}

/// The same over TCP.
pub(crate) fn keeps_an_allocation_over_tcp() -> anyhow::Result<()> {
    let up = Up::start()?;
    let stream = TcpStream::connect(("127.0.0.1", up.port))?;
    stream.set_read_timeout(Some(TURN))?;
    let (local, server) = (stream.local_addr()?, stream.peer_addr()?);
    let link = Link::Tcp(stream);
    let config = config(&up)?;
    live_and_die(&link, || TurnClientTcp::allocate(local, server, config.clone()))
}

/// Relays one datagram after another to a peer and back, between the server and `local`, for as long
/// as `more` says; how many. One that is lost is an error.
pub(crate) fn exchanges_while(
    server: SocketAddr,
    local: Ipv4Addr,
    more: impl Fn() -> bool,
) -> anyhow::Result<usize> {
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(TURN))?;
    let (username, password) = relay::credentials()?;
    let config = with_sha256(TurnConfig::new(TurnCredentials::new(&username, &password)));
    let client = TurnClientUdp::allocate(socket.local_addr()?, server, config);
    let link = Link::Udp(socket);
    let peer = UdpSocket::bind((local, 0))?;
    peer.set_read_timeout(Some(PATIENCE))?;
    let mut driver = Driver::new(client, &link);
    let relayed = driver.with_channel(&peer)?;
    let mut count = 0;
    while more() {
        driver.exchange(&peer, relayed)?;
        count += 1;
    }
    Ok(count)
}

/// With the credential that `turnctl up` printed, and the better signature that both know: SHA-256.
fn config(up: &Up) -> anyhow::Result<TurnConfig> {
    let server = &up.printed["iceServers"][0];
    let text = |of: &str| server[of].as_str().with_context(|| format!("no {of} in {server}"));
    let credentials = TurnCredentials::new(text("username")?, text("credential")?);
    Ok(with_sha256(TurnConfig::new(credentials)))
}

fn with_sha256(mut config: TurnConfig) -> TurnConfig {
    config.add_supported_integrity(IntegrityAlgorithm::Sha256);
    config
}

fn live_and_die<C: TurnClientApi>(link: &Link, allocate: impl Fn() -> C) -> anyhow::Result<()> {
    let peer = UdpSocket::bind("127.0.0.1:0")?;
    peer.set_read_timeout(Some(PATIENCE))?;
    let mut driver = Driver::new(allocate(), link);
    driver.live(&peer)?;
    let now = driver.now;
    driver.client.delete(now)?;
    driver.settle()?;
    // An allocation that was still there would refuse another one to the same five-tuple.
    let mut again = Driver::new(allocate(), link);
    again.allocated()?;
    Ok(())
}

/// The way to the server.
enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Link {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(bytes).map(drop),
            Self::Tcp(stream) => (&*stream).write_all(bytes),
        }
    }

    /// What has come; nothing when nothing comes for a while.
    fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; 65_536];
        let read = match self {
            Self::Udp(socket) => socket.recv(&mut buffer),
            Self::Tcp(stream) => (&*stream).read(&mut buffer),
        };
        match read {
            Ok(length) => {
                buffer.truncate(length);
                Ok(Some(buffer))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A client with its socket and its clock, which goes on while nothing comes, and when it is moved.
struct Driver<'a, C> {
    client: C,
    link: &'a Link,
    now: Instant,
    /// What has come from peers.
    received: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl<'a, C: TurnClientApi> Driver<'a, C> {
    fn new(client: C, link: &'a Link) -> Self {
        Self { client, link, now: Instant::from_nanos(1_000_000_000), received: VecDeque::new() }
    }

    /// An allocation with a channel to the peer, tried out; its relayed address.
    fn with_channel(&mut self, peer: &UdpSocket) -> anyhow::Result<SocketAddr> {
        let relayed = self.allocated()?;
        self.permit(peer, relayed)?;
        self.client.bind_channel(TransportType::Udp, peer.local_addr()?, self.now)?;
        self.until(|event| matches!(event, TurnEvent::ChannelCreated(..)))?;
        self.exchange(peer, relayed)?;
        Ok(relayed)
    }

    /// A permission for the peer, tried out.
    fn permit(&mut self, peer: &UdpSocket, relayed: SocketAddr) -> anyhow::Result<()> {
        self.client.create_permission(TransportType::Udp, peer.local_addr()?.ip(), self.now)?;
        self.until(|event| matches!(event, TurnEvent::PermissionCreated(..)))?;
        self.exchange(peer, relayed)
    }

    fn live(&mut self, peer: &UdpSocket) -> anyhow::Result<()> {
        let relayed = self.with_channel(peer)?;
        let (udp, address) = (TransportType::Udp, peer.local_addr()?);
        for _ in 0..STEPS {
            self.now += STEP;
            self.settle()?;
            self.exchange(peer, relayed)?;
        }
        ensure!(self.client.have_permission(udp, address.ip()), "the permission is gone");
        ensure!(self.client.relayed_addresses().eq([(udp, relayed)]), "the allocation is gone");
        Ok(())
    }

    /// The relayed address that the server has given.
    fn allocated(&mut self) -> anyhow::Result<SocketAddr> {
        let event = self.until(|event| matches!(event, TurnEvent::AllocationCreated(..)))?;
        let TurnEvent::AllocationCreated(_, relayed) = event else { bail!("{event:?}") };
        Ok(relayed)
    }

    /// A datagram to the peer, and one back.
    fn exchange(&mut self, peer: &UdpSocket, relayed: SocketAddr) -> anyhow::Result<()> {
        let address = peer.local_addr()?;
        let sent = self.client.send_to(TransportType::Udp, address, TO_PEER, self.now)?;
        if let Some(transmit) = sent {
            self.link.send(&transmit.build().data)?;
        }
        let mut buffer = [0; 64];
        let (length, from) = peer.recv_from(&mut buffer).context("nothing reaches the peer")?;
        ensure!((&buffer[..length], from) == (TO_PEER, relayed), "from {from}");
        peer.send_to(TO_CLIENT, relayed)?;
        let received = self.pump_until(|driver| driver.received.pop_front())?;
        ensure!(received == (address, TO_CLIENT.to_vec()), "{received:?}");
        Ok(())
    }

    /// Goes on until the client has an event of this kind; one that says that something has failed
    /// is an error.
    fn until(&mut self, wanted: impl Fn(&TurnEvent) -> bool) -> anyhow::Result<TurnEvent> {
        let event = self.pump_until(|driver| driver.client.poll_event())?;
        ensure!(wanted(&event), "{event:?}");
        Ok(event)
    }

    /// Goes on until the client waits for nothing but the time of its next refresh.
    fn settle(&mut self) -> anyhow::Result<()> {
        self.pump_until(|driver| match driver.client.poll(driver.now) {
            TurnPollRet::WaitUntil(next) => {
                (next.duration_since(driver.now) > STEP / 2).then_some(())
            }
            TurnPollRet::AllocateTcpSocket { .. } | TurnPollRet::TcpClose { .. } => None,
            TurnPollRet::Closed => Some(()),
        })
    }

    fn pump_until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> anyhow::Result<T> {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            self.pump()?;
            if let Some(value) = done(self) {
                return Ok(value);
            }
            ensure!(std::time::Instant::now() < deadline, "the client waits: {:?}", self.client);
        }
    }

    /// Sends what the client wants to send, and hands it what has come.
    fn pump(&mut self) -> anyhow::Result<()> {
        let _next = self.client.poll(self.now);
        while let Some(transmit) = self.client.poll_transmit(self.now) {
            self.link.send(&transmit.data)?;
        }
        if let Some(bytes) = self.link.receive()? {
            let (server, local) = (self.client.remote_addr(), self.client.local_addr());
            let transmit = Transmit::new(bytes, self.client.transport(), server, local);
            if let TurnRecvRet::PeerData(data) = self.client.recv(transmit, self.now) {
                self.received.push_back((data.peer, data.data().to_vec()));
            }
        } else {
            self.now += TURN;
        }
        while let Some(data) = self.client.poll_recv(self.now) {
            self.received.push_back((data.peer, data.data().to_vec()));
        }
        Ok(())
    }
}
