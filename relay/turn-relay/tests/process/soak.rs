//! A crowd of clients that come and go, crash and lie.
//!
//! As a test it is over when each of them has had some sessions. `TURNPIKE_SOAK_MINUTES` makes it
//! last, with a line of what is held each minute, and then it waits until what was left behind by
//! clients that crashed has expired. After ten minutes as much expires as is left behind: from then
//! on memory has to be flat.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use turn_proto::{DropReason, EndReason, Refusal};

use crate::{
    caller::{Caller, DtlsVersion, Over, PEERS},
    relay::{Relay, free_port, listener},
};

const CLIENTS: u64 = 6;

/// Sessions of each client, when no time is given.
const SESSIONS: u64 = 25;

/// What the heap of a relay may move by between two looks, in KiB.
const SLACK_KIB: u64 = 4096;

/// The minutes at which memory is looked at first, when allocations have begun to expire.
const SETTLED: std::ops::Range<usize> = 11..14;

/// Allocations live so long without a refresh, and a tick of the timer more.
const LIFETIME: Duration = Duration::from_secs(602);

/// What clients have done.
#[derive(Default)]
struct Deeds {
    allocated: AtomicU64,
    /// Left to expire.
    abandoned: AtomicU64,
    echoes: AtomicU64,
    lies: AtomicU64,
}

/// When it is over.
#[derive(Clone, Copy)]
enum Until {
    Sessions(u64),
    Time(Instant),
}

impl Until {
    fn goes_on(self, session: u64) -> bool {
        match self {
            Self::Sessions(most) => session < most,
            Self::Time(end) => Instant::now() < end,
        }
    }
}

fn minutes() -> Option<u64> {
    let text = std::env::var("TURNPIKE_SOAK_MINUTES").ok()?;
    let minutes = text.parse().ok().filter(|minutes| *minutes > SETTLED.end as u64);
    let wanted = format!("must be a number above {}", SETTLED.end);
    Some(minutes.unwrap_or_else(|| panic!("TURNPIKE_SOAK_MINUTES: {text:?} {wanted}")))
}

#[test]
fn a_crowd_that_comes_goes_crashes_and_lies_leaves_nothing() {
    let minutes = minutes();
    let more = format!("{PEERS}limits: {{allocationsPerUser: 100000, allocations: 100000}}\n");
    let secure = free_port();
    let mut relay = Relay::start_with(|files| {
        files.more = more;
        files.listeners.extend(["TLS", "DTLS"].map(|protocol| listener(protocol, secure)));
    });
    relay.until("empty", |relay| relay.metric("turn_allocations") == 0);
    let ports = relay.metric("turn_relay_ports_free");
    // The first sessions make caches and buffers as large as they will be.
    let (warm, _) = run(&relay, secure, Until::Sessions(3));
    let before = relay.resident_kib();
    let until = minutes.map_or(Until::Sessions(SESSIONS), |minutes| {
        Until::Time(Instant::now() + Duration::from_secs(60 * minutes))
    });
    let (deeds, each_minute) = run(&relay, secure, until);
    let abandoned = [&warm, &deeds].map(|deeds| deeds.abandoned.load(Ordering::Relaxed));
    let left = settle(&mut relay, abandoned.iter().sum(), minutes.is_some());
    relay.until("of a port each", |relay| relay.metric("turn_relay_ports_free") == ports - left);
    relay.until("adding up", |relay| {
        relay.metric("turn_allocations_made_total") == all_ended(relay) + left
    });
    let made = [&warm, &deeds].map(|deeds| deeds.allocated.load(Ordering::Relaxed));
    assert!(relay.metric("turn_allocations_made_total") >= made.iter().sum());
    assert!(relay.metric(&refused(Refusal::Unauthenticated)) > deeds.lies.load(Ordering::Relaxed));
    match each_minute.get(SETTLED) {
        Some(settled) => assert_flat(settled, &each_minute[each_minute.len() - SETTLED.len()..]),
        None => {
            let after = relay.resident_kib();
            let may = before + SLACK_KIB + 8 * left;
            assert!(after <= may, "{after} KiB after {before} KiB, {}", told(&deeds));
        }
    }
}

fn assert_flat(early: &[u64], late: &[u64]) {
    let (most_early, most_late) = (early.iter().max(), late.iter().max());
    let may = most_early.map(|most| most + SLACK_KIB);
    assert!(most_late <= may.as_ref(), "{late:?} KiB after {early:?} KiB");
}

/// Lets the clients have their sessions. What they have done, and how much memory the relay held at
/// the end of each minute.
fn run(relay: &Relay, secure: u16, until: Until) -> (Arc<Deeds>, Vec<u64>) {
    let deeds = Arc::new(Deeds::default());
    let mut each_minute = Vec::new();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let deeds = Arc::clone(&deeds);
                scope.spawn(move || sessions(&Place { relay, secure }, client, until, &deeds))
            })
            .collect();
        let mut next = Instant::now() + Duration::from_secs(60);
        while clients.iter().any(|client| !client.is_finished()) {
            thread::sleep(Duration::from_millis(50));
            if Instant::now() >= next {
                next += Duration::from_secs(60);
                each_minute.push(relay.resident_kib());
                tell(relay, &deeds);
            }
        }
    });
    (deeds, each_minute)
}

