//! No datagram costs an allocation of memory.
//!
//! A real worker on loopback, a client of it over UDP or TCP, and a peer. After some rounds that fill
//! what is filled once, an allocator counts what the threads named `worker-*` ask of it (`alloc`,
//! `alloc_zeroed` and `realloc`) while thousands of datagrams go both ways, in bursts that the client
//! keeps up with; nothing else is asked of the relay meanwhile. The count has to be zero.
//!
//! Not covered, on purpose: requests, which do allocate, and a TCP client that reads too slowly,
//! whose frames are queued on the heap, within a limit.
#![expect(unsafe_code, reason = "a global allocator is unsafe by its nature")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use turn_auth::Secret;
use turn_client::{Client, Config, Event, FrameBuffer, Input, Profile};
use turn_net::{ListenerSpec, Protocol, Snapshot, StreamLimits, Terms, Workers, bind};
use turn_proto::{Ledger, Limits, PeerPolicy, PortRange, Rate, RelayAddress, Settings};

/// The relay and its clients.
const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The peer: beside the relay, so that it is not one of the relay's own addresses.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

const REALM: &str = "turnpike";
const USER: &str = "user";
const PASSWORD: &str = "password";

/// What each datagram carries, in bytes: not a multiple of four, so that padding is needed too.
const PAYLOAD_LEN: usize = 161;
/// Datagrams at once: more than a relayed socket gives in one batch.
const BURST: usize = 20;
/// Rounds of a burst each way that are not counted.
const WARM_UP: usize = 20;
/// Rounds that are counted: 5,000 datagrams each way.
const ROUNDS: usize = 250;
/// How long a datagram may take over loopback.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The system's allocator, with a count.
struct Counting;

/// Whether allocations are counted now.
static ARMED: AtomicBool = AtomicBool::new(false);
/// What workers have asked for while they were.
static COUNT: AtomicU64 = AtomicU64::new(0);
/// One test at a time: all workers in this process count.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

fn count() {
    if ARMED.load(Ordering::Relaxed) && is_worker() {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether this thread is a worker by its name, which the kernel is asked for: the standard library
/// might allocate.
fn is_worker() -> bool {
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes, which is the buffer's length.
    let result = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    result == 0 && name.starts_with(b"worker-")
}

/// How many allocations workers make meanwhile.
fn count_while(action: impl FnOnce()) -> u64 {
    COUNT.store(0, Ordering::SeqCst);
    ARMED.store(true, Ordering::SeqCst);
    action();
    ARMED.store(false, Ordering::SeqCst);
    COUNT.load(Ordering::SeqCst)
}

/// How a client sends, and is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Channel,
    Indication,
}

/// What lies between client and relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Udp,
    Tcp,
}

#[test]
fn channel_data_over_udp_costs_no_allocation() {
    check(Over::Udp, Mode::Channel);
}

#[test]
fn indications_over_udp_cost_no_allocation() {
    check(Over::Udp, Mode::Indication);
}

#[test]
fn channel_data_over_tcp_costs_no_allocation() {
    check(Over::Tcp, Mode::Channel);
}

#[test]
fn indications_over_tcp_cost_no_allocation() {
    check(Over::Tcp, Mode::Indication);
}

/// Without this the tests above would pass on an allocator that counts nothing.
#[test]
fn a_worker_that_allocates_is_counted_and_no_other_thread_is() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let allocations = |name: &str| {
        count_while(|| {
            let allocate = || drop(std::hint::black_box(vec![1_u8; 100]));
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(allocate);
            thread.expect("a thread").join().expect("no panic");
        })
    };
    assert!(allocations("worker-7") >= 1);
    assert_eq!(allocations("other"), 0);
}

fn check(over: Over, mode: Mode) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (workers, server) = start(over);
    let mut pair = Pair::new(server, over, mode);
    for _ in 0..WARM_UP {
        pair.round();
    }
    let before = workers.snapshot().expect("it runs");
    let allocations = count_while(|| (0..ROUNDS).for_each(|_| pair.round()));
    let after = workers.snapshot().expect("it runs");
    let relayed = (BURST * ROUNDS) as u64;
    let grown = |of: fn(&Snapshot) -> u64| of(&after) - of(&before);
    assert_eq!(grown(|snapshot| snapshot.counters.to_peers.datagrams), relayed);
    assert_eq!(grown(|snapshot| snapshot.counters.to_clients.datagrams), relayed);
    assert_eq!(allocations, 0, "for {relayed} datagrams each way over {over:?} in {mode:?}");
}

/// A relay with one worker, and where it listens.
fn start(over: Over) -> (Workers, SocketAddr) {
    let port = free_port(over);
    let address = SocketAddr::new(RELAY, port);
    let protocol = match over {
        Over::Udp => Protocol::Udp,
        Over::Tcp => Protocol::Tcp,
    };
    let listener = ListenerSpec { name: "test".to_owned(), protocol, address, proxies: Vec::new() };
    let bound = bind(&[listener], 1).expect("the port was free a moment ago");
    let password = Secret::from_file(PASSWORD.as_bytes()).expect("not empty");
    let settings = Settings::new(
        turn_auth::Credentials::new(REALM, Vec::new(), [(USER, &password)]),
        PeerPolicy {
            allow: vec!["127.0.0.2/32".parse().expect("a network")],
            own: vec![RELAY],
            ..PeerPolicy::default()
        },
        Limits {
            allocations_per_user: 1,
            allocations: 1,
            permissions_per_allocation: 1,
            channels_per_allocation: 1,
            unauthenticated_replies_per_second_per_prefix: 100,
            new_peers_per_second: 100,
            allocation_rate: Rate::default(),
            user_rate: Rate::default(),
            relay_rate: Rate::default(),
        },
    );
    let limits = StreamLimits {
        pending_per_prefix: 10,
        pending_timeout: TIMEOUT,
        queue_bytes: 1 << 18,
        associations: 1,
    };
    let relay_ports = PortRange { from: 61_000, to: 65_535 };
    let own = vec![RelayAddress { local: RELAY, external: RELAY }];
    let ledger = Arc::new(Ledger::new(own, relay_ports, 1, Instant::now()));
    let terms = Terms { settings: Arc::new(settings), limits, identity: None };
    let workers = Workers::start(bound, &terms, &ledger, || Ok([7; 32])).expect("a thread");
    (workers, address)
}

