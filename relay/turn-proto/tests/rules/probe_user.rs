//! What a prober may do: a credential that lies in many places is worth nothing but a probe.

use turn_proto::{DropReason, FiveTuple, Rate, RelayedAddr, TcpRelaying};
use turn_wire::{
    AttributeType, Method,
    attribute::{
        EvenPort, Lifetime, MobilityTicket, RelayPort, RequestedTransport, ReservationToken,
        XorRelayedAddress,
    },
};

use crate::harness::{Answer, Got, Sent, Signing, World, addr, tcp, udp};

const CLIENT: &str = "8.8.4.4:5000";
const ITSELF: &str = "8.8.4.4:7000";
const ELSEWHERE: &str = "9.9.9.9:7000";
const OWN: &str = "198.51.100.1";

/// An Allocate of a prober, or of a client.
fn ask(world: &mut World, from: &FiveTuple, signing: &Signing, port: Option<u16>) -> Answer {
    let request = world.signed(signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put_some(port.map(RelayPort).as_ref())
    });
    world.ask(from, &request)
}

fn allocate(world: &mut World, client: &str, label: &str) -> (FiveTuple, Signing, RelayedAddr) {
    let from = udp(client);
    let signing = world.signing_of_probe(&from, label);
    let answer = ask(world, &from, &signing, None);
    assert_eq!(answer.code(), 0);
    (from, signing, RelayedAddr(relayed(&answer)))
}

fn relayed(answer: &Answer) -> std::net::SocketAddr {
    answer.get::<XorRelayedAddress>().expect("a relayed address").0
}

#[test]
fn a_prober_reaches_itself_alone_whatever_else_is_allowed() {
    let mut world = World::with(|settings| {
        settings.peers.allow = vec!["0.0.0.0/0".parse().expect("a network")];
    });
    let (from, signing, relayed) = allocate(&mut world, CLIENT, "a");
    for peer in [ELSEWHERE, "10.0.0.1:53", "8.8.4.5:7000", "127.0.0.1:80"] {
        assert_eq!(world.permit(&from, &signing, &[peer]), 403, "{peer}");
        assert_eq!(world.permit(&from, &signing, &[ITSELF, peer]), 403, "{peer} beside itself");
        assert_eq!(world.bind(&from, &signing, 0x4001, peer), 403, "{peer}");
        let unpermitted = Sent::Dropped(DropReason::NoPermissionOutbound);
        assert_eq!(world.send(&from, peer, b"out"), unpermitted, "{peer}");
        let unpermitted = Got::Dropped(DropReason::NoPermissionInbound);
        assert_eq!(world.arrive(relayed, peer, b"in"), unpermitted, "{peer}");
    }
    assert_eq!(world.permit(&from, &signing, &[ITSELF]), 0);
    assert_eq!(world.bind(&from, &signing, 0x4001, ITSELF), 0);
    assert_eq!(
        world.send(&from, "8.8.4.4:1", b"out"),
        Sent::To(addr("8.8.4.4:1"), b"out".to_vec())
    );
    assert_eq!(world.send_on(&from, 0x4001, b"out"), Sent::To(addr(ITSELF), b"out".to_vec()));
    assert_eq!(world.arrive(relayed, ITSELF, b"in").channel_data(), (0x4001, b"in".to_vec()));
}

#[test]
fn a_prober_reaches_itself_where_its_address_is_denied() {
    let mut world = World::with(|settings| {
        settings.peers.deny = vec!["10.0.0.0/8".parse().expect("a network")];
    });
    let (from, signing, relayed) = allocate(&mut world, "10.7.7.7:5000", "a");
    assert_eq!(world.permit(&from, &signing, &["10.7.7.7:7000"]), 0);
    let sent = world.send(&from, "10.7.7.7:7000", b"out");
    assert_eq!(sent, Sent::To(addr("10.7.7.7:7000"), b"out".to_vec()));
    assert_eq!(world.arrive(relayed, "10.7.7.7:7000", b"in").indication().1, b"in");
    assert_eq!(world.permit(&from, &signing, &["10.7.7.8:7000"]), 403);
    world.reload(|settings| {
        settings.peers.deny = vec!["10.7.7.7/32".parse().expect("a network")];
    });
    let sent = world.send(&from, "10.7.7.7:7000", b"out");
    assert!(matches!(sent, Sent::To(..)), "a reload changes nothing: {sent:?}");
}

