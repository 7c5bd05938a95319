//! TCP relaying (RFC 6062): connections to and from peers, through a relay of several workers.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Instant,
};

use rustls::version::TLS13;
use socket2::{Domain, Socket, Type};
use turn_auth::{Secret, TimeLimitedCredential, UnixSeconds};
use turn_client::{
    Client, Config, ConnectionId, Credentials, Event, Failure, FrameBuffer, Profile, Transport,
};

use crate::{
    caller::{PEERS, connect, tls},
    relay::{Relay, SOON, free_port, listener},
};

/// Where peers are: beside the relay, so that they are not at one of its own addresses.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

const RELAYS_TCP: &str = "features: {tcpRelaying: true}\nworkers: 3\n";

/// So many connections that the kernel gives more than one worker some.
const CONNECTIONS: usize = 12;

fn relay() -> Relay {
    relay_with("")
}

fn relay_with(more: &str) -> Relay {
    Relay::start(&format!("{PEERS}{RELAYS_TCP}{more}"))
}

/// One connection to the relay, and the messages on it.
struct Line<S> {
    client: Client,
    stream: S,
    frames: FrameBuffer,
}

impl<S: Read + Write> Line<S> {
    fn new(relay: &Relay, stream: S) -> Self {
        let secret = Secret::from_file(b"north").expect("a secret");
        let minted = TimeLimitedCredential::mint(&secret, "alice", UnixSeconds(4_000_000_000));
        let client = Client::new(Config {
            server: relay.server(),
            transport: Transport::Stream,
            credentials: Credentials::new(minted.username, minted.password).expect("short"),
            profile: Profile::RFC,
            seed: rand::random(),
        });
        Self { client, stream, frames: FrameBuffer::new() }
    }

    fn next_event(&mut self) -> Event {
        loop {
            while let Some(message) = self.client.poll_transmit() {
                self.stream.write_all(message).expect("sent");
            }
            if let Some(event) = self.client.poll_event() {
                return event;
            }
            // One at a time: what stands behind the last answer is no message.
            if let Some(frame) = self.frames.next_frame().expect("messages") {
                self.client.handle_input(Instant::now(), frame);
                continue;
            }
            let mut read = [0; 4096];
            let len = self.stream.read(&mut read).expect("an answer");
            assert!(len > 0, "the relay has ended the connection");
            self.frames.push(&read[..len]);
        }
    }

    /// Binds a connection to a peer: a stream of the peer's bytes.
    fn bind(mut self, connection: ConnectionId) -> Bound<S> {
        self.client.bind_connection(Instant::now(), connection);
        let event = self.next_event();
        assert_eq!(event, Event::ConnectionBound { connection });
        Bound { early: self.frames.rest().to_vec(), stream: self.stream }
    }
}

/// A client's half of a connection to a peer.
struct Bound<S> {
    /// What came in one read with the answer.
    early: Vec<u8>,
    stream: S,
}

impl<S: Read> Bound<S> {
    fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.early);
        let early = bytes.len();
        bytes.resize(len, 0);
        self.stream.read_exact(&mut bytes[early..]).expect("the peer's bytes");
        bytes
    }

    /// All that is still to come.
    fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.early);
        self.stream.read_to_end(&mut bytes).expect("an end, in good order");
        bytes
    }
}

/// A client with an allocation that relays connections.
struct Control {
    line: Line<TcpStream>,
    relayed: SocketAddr,
}

impl Control {
    fn allocate(relay: &Relay) -> Self {
        let mut line = Line::new(relay, connect(relay.server()));
        line.client.allocate_streams(Instant::now(), None, None).expect("none yet");
        let event = line.next_event();
        let Event::Allocated { relayed, .. } = event else { panic!("no allocation: {event:?}") };
        Self { line, relayed }
    }

    fn connect(&mut self, peer: SocketAddr) -> ConnectionId {
        self.line.client.connect(Instant::now(), peer).expect("there is an allocation");
        let event = self.line.next_event();
        let Event::Connected { connection, .. } = event else { panic!("no connection: {event:?}") };
        connection
    }

    fn permit(&mut self, peer: SocketAddr) {
        self.line.client.create_permission(Instant::now(), peer).expect("an allocation");
        let event = self.line.next_event();
        assert!(matches!(event, Event::PermissionInstalled { .. }), "{event:?}");
    }

    /// A connection to a peer, bound: the client's end and the peer's.
    fn reach(&mut self, relay: &Relay) -> (Bound<TcpStream>, TcpStream) {
        let peer = peer();
        let connection = self.connect(peer.local_addr().expect("bound"));
        let (there, from) = peer.accept().expect("it connects");
        assert_eq!(from, self.relayed);
        there.set_read_timeout(Some(SOON)).expect("set");
        let here = Line::new(relay, connect(relay.server())).bind(connection);
        (here, there)
    }
}

