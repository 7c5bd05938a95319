//! Allocate and Refresh.

use turn_proto::{EndReason, Refusal, RelayAddress};
use turn_wire::{
    AttributeType, Method, TransactionId,
    attribute::{
        DontFragment, EvenPort, Lifetime, RequestedAddressFamily, RequestedTransport,
        ReservationToken, UnknownAttributes, XorMappedAddress, XorRelayedAddress,
    },
};

use crate::harness::{World, addr, sign, tcp, udp};

const CLIENT: &str = "8.8.4.4:5000";

#[test]
fn a_success_has_all_that_libwebrtc_waits_for() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    // As libwebrtc's first one: only REQUESTED-TRANSPORT, and a private optional attribute.
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put_raw(AttributeType(0xC057), &[1, 2, 3])
    });
    let answer = world.ask(&from, &request);
    assert_eq!(answer.code(), 0);
    assert!(answer.message().verify_integrity(signing.key.as_bytes()));
    assert_eq!(answer.get::<XorMappedAddress>(), Some(XorMappedAddress(addr(CLIENT))));
    assert_eq!(answer.get::<Lifetime>(), Some(Lifetime(600)));
    let relayed = answer.get::<XorRelayedAddress>().expect("a relayed address").0;
    assert_eq!(relayed.ip(), addr("198.51.100.1:1").ip());
    assert!(world.ledger.port_range().contains(relayed.port()));
    assert!(!answer.message().has_fingerprint(), "none was asked for");
}

#[test]
fn fingerprint_is_answered_when_asked() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let bare = world.bare(Method::ALLOCATE, |writer| writer.put_fingerprint());
    assert!(world.ask(&from, &bare).message().has_fingerprint());
    let binding = world.bare(Method::BINDING, |writer| writer.put_fingerprint());
    assert!(world.ask(&from, &binding).message().has_fingerprint());
}

#[test]
fn the_family_is_ipv4_unless_asked_and_440_where_there_is_none() {
    use turn_wire::attribute::Family;
    let mut world = World::new();
    let mut family = |client: &str, asked: Option<Option<Family>>| {
        let from = udp(client);
        let signing = world.signing(&from, client);
        let request = world.signed(&signing, Method::ALLOCATE, |writer| {
            writer
                .put(&RequestedTransport::UDP)
                .put_some(asked.map(RequestedAddressFamily).as_ref())
        });
        let answer = world.ask(&from, &request);
        let relayed = answer.get::<XorRelayedAddress>();
        (answer.code(), relayed.map(|relayed| relayed.0.is_ipv4()))
    };
    assert_eq!(family("[2a00::1]:1", None), (0, Some(true)), "on an IPv6 listener too");
    assert_eq!(family("8.8.4.4:2", Some(Some(Family::V4))), (0, Some(true)));
    assert_eq!(family("8.8.4.4:3", Some(Some(Family::V6))), (0, Some(false)));
    assert_eq!(family("8.8.4.4:4", Some(None)), (440, None), "a family that is none");
}

#[test]
fn a_retransmitted_allocate_gets_the_same_success_and_a_different_one_437() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    let request =
        world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    let first = world.ask(&from, &request);
    assert_eq!(world.ask(&from, &request).0, first.0);
    let other =
        world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    let refused = world.ask(&from, &other);
    assert_eq!(refused.code(), 437);
    assert!(refused.message().verify_integrity(signing.key.as_bytes()));
    assert_eq!(world.open.len(), 1);
}

#[test]
fn what_is_asked_wrongly_is_refused_by_its_code() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    let mut code = |request: Vec<u8>| world.ask(&from, &request).code();
    let id = |n| TransactionId([n; 12]);
    let allocate = Method::ALLOCATE;
    assert_eq!(code(sign(id(101), &signing, allocate, |writer| writer)), 400, "no transport");
    assert_eq!(
        code(sign(id(102), &signing, allocate, |w| w.put(&RequestedTransport::TCP))),
        442,
        "TCP is not relayed"
    );
    assert_eq!(
        code(sign(id(104), &signing, allocate, |w| {
            w.put(&RequestedTransport::UDP).put(&ReservationToken([0; 8]))
        })),
        508,
        "no token is one of ours"
    );
    assert_eq!(
        code(sign(id(105), &signing, allocate, |w| {
            w.put(&RequestedTransport::UDP)
                .put(&ReservationToken([0; 8]))
                .put(&EvenPort { reserve: false })
        })),
        400,
        "both at once"
    );
}

#[test]
fn an_even_port_is_even() {
    let mut world = World::with(|settings| {
        settings.limits.allocations = 64;
        settings.limits.allocations_per_user = 64;
    });
    for port in 1..=32 {
        let from = udp(&format!("8.8.4.4:{port}"));
        let signing = world.signing(&from, "alice");
        let request = world.signed(&signing, Method::ALLOCATE, |writer| {
            writer.put(&RequestedTransport::UDP).put(&EvenPort { reserve: false })
        });
        let relayed = world.ask(&from, &request).get::<XorRelayedAddress>().expect("a port");
        assert_eq!(relayed.0.port() % 2, 0);
    }
    let from = udp("8.8.4.4:99");
    let signing = world.signing(&from, "alice");
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put(&EvenPort { reserve: false })
    });
    assert_eq!(world.ask(&from, &request).code(), 508, "the even ones are gone");
}

