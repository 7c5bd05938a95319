//! Two relayed transport addresses, one of each family (RFC 8656, section 7.2).

use std::net::SocketAddr;

use turn_proto::{EndReason, PortRange, RelayedAddr};
use turn_wire::{
    Method,
    attribute::{
        AdditionalAddressFamily, AddressErrorCode, DraftAdditionalAddressFamily, EvenPort, Family,
        Lifetime, RequestedAddressFamily, RequestedTransport, ReservationToken, XorRelayedAddress,
    },
};

use crate::harness::{Answer, Got, Sent, Signing, World, addr, udp};

const CLIENT: &str = "8.8.4.4:5000";
const PEER_V4: &str = "9.9.9.9:7000";
const PEER_V6: &str = "[2a00::9]:7000";
const BOTH: AdditionalAddressFamily = AdditionalAddressFamily(Some(Family::V6));

fn allocate_both(world: &mut World) -> (Signing, Answer) {
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put(&BOTH)
    });
    let answer = world.ask(&from, &request);
    (signing, answer)
}

fn relayed(answer: &Answer) -> Vec<SocketAddr> {
    answer.message().all::<XorRelayedAddress>().map(|found| found.expect("an address").0).collect()
}

fn refresh(world: &mut World, signing: &Signing, family: Family, seconds: u32) -> u16 {
    let request = world.signed(signing, Method::REFRESH, |writer| {
        writer.put(&RequestedAddressFamily(Some(family))).put(&Lifetime(seconds))
    });
    world.ask(&udp(CLIENT), &request).code()
}

#[test]
fn the_number_of_the_draft_gets_both_too_and_is_no_error_where_it_does_not_fit() {
    let draft = DraftAdditionalAddressFamily(Some(Family::V6));
    let mut world = World::new();
    let signing = world.signing(&udp(CLIENT), "alice");
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put(&draft)
    });
    assert_eq!(relayed(&world.ask(&udp(CLIENT), &request)).len(), 2);
    let request = |world: &mut World, even: bool| {
        let signing = world.signing(&udp(CLIENT), "alice");
        world.signed(&signing, Method::ALLOCATE, |writer| {
            let writer = writer.put(&RequestedTransport::UDP).put(&draft);
            if even {
                writer.put(&EvenPort { reserve: true })
            } else {
                writer.put(&RequestedAddressFamily(Some(Family::V6)))
            }
        })
    };
    for even in [false, true] {
        let mut world = World::new();
        let request = request(&mut world, even);
        assert_eq!(relayed(&world.ask(&udp(CLIENT), &request)).len(), 1);
    }
}