fn peer() -> TcpListener {
    TcpListener::bind((PEER, 0)).expect("a port of loopback")
}

/// Connects as a peer does.
fn come(to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(PEER, 0).into()).expect("an address of loopback");
    socket.connect(&to.into()).expect("it listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).expect("set");
    stream
}

fn until_none(relay: &mut Relay) {
    relay.until("ended", |relay| relay.metric("turn_peer_connections") == 0);
}

fn ended(relay: &Relay, reason: &str) -> u64 {
    relay.metric(&format!("turn_peer_connections_ended_total{{reason=\"{reason}\"}}"))
}

/// Bytes that show whether one is missing or out of place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8).collect()
}

#[test]
fn bytes_go_both_ways_whichever_worker_a_connection_comes_to() {
    let mut relay = relay();
    for _ in 0..CONNECTIONS {
        let (mut control, peer) = (Control::allocate(&relay), peer());
        let connection = control.connect(peer.local_addr().expect("bound"));
        let (mut there, from) = peer.accept().expect("it connects");
        assert_eq!(from, control.relayed, "from the relayed address");
        there.write_all(b"first").expect("sent before anybody has bound it");
        let line = Line::new(&relay, connect(relay.server()));
        let mut here = line.bind(connection);
        assert_eq!(here.read(5), b"first", "behind the answer");
        here.stream.write_all(b"question").expect("sent");
        let mut received = [0; 8];
        there.read_exact(&mut received).expect("the client's bytes");
        assert_eq!(&received, b"question");
        there.write_all(b"answer").expect("sent");
        assert_eq!(here.read(6), b"answer");
    }
    until_none(&mut relay);
    assert_eq!(relay.metric("turn_peer_connections_bound_total"), CONNECTIONS as u64);
    let relayed =
        |to| relay.metric(&format!("turn_relayed_stream_bytes_total{{direction=\"{to}\"}}"));
    assert_eq!(relayed("to_peer"), 8 * CONNECTIONS as u64);
    assert_eq!(relayed("to_client"), 11 * CONNECTIONS as u64);
}

#[test]
fn a_peer_that_has_a_permission_connects_and_another_one_is_reset() {
    let relay = relay();
    let mut control = Control::allocate(&relay);
    let mut stranger = come(control.relayed);
    assert!(matches!(stranger.read(&mut [0; 1]), Ok(0) | Err(_)), "nobody has asked for it");
    control.permit(SocketAddr::new(PEER, 1));
    for _ in 0..CONNECTIONS {
        let mut there = come(control.relayed);
        let from = there.local_addr().expect("bound");
        let event = control.line.next_event();
        let Event::ConnectionAttempt { peer, connection } = event else {
            panic!("no attempt: {event:?}")
        };
        assert_eq!(peer, from);
        there.write_all(b"knock").expect("sent");
        let mut here = Line::new(&relay, connect(relay.server())).bind(connection);
        assert_eq!(here.read(5), b"knock");
    }
    let dropped = "turn_messages_dropped_total{reason=\"no_permission_inbound\"}";
    assert_eq!(relay.metric(dropped), 1);
}

#[test]
fn a_connection_is_bound_over_tls_too() {
    let port = free_port();
    let relay = Relay::start_with(|files| {
        files.listeners.push(listener("TLS", port));
        files.more = format!("{PEERS}{RELAYS_TCP}");
    });
    let mut control = Control::allocate(&relay);
    let sent = pattern(1_000_000);
    for _ in 0..3 {
        let peer = peer();
        let connection = control.connect(peer.local_addr().expect("bound"));
        let (mut there, _) = peer.accept().expect("it connects");
        let stream = tls(connect(relay.at(port)), relay.certificate(), &TLS13, &[b"stun.turn"]);
        let mut here = Line::new(&relay, stream).bind(connection);
        let bytes = sent.clone();
        let echo = thread::spawn(move || {
            let mut received = vec![0; bytes.len()];
            there.read_exact(&mut received).expect("the client's bytes");
            assert!(received == bytes, "as they were sent");
            there.write_all(&bytes).expect("sent");
        });
        here.stream.write_all(&sent).expect("sent");
        // The peer closes behind them, and the client hears that it does.
        assert!(here.read_to_end() == sent, "as they were sent");
        echo.join().expect("no panic");
    }
}

#[test]
fn the_end_of_one_direction_leaves_the_other_open() {
    let mut relay = relay();
    let mut control = Control::allocate(&relay);
    let (mut here, mut there) = control.reach(&relay);
    here.stream.write_all(b"all").expect("sent");
    here.stream.shutdown(Shutdown::Write).expect("open");
    let mut received = Vec::new();
    there.read_to_end(&mut received).expect("an end");
    assert_eq!(received, b"all");
    there.write_all(b"understood").expect("open still");
    drop(there);
    assert_eq!(here.read_to_end(), b"understood");
    until_none(&mut relay);
    assert_eq!(ended(&relay, "closed"), 1);
}