#[test]
fn an_attribute_that_must_be_understood_and_is_not_gets_420_and_is_named() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer
            .put(&RequestedTransport::UDP)
            .put(&DontFragment)
            .put_raw(AttributeType(0x7FFF), b"what")
    });
    let answer = world.ask(&from, &request);
    assert_eq!(answer.code(), 420);
    assert!(answer.message().verify_integrity(signing.key.as_bytes()));
    let unknown = answer.get::<UnknownAttributes<'_>>().expect("a list");
    assert_eq!(unknown.types().collect::<Vec<_>>(), [AttributeType(0x7FFF)]);
}

#[test]
fn the_lifetime_is_600_s_unless_more_is_asked_and_at_most_3600_s() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    let cases = [(None, 600), (Some(1), 600), (Some(777), 777), (Some(100_000), 3600)];
    for (asked, granted) in cases {
        let answer = world.refresh(&from, &signing, asked);
        assert_eq!(answer.get::<Lifetime>(), Some(Lifetime(granted)), "{asked:?}");
    }
}

#[test]
fn an_allocation_ends_late_and_never_early() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    world.pass_millis(599_999);
    assert_eq!(world.refresh(&from, &signing, None).code(), 0);
    world.pass_millis(600_000);
    assert_eq!(world.closed, [], "at its last moment it is still there");
    world.pass_millis(1_001);
    assert_eq!(world.closed, [EndReason::Expired]);
    assert_eq!(world.refresh(&from, &signing, None).code(), 437);
}

#[test]
fn a_refresh_prolongs_and_a_shorter_one_shortens() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    world.refresh(&from, &signing, Some(3600));
    world.pass(3000);
    assert_eq!(world.closed, []);
    world.refresh(&from, &signing, None);
    world.pass(599);
    assert_eq!(world.closed, []);
    world.pass(2);
    assert_eq!(world.closed, [EndReason::Expired], "600 s after the last refresh");
}

#[test]
fn lifetime_zero_deletes_and_gives_everything_back() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let before = world.ledger.free_ports();
    let (signing, _) = world.allocate(&from, "alice");
    assert_eq!((world.ledger.free_ports(), world.ledger.allocations()), (before - 1, 1));
    let answer = world.refresh(&from, &signing, Some(0));
    assert_eq!((answer.code(), answer.get::<Lifetime>()), (0, Some(Lifetime(0))));
    assert_eq!(world.closed, [EndReason::Deleted]);
    assert_eq!((world.ledger.free_ports(), world.ledger.allocations()), (before, 0));
    assert_eq!(world.refresh(&from, &signing, Some(0)).code(), 437);
    world.allocate(&from, "alice");
}

#[test]
fn the_end_of_a_connection_is_the_end_of_its_allocation() {
    let mut world = World::new();
    let (mine, other) = (tcp("8.8.4.4:1"), tcp("8.8.4.4:2"));
    world.allocate(&mine, "alice");
    let (signing, _) = world.allocate(&other, "alice");
    world.server.handle_disconnect(&mine);
    assert_eq!(world.refresh(&other, &signing, None).code(), 0);
    assert_eq!(world.closed, [EndReason::Disconnected]);
    assert_eq!(world.ledger.allocations(), 1);
}

#[test]
fn the_end_of_a_listener_is_the_end_of_the_allocations_that_came_through_it() {
    let mut world = World::new();
    let (mine, other) = (tcp("8.8.4.4:1"), udp("8.8.4.4:1"));
    world.allocate(&mine, "alice");
    let (signing, _) = world.allocate(&other, "alice");
    world.server.handle_listener_removed(|five_tuple| five_tuple.transport.is_stream());
    assert_eq!(world.refresh(&other, &signing, None).code(), 0);
    assert_eq!(world.closed, [EndReason::ListenerRemoved]);
    assert_eq!(world.ledger.allocations(), 1);
}

#[test]
fn a_port_that_another_program_has_is_passed_over() {
    let mut world = World::new();
    let before = world.ledger.free_ports();
    world.taken_ports = 15;
    world.allocate(&udp(CLIENT), "alice");
    assert_eq!(world.ledger.free_ports(), before - 1, "the others are given back");
    world.taken_ports = 16;
    let from = udp("8.8.4.4:5001");
    let signing = world.signing(&from, "alice");
    let request =
        world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    let answer = world.ask(&from, &request);
    assert_eq!(answer.code(), 508);
    assert!(answer.message().verify_integrity(signing.key.as_bytes()));
    assert_eq!((world.ledger.free_ports(), world.ledger.allocations()), (before - 1, 1));
    assert_eq!(world.refusals(Refusal::InsufficientCapacity), 1);
}

#[test]
fn peers_and_clients_see_the_public_address_of_a_relay_behind_a_nat() {
    let nat = RelayAddress {
        local: "10.0.0.1".parse().expect("an address"),
        external: "203.0.113.9".parse().expect("an address"),
    };
    let range = turn_proto::PortRange { from: 61_000, to: 61_001 };
    let ledger = turn_proto::Ledger::new(vec![nat], range, 1, World::new().now.instant);
    assert_eq!(ledger.is_live(&addr("203.0.113.9:61000")), Some(false));
    assert_eq!(ledger.is_live(&addr("10.0.0.1:61000")), Some(false));
    assert_eq!(ledger.is_live(&addr("8.8.8.8:61000")), None);
}

#[test]
fn a_draining_server_takes_no_new_allocation_and_serves_the_old() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    world.server.drain();
    assert_eq!(world.refresh(&from, &signing, None).code(), 0);
    let late = udp("8.8.4.4:5001");
    let signing = world.signing(&late, "carol");
    let request =
        world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    assert_eq!(world.ask(&late, &request).code(), 508);
    assert_eq!(world.server.allocations(), 1);
}