#[test]
fn a_client_that_asks_for_both_families_gets_both() {
    let mut world = World::new();
    let (signing, answer) = allocate_both(&mut world);
    assert_eq!(answer.code(), 0);
    let found = relayed(&answer);
    assert_eq!(found.len(), 2);
    assert!(found[0].is_ipv4() && found[1].is_ipv6(), "{found:?}");
    assert_eq!(answer.get::<AddressErrorCode<'_>>(), None);
    assert_eq!(world.ledger.allocations(), 1, "it is one allocation");
    let from = udp(CLIENT);
    for (peer, relayed) in [(PEER_V4, found[0]), (PEER_V6, found[1])] {
        assert_eq!(world.permit(&from, &signing, &[peer]), 0);
        assert_eq!(world.send(&from, peer, b"hi"), Sent::To(addr(peer), b"hi".to_vec()));
        let got = world.arrive(RelayedAddr(relayed), peer, b"ho");
        assert_eq!(got.indication(), (addr(peer), b"ho".to_vec()));
    }
    assert_eq!(world.bind(&from, &signing, 0x4001, PEER_V6), 0);
    assert!(matches!(world.send_on(&from, 0x4001, b"hi"), Sent::To(..)));
}

#[test]
fn each_family_is_refreshed_and_ended_by_itself() {
    let mut world = World::new();
    let (signing, answer) = allocate_both(&mut world);
    let found = relayed(&answer);
    let from = udp(CLIENT);
    assert_eq!(world.permit(&from, &signing, &[PEER_V4, PEER_V6]), 0);
    assert_eq!(refresh(&mut world, &signing, Family::V6, 0), 0);
    assert_eq!(world.closed, [EndReason::Deleted]);
    assert_eq!(world.permit(&from, &signing, &[PEER_V6]), 443, "there is no such address now");
    assert!(matches!(world.send(&from, PEER_V6, b"hi"), Sent::Dropped(_)));
    assert!(matches!(world.send(&from, PEER_V4, b"hi"), Sent::To(..)));
    assert!(matches!(world.arrive(RelayedAddr(found[0]), PEER_V4, b"ho"), Got::Bytes(..)));
    assert_eq!(refresh(&mut world, &signing, Family::V6, 600), 443);
    assert_eq!(world.ledger.allocations(), 1);
    assert_eq!(refresh(&mut world, &signing, Family::V4, 0), 0);
    assert_eq!((world.ledger.allocations(), world.ledger.free_ports()), (0, 128));
}

#[test]
fn each_family_expires_at_its_own_time() {
    let mut world = World::new();
    let (signing, _) = allocate_both(&mut world);
    world.pass(300);
    assert_eq!(refresh(&mut world, &signing, Family::V6, 600), 0);
    world.pass(301);
    assert_eq!(world.closed, [EndReason::Expired], "IPv4, and the allocation goes on");
    assert_eq!(world.ledger.allocations(), 1);
    world.pass(300);
    assert_eq!(world.closed.len(), 2);
    assert_eq!((world.ledger.allocations(), world.ledger.free_ports()), (0, 128));
    assert_eq!(world.server.counters().ended[EndReason::Expired as usize], 1);
}

#[test]
fn a_refresh_without_a_family_is_for_both() {
    let mut world = World::new();
    let (signing, _) = allocate_both(&mut world);
    world.pass(500);
    assert_eq!(world.refresh(&udp(CLIENT), &signing, None).code(), 0);
    world.pass(500);
    assert_eq!(world.closed, []);
    assert_eq!(world.refresh(&udp(CLIENT), &signing, Some(0)).code(), 0);
    assert_eq!(world.closed.len(), 2);
}

#[test]
fn a_family_that_is_not_to_be_had_is_named_and_the_other_is_given() {
    let mut world = World::on(&["198.51.100.1"], PortRange { from: 61_000, to: 61_003 });
    let (_, answer) = allocate_both(&mut world);
    assert_eq!(answer.code(), 0);
    assert!(relayed(&answer).iter().all(SocketAddr::is_ipv4));
    let missing = answer.get::<AddressErrorCode<'_>>().expect("named");
    assert_eq!((missing.family, missing.code), (Family::V6, 440));
}

#[test]
fn a_family_whose_ports_are_taken_is_named_and_the_other_is_given() {
    let addresses = ["198.51.100.1", "2001:db8::1"];
    let mut world = World::on(&addresses, PortRange { from: 61_000, to: 61_000 });
    world.taken_ports = 1;
    let (_, answer) = allocate_both(&mut world);
    assert_eq!(answer.code(), 0);
    assert!(relayed(&answer).iter().all(SocketAddr::is_ipv6));
    let missing = answer.get::<AddressErrorCode<'_>>().expect("named");
    assert_eq!((missing.family, missing.code), (Family::V4, 508));
    assert_eq!(world.ledger.free_ports(), 1);
}

#[test]
fn nothing_is_held_when_neither_family_is_to_be_had() {
    let addresses = ["198.51.100.1", "2001:db8::1"];
    let mut world = World::on(&addresses, PortRange { from: 61_000, to: 61_000 });
    world.taken_ports = 2;
    let (_, answer) = allocate_both(&mut world);
    assert_eq!(answer.code(), 508);
    assert_eq!((world.ledger.allocations(), world.ledger.free_ports()), (0, 2));
}

#[test]
fn what_contradicts_two_families_is_a_bad_request() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    let family = RequestedAddressFamily(Some(Family::V6));
    let udp_transport = RequestedTransport::UDP;
    let requests = [
        world.signed(&signing, Method::ALLOCATE, |w| w.put(&udp_transport).put(&BOTH).put(&family)),
        world.signed(&signing, Method::ALLOCATE, |w| {
            w.put(&udp_transport).put(&AdditionalAddressFamily(Some(Family::V4)))
        }),
        world.signed(&signing, Method::ALLOCATE, |w| {
            w.put(&udp_transport).put(&AdditionalAddressFamily(None))
        }),
        world.signed(&signing, Method::ALLOCATE, |w| {
            w.put(&udp_transport).put(&BOTH).put(&EvenPort { reserve: true })
        }),
        world.signed(&signing, Method::ALLOCATE, |w| {
            w.put(&udp_transport).put(&BOTH).put(&ReservationToken([1; 8]))
        }),
        world.signed(&signing, Method::ALLOCATE, |w| {
            w.put(&udp_transport).put(&family).put(&ReservationToken([1; 8]))
        }),
    ];
    for (index, request) in requests.iter().enumerate() {
        assert_eq!(world.ask(&from, request).code(), 400, "request {index}");
    }
}