#[test]
fn when_either_connection_ends_so_does_the_other() {
    let mut relay = relay();
    let mut control = Control::allocate(&relay);
    let (mut here, there) = control.reach(&relay);
    drop(there);
    assert_eq!(here.read_to_end(), b"");
    drop(here);
    until_none(&mut relay);
    let (here, mut there) = control.reach(&relay);
    drop(here);
    assert_eq!(there.read(&mut [0; 1]).expect("an end"), 0);
    drop(there);
    until_none(&mut relay);
    assert_eq!(ended(&relay, "closed"), 2);
}

#[test]
fn connections_end_with_their_allocation_whichever_worker_serves_them() {
    let mut relay = relay();
    let (mut control, peer) = (Control::allocate(&relay), peer());
    let mut ends: Vec<_> = (0..6).map(|_| control.reach(&relay)).collect();
    let unbound = control.connect(peer.local_addr().expect("bound"));
    let (mut waiting, _) = peer.accept().expect("it connects");
    drop(control);
    for (here, there) in &mut ends {
        assert!(matches!(here.stream.read(&mut [0; 1]), Ok(0) | Err(_)));
        assert!(matches!(there.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    assert!(matches!(waiting.read(&mut [0; 1]), Ok(0) | Err(_)));
    until_none(&mut relay);
    assert_eq!(ended(&relay, "allocation_ended"), 7);
    relay.until("given back", |relay| relay.metric("turn_allocations") == 0);
    let mut late = Line::new(&relay, connect(relay.server()));
    late.client.bind_connection(Instant::now(), unbound);
    let event = late.next_event();
    let Event::Failed { failure: Failure::Refused { code: 400, .. }, .. } = event else {
        panic!("bound to nothing: {event:?}")
    };
}

#[test]
fn a_peer_that_does_not_listen_is_447() {
    let relay = relay();
    let mut control = Control::allocate(&relay);
    let nobody = peer().local_addr().expect("bound");
    control.line.client.connect(Instant::now(), nobody).expect("there is an allocation");
    let event = control.line.next_event();
    let Event::Failed { failure: Failure::Refused { code: 447, .. }, .. } = event else {
        panic!("connected to nobody: {event:?}")
    };
    assert_eq!(ended(&relay, "not_connected"), 1);
}

#[test]
fn what_is_over_the_rate_comes_later_and_whole() {
    let relay = relay_with("limits: {bitsPerSecondPerAllocation: 4000000}\n");
    let mut control = Control::allocate(&relay);
    let (mut here, mut there) = control.reach(&relay);
    let sent = pattern(600_000);
    let bytes = sent.clone();
    let writer = thread::spawn(move || there.write_all(&bytes).expect("sent"));
    assert!(here.read_to_end() == sent, "as they were sent");
    writer.join().expect("no panic");
}

#[test]
fn a_reader_that_is_slow_holds_the_writer_up_and_loses_nothing() {
    let relay = relay_with("limits: {bitsPerSecondPerAllocation: null}\n");
    let mut control = Control::allocate(&relay);
    let (mut here, mut there) = control.reach(&relay);
    // More than all buffers between the two hold.
    let sent = pattern(64 << 20);
    let bytes = sent.clone();
    let writer = thread::spawn(move || there.write_all(&bytes).expect("sent"));
    let first = here.read(1000);
    // Others are served meanwhile.
    let (mut other, mut elsewhere) = control.reach(&relay);
    elsewhere.write_all(b"meanwhile").expect("sent");
    assert_eq!(other.read(9), b"meanwhile");
    assert!(!writer.is_finished(), "so much fits nowhere");
    let rest = here.read_to_end();
    assert!([first, rest].concat() == sent, "as they were sent");
    writer.join().expect("no panic");
}

#[test]
fn switched_off_it_ends_what_there_is_of_it_and_nothing_else() {
    let mut relay = relay();
    let mut control = Control::allocate(&relay);
    let (mut here, _there) = control.reach(&relay);
    let mut datagrams =
        crate::caller::Caller::allocate(&relay, crate::caller::Over::Tcp(relay.server()), "bea");
    relay.configure(&format!("{PEERS}workers: 3\n"));
    relay.until_applied(1);
    assert!(matches!(here.stream.read(&mut [0; 1]), Ok(0) | Err(_)));
    until_none(&mut relay);
    datagrams.echo();
    assert_eq!(relay.metric("turn_allocations_ended_total{reason=\"disallowed\"}"), 1);
}
