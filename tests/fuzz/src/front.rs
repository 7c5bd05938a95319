//! What stands before the server: the load balancer's header, TLS, DTLS, and how they are told
//! apart; a real worker on loopback.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use turn_auth::Credentials;
use turn_net::{Identity, ListenerSpec, Protocol, StreamLimits, Terms, Workers, bind};
use turn_proto::{Ledger, Limits, PeerPolicy, PortRange, Rate, RelayAddress, Settings};

/// How long a worker may take to answer before it is taken for dead.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A Binding request: a worker that answers it has seen what came before, or is about to.
const BINDING: [u8; 20] = *b"\0\x01\0\0\x21\x12\xA4\x42twelve bytes";

static FRONT: LazyLock<Front> = LazyLock::new(Front::start);

/// A worker, and where it listens.
struct Front {
    _workers: Workers,
    udp: SocketAddr,
    dtls: SocketAddr,
    /// For TCP and TLS.
    auto: SocketAddr,
    /// The same, behind a load balancer.
    balanced: SocketAddr,
}

/// What somebody sends to a listener, which the first byte chooses: portions, each with its length
/// before it. Whatever it is, the worker serves others after it.
pub fn front(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 3 {
        0 => datagrams(FRONT.dtls, rest),
        1 => stream(FRONT.auto, rest),
        _ => stream(FRONT.balanced, rest),
    }
    FRONT.serves();
}

/// Each portion, which is at most 255 bytes long.
fn portions(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, behind) = rest.split_first()?;
        let (portion, behind) = behind.split_at(usize::from(*len).min(behind.len()));
        rest = behind;
        Some(portion)
    })
}

fn datagrams(to: SocketAddr, rest: &[u8]) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    for portion in portions(rest) {
        // The buffer of loopback may be full.
        let _sent = socket.send_to(portion, to);
    }
}

fn stream(to: SocketAddr, rest: &[u8]) {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_nodelay(true).expect("an option");
    stream.set_nonblocking(true).expect("an option");
    for portion in portions(rest) {
        // It may have been refused already; and whoever sends too much at once is not waited for.
        if stream.write_all(portion).is_err() {
            return;
        }
    }
    // Not to its end: behind half a header the worker waits for the rest until it loses patience.
    FRONT.serves();
    let mut answer = [0; 4096];
    let _nothing_yet = stream.read(&mut answer);
}

impl Front {
    fn start() -> Self {
        let udp = free_port();
        let listen = |name: &str, protocol, address, proxies: &[&str]| ListenerSpec {
            name: name.to_owned(),
            protocol,
            address,
            proxies: proxies.iter().map(|range| range.parse().expect("a range")).collect(),
        };
        let (dtls, auto, balanced) = (free_port(), free_port(), free_port());
        let listeners = [
            listen("udp", Protocol::Udp, udp, &[]),
            listen("dtls", Protocol::Dtls, dtls, &[]),
            listen("auto", Protocol::Auto, auto, &[]),
            listen("balanced", Protocol::Auto, balanced, &["127.0.0.0/8"]),
        ];
        let bound = bind(&listeners, 1).expect("the ports were free a moment ago");
        let ip = udp.ip();
        let address = RelayAddress { local: ip, external: ip };
        let range = PortRange { from: 61_000, to: 61_001 };
        let ledger = Arc::new(Ledger::new(vec![address], range, 1, Instant::now()));
        let workers = Workers::start(bound, &terms(), &ledger, || Ok([7; 32])).expect("a thread");
        Self { _workers: workers, udp, dtls, auto, balanced }
    }

    /// Whether the worker is alive.
    fn serves(&self) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        socket.set_read_timeout(Some(TIMEOUT)).expect("an option");
        socket.send_to(&BINDING, self.udp).expect("loopback");
        let mut answer = [0; 100];
        let mut answered = socket.recv_from(&mut answer);
        // libFuzzer's clock ticks by a signal.
        while answered.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {
            answered = socket.recv_from(&mut answer);
        }
        assert!(answered.is_ok(), "the worker does not answer: {answered:?}");
    }
}

fn terms() -> Terms {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let limits = Limits {
        allocations_per_user: 1,
        allocations: 1,
        permissions_per_allocation: 1,
        channels_per_allocation: 1,
        unauthenticated_replies_per_second_per_prefix: u32::MAX,
        new_peers_per_second: 1,
        allocation_rate: Rate::default(),
        user_rate: Rate::default(),
        relay_rate: Rate::default(),
    };
    let credentials = Credentials::new("front", Vec::new(), []);
    Terms {
        settings: Arc::new(Settings::new(credentials, PeerPolicy::default(), limits)),
        limits: StreamLimits {
            pending_per_prefix: 10_000,
            pending_timeout: Duration::from_millis(100),
            queue_bytes: 10_000,
            associations: 1000,
        },
        identity: Some(Identity::from_pem(certificate.as_bytes(), key.as_bytes()).expect("both")),
    }
}

/// A port that is free for TCP and, most likely, for UDP.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("it has an address")
}