fn free_port(over: Over) -> u16 {
    let any = (RELAY, 0);
    let address = match over {
        Over::Udp => UdpSocket::bind(any).and_then(|socket| socket.local_addr()),
        Over::Tcp => std::net::TcpListener::bind(any).and_then(|socket| socket.local_addr()),
    };
    address.expect("a free port").port()
}

/// A client's connection to the relay.
enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream, FrameBuffer),
}

impl Link {
    fn connect(server: SocketAddr, over: Over) -> io::Result<Self> {
        match over {
            Over::Udp => {
                let socket = UdpSocket::bind((RELAY, 0))?;
                socket.connect(server)?;
                socket.set_read_timeout(Some(TIMEOUT))?;
                Ok(Self::Udp(socket))
            }
            Over::Tcp => {
                let stream = TcpStream::connect(server)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                Ok(Self::Tcp(stream, FrameBuffer::new()))
            }
        }
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(message).map(|_| ()),
            Self::Tcp(stream, _) => stream.write_all(message),
        }
    }

    /// The next message; an error when none comes in time.
    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 4096];
        match self {
            Self::Udp(socket) => {
                let len = socket.recv(&mut buffer)?;
                Ok(buffer[..len].to_vec())
            }
            Self::Tcp(stream, frames) => loop {
                if let Some(frame) = frames.next_frame().map_err(io::Error::other)? {
                    return Ok(frame.to_vec());
                }
                match stream.read(&mut buffer)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    len => frames.push(&buffer[..len]),
                }
            },
        }
    }
}

/// A client with an allocation, and its peer.
struct Pair {
    client: Client,
    link: Link,
    peer: UdpSocket,
    peer_address: SocketAddr,
    relayed: SocketAddr,
}

impl Pair {
    fn new(server: SocketAddr, over: Over, mode: Mode) -> Self {
        let link = Link::connect(server, over).expect("the relay listens");
        let client = Client::new(Config {
            server,
            transport: match over {
                Over::Udp => turn_client::Transport::Udp,
                Over::Tcp => turn_client::Transport::Stream,
            },
            credentials: turn_client::Credentials::new(USER, PASSWORD).expect("a short name"),
            profile: Profile::RFC,
            seed: [3; 32],
        });
        let peer = UdpSocket::bind((PEER, 0)).expect("a port of loopback");
        peer.set_read_timeout(Some(TIMEOUT)).expect("a time-out");
        let peer_address = peer.local_addr().expect("bound");
        let relayed = SocketAddr::new(RELAY, 0);
        let mut pair = Self { client, link, peer, peer_address, relayed };
        pair.allocate(mode);
        pair
    }

    fn allocate(&mut self, mode: Mode) {
        self.client.allocate(Instant::now(), None, None).expect("none yet");
        let event = self.next_event();
        let Event::Allocated { relayed, .. } = event else { panic!("no allocation: {event:?}") };
        self.relayed = relayed;
        match mode {
            Mode::Channel => {
                self.client.bind_channel(Instant::now(), self.peer_address).expect("a channel");
                assert!(matches!(self.next_event(), Event::ChannelBound { .. }));
            }
            Mode::Indication => {
                self.client.create_permission(Instant::now(), self.peer_address).expect("asked");
                assert!(matches!(self.next_event(), Event::PermissionInstalled { .. }));
            }
        }
    }

    /// Talks with the relay until something has come of the last operation.
    fn next_event(&mut self) -> Event {
        loop {
            while let Some(message) = self.client.poll_transmit() {
                let message = message.to_vec();
                self.link.send(&message).expect("sent");
            }
            if let Some(event) = self.client.poll_event() {
                return event;
            }
            let message = self.link.receive().expect("an answer");
            self.client.handle_input(Instant::now(), &message);
        }
    }

    /// A burst each way, at the same time, and its arrival.
    fn round(&mut self) {
        let payload = [0x5a; PAYLOAD_LEN];
        let mut message = [0; PAYLOAD_LEN + 100];
        for _ in 0..BURST {
            let now = Instant::now();
            let written = self.client.send(now, self.peer_address, &payload, &mut message);
            self.link.send(&message[..written.expect("there is room")]).expect("sent");
            self.peer.send_to(&payload, self.relayed).expect("sent");
        }
        for _ in 0..BURST {
            let mut received = [0; PAYLOAD_LEN + 1];
            let (len, from) = self.peer.recv_from(&mut received).expect("nothing is lost here");
            assert_eq!((&received[..len], from), (&payload[..], self.relayed));
            let message = self.link.receive().expect("nothing is lost here");
            let input = self.client.handle_input(Instant::now(), &message);
            let Input::Data { peer, payload: data, .. } = input else {
                panic!("not a peer's datagram: {input:?}")
            };
            assert_eq!((peer, data), (self.peer_address, &payload[..]));
        }
    }
}
