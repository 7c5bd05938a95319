//! A server that is to end: where its clients go (RFC 8489, section 10).

use std::time::Duration;

use turn_proto::{Alternate, EndReason, FiveTuple, Transport};
use turn_wire::{
    Method,
    attribute::{AlternateDomain, AlternateServer, RequestedTransport},
};

use crate::harness::{Answer, World, addr, tcp, udp};

const CLIENT: &str = "8.8.4.4:5000";

fn alternate(transport: Transport, address: &str) -> Alternate {
    Alternate { transport, address: addr(address), domain: None }
}

/// A server that drains and knows these others.
fn draining(alternates: &[Alternate]) -> World {
    let mut world = World::with(|settings| settings.alternates = alternates.to_vec());
    world.server.drain();
    world
}

fn allocate(world: &mut World, from: &FiveTuple) -> Answer {
    let signing = world.signing(from, "alice");
    let request =
        world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    let answer = world.ask(from, &request);
    assert!(answer.message().verify_integrity(signing.key.as_bytes()));
    answer
}

#[test]
fn new_clients_are_sent_to_a_relay_of_their_transport_and_family() {
    let mut world = draining(&[
        alternate(Transport::Tcp, "203.0.113.7:3479"),
        alternate(Transport::Udp, "[2001:db8::7]:3478"),
        alternate(Transport::Udp, "203.0.113.7:3478"),
    ]);
    for (from, expected) in [
        (udp(CLIENT), "203.0.113.7:3478"),
        (tcp(CLIENT), "203.0.113.7:3479"),
        (udp("[2a00::4]:5000"), "[2001:db8::7]:3478"),
    ] {
        let answer = allocate(&mut world, &from);
        assert_eq!(answer.code(), 300);
        assert_eq!(answer.get::<AlternateServer>(), Some(AlternateServer(addr(expected))));
        assert_eq!(answer.get::<AlternateDomain<'_>>(), None);
    }
}

#[test]
fn without_a_relay_to_go_to_there_is_no_capacity() {
    let nowhere = [
        alternate(Transport::Tcp, "203.0.113.7:3478"),
        alternate(Transport::Udp, "[2001:db8::7]:3478"),
        alternate(Transport::Udp, "127.0.0.1:3478"),
        alternate(Transport::Udp, "198.51.100.1:3479"),
    ];
    let mut world = draining(&nowhere);
    assert_eq!(allocate(&mut world, &udp(CLIENT)).code(), 508, "loopback and itself are none");
    assert_eq!(allocate(&mut draining(&[]), &udp(CLIENT)).code(), 508);
}

#[test]
fn a_client_over_tls_is_sent_on_by_name_or_not_at_all() {
    let at = |domain: Option<&str>| Alternate {
        domain: domain.map(str::to_owned),
        ..alternate(Transport::Tls, "203.0.113.7:5349")
    };
    let from = FiveTuple { transport: Transport::Tls, ..tcp(CLIENT) };
    assert_eq!(allocate(&mut draining(&[at(None)]), &from).code(), 508);
    let answer = allocate(&mut draining(&[at(Some("b.example.org"))]), &from);
    assert_eq!(answer.code(), 300);
    assert_eq!(answer.get::<AlternateDomain<'_>>(), Some(AlternateDomain(b"b.example.org")));
}

#[test]
fn several_relays_share_the_clients() {
    let others = [7, 8, 9].map(|host| alternate(Transport::Udp, &format!("203.0.113.{host}:3478")));
    let mut world = draining(&others);
    let mut found: Vec<_> = (1..=40)
        .map(|port| {
            let answer = allocate(&mut world, &udp(&format!("8.8.4.4:{port}")));
            answer.get::<AlternateServer>().expect("a relay").0
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 3);
}

#[test]
fn only_who_has_proved_himself_is_sent_on() {
    let mut world = draining(&[alternate(Transport::Udp, "203.0.113.7:3478")]);
    let request = world.bare(Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    assert_eq!(world.ask(&udp(CLIENT), &request).code(), 401);
}

#[test]
fn a_silent_allocation_is_not_refreshed_when_the_resource_says_so() {
    let mut world = World::with(|settings| settings.drain_idle = Some(Duration::from_secs(120)));
    let (from, peer) = (udp(CLIENT), "9.9.9.9:1");
    let (signing, _) = world.allocate(&from, "alice");
    world.permit(&from, &signing, &[peer]);
    world.pass(200);
    assert_eq!(world.refresh(&from, &signing, None).code(), 0, "it does not drain");
    world.server.drain();
    world.send(&from, peer, b"x");
    world.pass(120);
    assert_eq!(world.refresh(&from, &signing, None).code(), 0, "it is not silent for so long");
    world.pass(1);
    assert_eq!(world.refresh(&from, &signing, None).code(), 508);
    assert_eq!(world.closed, [EndReason::Idle]);
    assert_eq!(world.ledger.allocations(), 0);
}