#[test]
fn of_the_relay_itself_a_prober_reaches_live_relayed_addresses() {
    let mut world = World::with(|settings| {
        settings.peers.allow = vec!["198.51.100.0/24".parse().expect("a network")];
    });
    let (from, signing, relayed) = allocate(&mut world, CLIENT, "a");
    let (_, _, other) = allocate(&mut world, ITSELF, "a");
    assert_eq!(world.permit(&from, &signing, &[&other.0.to_string()]), 0);
    let sent = world.send(&from, &other.0.to_string(), b"out");
    assert_eq!(sent, Sent::To(other.0, b"out".to_vec()));
    assert_eq!(world.arrive(relayed, &other.0.to_string(), b"in").indication().1, b"in");
    let dead = (61_000..61_064).find(|port| ![relayed, other].iter().any(|a| a.0.port() == *port));
    for port in [3478, 53, dead.expect("many are free")] {
        let peer = format!("{OWN}:{port}");
        assert_eq!(world.send(&from, &peer, b"out"), Sent::Dropped(DropReason::PeerPortDenied));
        let got = world.arrive(relayed, &peer, b"in");
        assert_eq!(got, Got::Dropped(DropReason::PeerPortDenied), "{peer}");
    }
}

#[test]
fn a_relay_that_probes_itself_is_judged_as_before() {
    let own = "198.51.100.1:7000";
    for (allowed, expected) in [(false, false), (true, true)] {
        let mut world = World::with(|settings| {
            if allowed {
                settings.peers.allow = vec!["198.51.100.1/32".parse().expect("a network")];
            }
        });
        let (from, signing, _) = allocate(&mut world, "198.51.100.1:5000", "a");
        assert_eq!(world.permit(&from, &signing, &[own]), 0);
        let sent = world.send(&from, own, b"out");
        assert_eq!(matches!(sent, Sent::To(..)), expected, "{sent:?}");
        let listener = world.send(&from, "198.51.100.1:3478", b"out");
        assert_eq!(listener, Sent::Dropped(DropReason::PeerPortDenied));
    }
}

#[test]
fn a_client_s_credential_with_a_prober_s_name_gets_401() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "turnpike-probe:a");
    assert_eq!(ask(&mut world, &from, &signing, None).code(), 401);
    let signing = world.signing_of_probe(&from, "a");
    assert_eq!(ask(&mut world, &from, &signing, None).code(), 0);
}

#[test]
fn one_prober_has_eight_allocations_whatever_clients_may_have() {
    let mut world = World::with(|settings| {
        settings.limits.allocations = 1000;
        settings.limits.allocations_per_user = 1;
    });
    for port in 1..=8 {
        allocate(&mut world, &format!("8.8.4.4:{port}"), "a");
    }
    let from = udp("8.8.4.4:9");
    let signing = world.signing_of_probe(&from, "a");
    assert_eq!(ask(&mut world, &from, &signing, None).code(), 486);
    let (other, signing_b, _) = allocate(&mut world, "8.8.4.4:10", "b");
    assert_eq!(world.refresh(&other, &signing_b, Some(0)).code(), 0);
    world.pass(61);
    assert_eq!(world.ledger.allocations(), 0);
    let signing = world.signing_of_probe(&from, "a");
    assert_eq!(ask(&mut world, &from, &signing, None).code(), 0);
}

#[test]
fn all_probers_have_64_allocations_and_clients_the_rest() {
    let range = turn_proto::PortRange { from: 61_000, to: 61_999 };
    let mut world = World::on(&[OWN], range);
    world.reload(|settings| settings.limits.allocations = 1000);
    for number in 0..64 {
        allocate(&mut world, &format!("8.8.4.4:{}", 1 + number), &format!("{}", number / 8));
    }
    let from = udp("8.8.4.4:100");
    let signing = world.signing_of_probe(&from, "another");
    assert_eq!(ask(&mut world, &from, &signing, None).code(), 486);
    world.allocate(&udp("8.8.4.4:101"), "alice");
    world.pass(61);
    let signing = world.signing_of_probe(&from, "another");
    assert_eq!(ask(&mut world, &from, &signing, None).code(), 0, "they come back");
}

#[test]
fn a_relay_that_is_full_or_drains_refuses_probers_as_it_does_others() {
    let mut world = World::with(|settings| settings.limits.allocations = 1);
    let (_, _, _) = allocate(&mut world, CLIENT, "a");
    let from = udp(ITSELF);
    let signing = world.signing_of_probe(&from, "a");
    assert_eq!(ask(&mut world, &from, &signing, None).code(), 508);
    let mut world = World::new();
    world.server.drain();
    let signing = world.signing_of_probe(&from, "a");
    assert_eq!(ask(&mut world, &from, &signing, None).code(), 508);
}

#[test]
fn a_prober_s_allocation_lives_for_a_minute() {
    let mut world = World::new();
    let from = udp(CLIENT);
    for asked in [None, Some(0), Some(30), Some(3600)] {
        let signing = world.signing_of_probe(&from, "a");
        let request = world.signed(&signing, Method::ALLOCATE, |writer| {
            writer.put(&RequestedTransport::UDP).put_some(asked.map(Lifetime).as_ref())
        });
        let answer = world.ask(&from, &request);
        assert_eq!(answer.get::<Lifetime>(), Some(Lifetime(60)), "{asked:?}");
        world.pass(50);
        let answer = world.refresh(&from, &signing, Some(3600));
        assert_eq!(answer.get::<Lifetime>(), Some(Lifetime(60)));
        world.pass(50);
        assert_eq!(world.ledger.allocations(), 1);
        world.pass(11);
        assert_eq!(world.ledger.allocations(), 0);
    }
}

