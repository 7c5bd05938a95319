use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;
use crate::clients::counts::{ALLOCATED, BINDINGS, CHALLENGED, REFUSED, WRONG_CREDENTIALS};

/// A quarter of an hour, and what it takes until a bucket is full.
const SOON: u64 = 15 + 5;

fn listeners() -> Vec<Listener> {
    let of = |name: &str, transport, port| Listener { name: name.into(), transport, port };
    vec![of("udp", Transport::Udp, 3478), of("tls", Transport::Tls, 443)]
}

/// What comes to one listener in each minute: as [`ListenerClients::steps`].
type PerMinute = [u64; 5];

/// Clients that begin and allocate.
const fn clients(count: u64) -> PerMinute {
    let mut minute = [0; 5];
    minute[CHALLENGED] = count;
    minute[ALLOCATED] = count;
    minute
}

const NOBODY: PerMinute = [0; 5];

/// Nobody comes to the UDP listener of relay a, but a stranger who looks for open relays.
fn stranger_at_a(relay: &str, minute: u64) -> [PerMinute; 2] {
    let mut stranger = NOBODY;
    (stranger[BINDINGS], stranger[CHALLENGED]) = (1, u64::from(minute.is_multiple_of(5)));
    if relay == "a" && minute.is_multiple_of(3) {
        [stranger, clients(2)]
    } else {
        but_at_a(NOBODY)(relay, minute)
    }
}

struct Scene {
    clients: Clients,
    now: Instant,
    minutes: u64,
    relays: BTreeMap<&'static str, ClientCounts>,
    hastened: Vec<Place>,
}

impl Scene {
    fn new() -> Self {
        let relays = ["a", "b"].map(|relay| (relay, none_yet())).into();
        let (clients, now) = (Clients::default(), Instant::now());
        let mut scene = Self { clients, now, minutes: 0, relays, hastened: Vec::new() };
        scene.tell();
        scene
    }

    fn tell(&mut self) {
        for (relay, counts) in &self.relays {
            assert!(counts.is_plausible());
            self.clients.record(&(*relay).into(), counts, &listeners(), self.now);
        }
        self.hastened.extend(self.clients.review(&listeners(), self.now));
    }

    /// Lets minutes go by, in each of which so much comes to a relay over UDP and over TLS; how many it
    /// took until something was told, if it was.
    fn pass(&mut self, minutes: u64, comes: impl Fn(&str, u64) -> [PerMinute; 2]) -> Option<u64> {
        let mut told = None;
        for minute in 1..=minutes {
            self.minutes += 1;
            for (relay, counts) in &mut self.relays {
                for (listener, steps) in counts.listeners.iter_mut().zip(comes(relay, self.minutes))
                {
                    listener.add(steps);
                }
            }
            self.wait_a_minute();
            if told.is_none() && self.clients.signs().next().is_some() {
                told = Some(minute);
            }
        }
        told
    }

    fn wait_a_minute(&mut self) {
        for _ in 0..4 {
            self.now += Duration::from_secs(15);
            self.tell();
        }
    }

    /// Each minute, allocations from each network: over UDP and over TLS.
    fn allocate(&mut self, minutes: u64, from: &[(&str, u64, u64)]) -> Option<u64> {
        let mut told = None;
        for minute in 1..=minutes {
            for counts in self.relays.values_mut() {
                for (network, udp, tls) in from {
                    counts.allocate(network.parse().expect("a network"), *udp, *tls);
                }
            }
            self.wait_a_minute();
            if told.is_none() && self.clients.signs().next().is_some() {
                told = Some(minute);
            }
        }
        told
    }

    fn says(&self) -> Vec<String> {
        self.clients.signs().map(|sign| format!("{}: {}", sign.kind, sign.says)).collect()
    }
}

fn none_yet() -> ClientCounts {
    let of = |listener: Listener| ListenerClients {
        name: listener.name.as_ref().to_owned(),
        transport: listener.transport,
        bindings: 0,
        challenged: 0,
        wrong_credentials: 0,
        refused: 0,
        allocated: 0,
    };
    ClientCounts { listeners: listeners().into_iter().map(of).collect(), ..ClientCounts::default() }
}

impl ListenerClients {
    fn add(&mut self, steps: PerMinute) {
        self.bindings += steps[BINDINGS];
        self.challenged += steps[CHALLENGED];
        self.wrong_credentials += steps[WRONG_CREDENTIALS];
        self.refused += steps[REFUSED];
        self.allocated += steps[ALLOCATED];
    }
}

impl ClientCounts {
    fn allocate(&mut self, network: Network, udp: u64, tls: u64) {
        if !self.networks.iter().any(|of| of.network == network) {
            let allocated = ByTransport::default();
            self.networks.push(NetworkClients { network, allocated });
        }
        for of in self.networks.iter_mut().filter(|of| of.network == network) {
            of.allocated.udp += udp;
            of.allocated.tls += tls;
        }
    }
}

fn busy(_: &str, _: u64) -> [PerMinute; 2] {
    [clients(2); 2]
}