fn tell(relay: &Relay, deeds: &Deeds) {
    let held = relay.metric("turn_allocations");
    let dropped: Vec<_> = DropReason::ALL
        .map(|reason| {
            (
                reason.label(),
                format!("turn_messages_dropped_total{{reason=\"{}\"}}", reason.label()),
            )
        })
        .into_iter()
        .map(|(label, metric)| (label, relay.metric(&metric)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let kib = relay.resident_kib();
    let line = format!("{kib} KiB, {held} held, {}, dropped {dropped:?}\n", told(deeds));
    let _nobody_reads = std::io::stderr().write_all(line.as_bytes());
}

fn told(deeds: &Deeds) -> String {
    let [allocated, abandoned, echoes, lies] =
        [&deeds.allocated, &deeds.abandoned, &deeds.echoes, &deeds.lies]
            .map(|deed| deed.load(Ordering::Relaxed));
    format!("{allocated} allocated, {abandoned} abandoned, {echoes} echoes, {lies} lies")
}

/// Where clients go.
struct Place<'r> {
    relay: &'r Relay,
    /// The port of TLS and DTLS.
    secure: u16,
}

impl Place<'_> {
    fn plain(&self) -> SocketAddr {
        self.relay.server()
    }

    fn secure(&self) -> SocketAddr {
        SocketAddr::new(self.plain().ip(), self.secure)
    }
}

fn sessions(place: &Place<'_>, client: u64, until: Until, deeds: &Deeds) {
    let mut rng = StdRng::seed_from_u64(client);
    let mut session = 0;
    while until.goes_on(session) {
        session += 1;
        if rng.random_range(0..4) == 0 {
            lie(place, &mut rng);
            deeds.lies.fetch_add(1, Ordering::Relaxed);
        } else {
            call(place, client, &mut rng, deeds);
        }
    }
}

/// One honest session, which may end without a goodbye.
fn call(place: &Place<'_>, client: u64, rng: &mut StdRng, deeds: &Deeds) {
    let over = match rng.random_range(0..4) {
        0 => Over::Udp(place.plain()),
        1 => Over::Tcp(place.plain()),
        2 => Over::Tls(place.secure(), &rustls::version::TLS13),
        _ => Over::Dtls(place.secure(), DtlsVersion::Either),
    };
    let mut caller = Caller::allocate(place.relay, over, &format!("client-{client}"));
    deeds.allocated.fetch_add(1, Ordering::Relaxed);
    let echoes = rng.random_range(1..20);
    for _ in 0..echoes {
        caller.echo();
    }
    deeds.echoes.fetch_add(echoes, Ordering::Relaxed);
    let crashes = rng.random_range(0..3) == 0;
    match over {
        // Each holds a port for ten minutes: not so many that the others find none.
        Over::Udp(_) if crashes && rng.random_range(0..10) == 0 => {
            deeds.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        // A stream that ends says so by itself.
        Over::Tcp(_) | Over::Tls(..) if crashes => {}
        Over::Dtls(..) if crashes => caller.hang_up(),
        Over::Udp(_) | Over::Tcp(_) | Over::Tls(..) | Over::Dtls(..) => caller.leave(),
    }
}

/// Somebody who is no client: wrong passwords, bytes that are nothing, streams that stop.
fn lie(place: &Place<'_>, rng: &mut StdRng) {
    let mut bytes = vec![0; rng.random_range(1..600)];
    rng.fill_bytes(&mut bytes);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for first in [0, 0x16, 0x40, 0xFF] {
        bytes[0] = first;
        for server in [place.plain(), place.secure()] {
            socket.send_to(&bytes, server).expect("sent");
            if let Ok(mut stream) = TcpStream::connect(server) {
                let _reset_by_the_relay = stream.write_all(&bytes);
            }
        }
    }
    let wrong = place.relay.echo(turn_probe::Transport::Udp, "south");
    assert!(wrong.is_err(), "a wrong secret lets nobody in");
}

/// Waits for what expires; how many allocations are left.
fn settle(relay: &mut Relay, abandoned: u64, patient: bool) -> u64 {
    if patient {
        let deadline = Instant::now() + LIFETIME;
        while relay.metric("turn_allocations") > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_secs(1));
        }
        relay.until("empty", |relay| relay.metric("turn_allocations") == 0);
        return 0;
    }
    relay.until("settled", |relay| relay.metric("turn_allocations") == abandoned);
    abandoned
}

fn all_ended(relay: &Relay) -> u64 {
    let name = |reason: EndReason| {
        format!("turn_allocations_ended_total{{reason=\"{}\"}}", reason.label())
    };
    EndReason::ALL.into_iter().map(|reason| relay.metric(&name(reason))).sum()
}

fn refused(refusal: Refusal) -> String {
    format!("turn_requests_refused_total{{reason=\"{}\"}}", refusal.label())
}