#[test]
fn a_prober_s_allocation_ends_with_its_credential() {
    let mut world = World::new();
    let (from, signing, _) = allocate(&mut world, CLIENT, "a");
    for _ in 0..5 {
        world.pass(50);
        assert_eq!(world.refresh(&from, &signing, None).code(), 0);
    }
    world.pass(50);
    assert_eq!(world.refresh(&from, &signing, None).code(), 401);
}

#[test]
fn a_prober_gets_no_reservation_no_connections_and_no_ticket() {
    let mut world = World::with(|settings| {
        settings.tcp_relaying = Some(TcpRelaying { peers_per_allocation: 8, peers: 8 });
    });
    let from = tcp(CLIENT);
    let signing = world.signing_of_probe(&from, "a");
    let free = world.ledger.free_ports();
    let even = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put(&EvenPort { reserve: true })
    });
    let token = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put(&ReservationToken([1; 8]))
    });
    let streams =
        world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::TCP));
    let ticket = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put(&MobilityTicket(&[]))
    });
    for (request, code) in [(even, 508), (token, 508), (streams, 442), (ticket, 405)] {
        assert_eq!(world.ask(&from, &request).code(), code);
    }
    assert_eq!((world.ledger.free_ports(), world.ledger.allocations()), (free, 0));
    assert_eq!(ask(&mut world, &from, &signing, None).code(), 0);
    for method in [Method::CONNECT, Method::CONNECTION_BIND] {
        let request = world.signed(&signing, method, |writer| writer);
        assert_eq!(world.ask(&from, &request).code(), 400);
    }
}

#[test]
fn what_a_prober_relays_is_limited_each_way_and_less_where_the_relay_says_so() {
    let passed = |rate: Rate, len: usize| {
        let mut world = World::with(|settings| settings.limits.allocation_rate = rate);
        let (from, signing, relayed) = allocate(&mut world, CLIENT, "a");
        assert_eq!(world.permit(&from, &signing, &[ITSELF]), 0);
        let data = vec![0; len];
        let (mut out, mut back) = (0, 0);
        for _ in 0..1000 {
            out += u32::from(matches!(world.send(&from, ITSELF, &data), Sent::To(..)));
            back += u32::from(matches!(world.arrive(relayed, ITSELF, &data), Got::Bytes(..)));
            world.pass_millis(1);
        }
        assert_eq!(out, back);
        out
    };
    // A second, and the burst of half a second.
    assert!((149..=152).contains(&passed(Rate::default(), 10)));
    assert!((47..=50).contains(&passed(Rate::default(), 1000)));
    let slow = Rate { bits_per_second: None, packets_per_second: Some(10) };
    assert!((15..=17).contains(&passed(slow, 10)));
}

#[test]
fn a_prober_gets_the_port_that_it_wishes_for_if_it_is_free() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing_of_probe(&from, "a");
    let answer = ask(&mut world, &from, &signing, Some(61_007));
    assert_eq!(relayed(&answer).port(), 61_007);
    let from = udp(ITSELF);
    for wished in [61_007, 61_064, 3478, 0] {
        let signing = world.signing_of_probe(&from, "a");
        let answer = ask(&mut world, &from, &signing, Some(wished));
        let port = relayed(&answer).port();
        assert!((61_000..=61_063).contains(&port) && port != wished, "{wished}: {port}");
        assert_eq!(world.refresh(&from, &signing, Some(0)).code(), 0);
    }
}

#[test]
fn a_wished_port_that_another_program_has_is_exchanged_for_another() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing_of_probe(&from, "a");
    world.taken_ports = 1;
    let answer = ask(&mut world, &from, &signing, Some(61_007));
    assert_eq!(answer.code(), 0);
    assert_ne!(relayed(&answer).port(), 61_007);
}

#[test]
fn a_client_s_wish_for_a_port_is_passed_over() {
    let mut ports = Vec::new();
    for number in 0..4 {
        let mut world = World::new();
        let from = udp(CLIENT);
        // Draws some first, so that not each world draws the same.
        (0..number).for_each(|port| {
            world.allocate(&udp(&format!("8.8.8.8:{}", 1 + port)), &format!("u{port}"));
        });
        let signing = world.signing(&from, "alice");
        let answer = ask(&mut world, &from, &signing, Some(61_007));
        assert_eq!(answer.code(), 0, "it need not be understood");
        ports.push(relayed(&answer).port());
    }
    assert!(ports.iter().any(|port| *port != 61_007), "{ports:?}");
}

#[test]
fn a_wish_that_cannot_be_read_is_none() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing_of_probe(&from, "a");
    let kind = AttributeType(0xED90);
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put_raw(kind, b"?")
    });
    assert_eq!(world.ask(&from, &request).code(), 0);
}