/// All is as [`busy`] but at the UDP listener of relay a.
fn but_at_a(comes: PerMinute) -> impl Fn(&str, u64) -> [PerMinute; 2] {
    move |relay, _| if relay == "a" { [comes, clients(2)] } else { [clients(2); 2] }
}

#[test]
fn a_listener_that_falls_silent_is_told_within_a_quarter_of_an_hour_until_somebody_comes() {
    for began in 0..5 {
        let mut scene = Scene::new();
        assert_eq!(scene.pass(50 + began, busy), None);
        let told = scene.pass(SOON, stranger_at_a);
        assert!(told.is_some_and(|minutes| minutes <= 15), "{told:?}");
        let says = scene.says();
        assert!(says.len() == 1 && says[0].starts_with("ListenerFellSilent: relay a (UDP 3478) "));
        assert_eq!(scene.hastened, [("a".into(), ("udp".into(), Transport::Udp))]);
        scene.pass(120, but_at_a(NOBODY));
        assert_eq!(scene.says(), says, "the same words while it lasts");
        scene.pass(1, busy);
        assert_eq!(scene.says(), [""; 0]);
        assert_eq!(scene.pass(60, busy), None);
    }
}

#[test]
fn the_only_relay_is_compared_with_itself() {
    let mut scene = Scene::new();
    scene.relays.remove("b");
    scene.pass(60, busy);
    assert!(scene.pass(SOON, but_at_a(NOBODY)).is_some());
}

#[test]
fn a_quiet_night_is_no_sign() {
    let mut scene = Scene::new();
    scene.pass(60, busy);
    assert_eq!(scene.pass(600, |_, _| [NOBODY; 2]), None);
    assert_eq!(scene.pass(60, busy), None);
}

#[test]
fn an_evening_on_which_clients_of_one_relay_go_home_one_by_one_is_no_sign() {
    let mut scene = Scene::new();
    scene.pass(60, busy);
    let start = scene.minutes;
    // Ten in five minutes, then nine, and so on.
    let dwindles = move |relay: &str, minute: u64| {
        let bucket = (minute - start) / 5;
        let comes = u64::from((minute - start) % 5 < 10_u64.saturating_sub(bucket).div_ceil(2));
        if relay == "a" { [clients(comes), clients(2)] } else { [clients(2); 2] }
    };
    assert_eq!(scene.pass(200, dwindles), None);
}

/// Clients come by chance, many by day and few by night, at each listener on its own.
#[test]
fn three_months_of_chance_are_no_sign() {
    for most_in_five_minutes in [6.0, 12.0, 40.0] {
        let mut scene = Scene::new();
        let rng = std::cell::RefCell::new(StdRng::from_seed([7; 32]));
        let comes = |_: &str, minute: u64| {
            let day = (minute as f64 / 1440.0 * std::f64::consts::TAU).sin();
            let in_a_minute = most_in_five_minutes / 5.0 * (1.0 + day) / 2.0;
            [(); 2].map(|()| {
                let tries = (0..100).map(|_| rng.borrow_mut().random_bool(in_a_minute / 100.0));
                clients(tries.map(u64::from).sum())
            })
        };
        let told = scene.pass(90 * 1440, comes);
        assert_eq!(told, None, "{:?}", scene.says());
    }
}

#[test]
fn where_few_come_nothing_is_told() {
    let mut scene = Scene::new();
    // Three in five minutes.
    let few = |_: &str, minute: u64| [clients(u64::from(minute % 5 < 3)); 2];
    scene.pass(120, few);
    let one_less = move |relay: &str, minute| {
        if relay == "a" { [NOBODY, few(relay, minute)[1]] } else { few(relay, minute) }
    };
    assert_eq!(scene.pass(120, one_less), None);
    let unanswered = move |relay: &str, minute: u64| {
        let mut lost = NOBODY;
        lost[CHALLENGED] = u64::from(minute % 5 < 3);
        if relay == "a" { [lost, few(relay, minute)[1]] } else { few(relay, minute) }
    };
    assert_eq!(scene.pass(120, unanswered), None);
}

#[test]
fn a_restart_is_no_sign_and_hides_none() {
    let mut scene = Scene::new();
    scene.pass(60, busy);
    for _ in 0..8 {
        scene.relays.insert("a", none_yet());
        assert_eq!(scene.pass(7, busy), None);
    }
    scene.pass(60, busy);
    scene.relays.insert("a", none_yet());
    assert!(scene.pass(SOON, but_at_a(NOBODY)).is_some());
}

#[test]
fn who_was_not_asked_for_a_while_is_judged_later() {
    let mut scene = Scene::new();
    scene.pass(60, busy);
    let a = scene.relays.remove("a").expect("a relay");
    assert_eq!(scene.pass(20, busy), None);
    scene.relays.insert("a", a);
    assert_eq!(scene.pass(40, but_at_a(NOBODY)), None, "nobody knows whether it was busy");
}

#[test]
fn clients_that_do_not_come_back_are_told_of_and_what_becomes_of_them() {
    let (mut lost, mut wrong, mut refused) = (NOBODY, NOBODY, clients(2));
    lost[CHALLENGED] = 7;
    (wrong[CHALLENGED], wrong[WRONG_CREDENTIALS]) = (4, 4);
    (refused[ALLOCATED], refused[REFUSED]) = (0, 2);
    for (comes, part) in [(lost, "challenged (401) and do not come back"), (wrong, "credentials")] {
        let mut scene = Scene::new();
        assert_eq!(scene.pass(30, busy), None);
        let told = scene.pass(SOON, but_at_a(comes));
        assert!(told.is_some_and(|minutes| minutes <= SOON), "{told:?}");
        let says = scene.says();
        let [only] = &*says else { panic!("{says:?}") };
        assert!(only.starts_with("ClientsGiveUp: clients of relay a (UDP 3478) "), "{only}");
        assert!(only.contains(part), "{only}");
        scene.pass(60, but_at_a(comes));
        assert_eq!(scene.says(), says);
        scene.pass(10, busy);
        assert_eq!(scene.says(), [""; 0]);
    }
    // A relay that is full has clients that came.
    let mut scene = Scene::new();
    assert_eq!(scene.pass(60, but_at_a(refused)), None);
}

#[test]
fn bindings_that_never_become_allocates_are_told_of() {
    let mut scene = Scene::new();
    let mut with_bindings = clients(2);
    with_bindings[BINDINGS] = 3;
    assert_eq!(scene.pass(60, but_at_a(with_bindings)), None);
    let mut bindings = NOBODY;
    bindings[BINDINGS] = 3;
    let told = scene.pass(SOON, but_at_a(bindings));
    assert!(told.is_some_and(|minutes| minutes <= 15), "{told:?}");
    assert!(scene.says()[0].starts_with("ClientsGiveUp: "), "{:?}", scene.says());
    scene.pass(1, busy);
    assert_eq!(scene.says(), [""; 0]);
    // Who asks for his address and no more never was one that allocates.
    let mut scene = Scene::new();
    assert_eq!(scene.pass(120, but_at_a(bindings)), None);
}

/// Three networks, and what comes from each in a minute.
const USUAL: [(&str, u64, u64); 3] =
    [("10.1.0.0/16", 1, 1), ("10.2.0.0/16", 1, 1), ("2001:db8::/32", 1, 0)];
const MOBILE: &str = "10.9.0.0/16";

fn with(udp: u64, tls: u64) -> Vec<(&'static str, u64, u64)> {
    USUAL.into_iter().chain([(MOBILE, udp, tls)]).collect()
}

#[test]
fn a_network_to_which_udp_is_closed_is_told_within_twenty_minutes_until_it_is_open() {
    let mut scene = Scene::new();
    assert_eq!(scene.allocate(60, &with(1, 1)), None);
    let told = scene.allocate(25, &with(0, 2));
    assert!(told.is_some_and(|minutes| minutes <= 20), "{told:?}");
    let says = scene.says();
    let [only] = &*says else { panic!("{says:?}") };
    let begin = "NetworkWithoutUDP: no client of network 10.9.0.0/16 comes over UDP";
    assert!(only.starts_with(begin) && only.ends_with("see that it is handed out TLS 443"));
    scene.allocate(120, &with(0, 2));
    assert_eq!(scene.says(), says);
    scene.allocate(1, &with(1, 1));
    assert_eq!(scene.says(), [""; 0]);
    assert_eq!(scene.allocate(60, &with(1, 1)), None);
}

#[test]
fn a_network_of_few_clients_or_among_others_without_udp_is_not_told_of() {
    let mut scene = Scene::new();
    // Sixteen in an hour.
    for _ in 0..32 {
        assert_eq!(scene.allocate(1, &with(0, 1)), None);
        assert_eq!(scene.allocate(14, &USUAL), None);
    }
    let mut scene = Scene::new();
    let none_has = USUAL.map(|(network, _, tls)| (network, 0, tls + 1));
    assert_eq!(scene.allocate(120, &none_has), None);
    let mut scene = Scene::new();
    let one_has = [("10.1.0.0/16", 9, 1), ("10.2.0.0/16", 0, 9), ("10.3.0.0/16", 0, 9)];
    assert_eq!(scene.allocate(120, &one_has), None);
}

#[test]
fn a_relay_that_lies_about_networks_takes_no_more_room_than_others() {
    let mut scene = Scene::new();
    for round in 0..20_u8 {
        let counts = scene.relays.get_mut("a").expect("a relay");
        counts.networks.clear();
        for low in 0..=255 {
            counts.allocate(Network::of([round, low, 0, 0].into()), u64::MAX / 2, u64::MAX / 2);
        }
        scene.tell();
        scene.now += REVIEW_EVERY;
    }
    assert_eq!(scene.clients.relays["a"].networks.len(), MOST_NETWORKS);
}

#[test]
fn what_is_forgotten_is_not_told() {
    let mut scene = Scene::new();
    scene.pass(60, busy);
    scene.pass(SOON, but_at_a(NOBODY));
    scene.clients.forget("a");
    scene.now += REVIEW_EVERY;
    scene.clients.review(&listeners(), scene.now);
    assert_eq!(scene.clients.signs().count(), 0);
}
