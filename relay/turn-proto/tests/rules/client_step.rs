//! How far clients come, which probers are not among.

use turn_proto::{ClientStep, FiveTuple, Transport};
use turn_wire::{
    Method,
    attribute::{RequestedTransport, Software},
};

use crate::harness::{REALM, World, tcp, udp};

const CLIENT: &str = "203.0.113.9:5000";

/// Sends an Allocate without credentials, as a client or as a prober, and tells what it came to.
fn begin(
    world: &mut World,
    from: &FiveTuple,
    software: Option<Software<'_>>,
) -> Option<ClientStep> {
    let allocate = world.bare(Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put_some(software.as_ref())
    });
    assert_eq!(world.ask(from, &allocate).code(), 401);
    world.server.take_client_step()
}

#[test]
fn each_step_of_a_client_is_told_once() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let binding = world.bare(Method::BINDING, |writer| writer);
    assert_eq!(world.ask(&from, &binding).code(), 0);
    assert_eq!(world.server.take_client_step(), Some(ClientStep::Binding));
    assert_eq!(world.server.take_client_step(), None);
    assert_eq!(begin(&mut world, &from, None), Some(ClientStep::Challenged));
    let mut signing = world.signing(&from, "alice");
    world.server.take_client_step();
    let allocate = world.signed(&signing, Method::ALLOCATE, |w| w.put(&RequestedTransport::UDP));
    assert_eq!(world.ask(&from, &allocate).code(), 0);
    assert_eq!(world.server.take_client_step(), Some(ClientStep::Allocated));
    assert_eq!(world.ask(&from, &allocate).code(), 0);
    assert_eq!(world.server.take_client_step(), None, "the same Allocate again is no other one");
    let odd = world.signed(&signing, Method::ALLOCATE, |w| w.put(&RequestedTransport(99)));
    assert_eq!(world.ask(&udp("203.0.113.9:5001"), &odd).code(), 442);
    assert_eq!(world.server.take_client_step(), Some(ClientStep::Refused));
    let refresh = world.bare(Method::REFRESH, |writer| writer);
    assert_eq!(world.ask(&tcp(CLIENT), &refresh).code(), 401);
    assert_eq!(world.server.take_client_step(), None, "no client begins with it");
    let algorithm = turn_auth::PasswordAlgorithm::Md5;
    let name = signing.username.as_bytes();
    signing.key = turn_auth::LongTermKey::derive(algorithm, name, REALM.as_bytes(), b"another");
    let wrong = world.signed(&signing, Method::ALLOCATE, |w| w.put(&RequestedTransport::UDP));
    assert_eq!(world.ask(&udp("203.0.113.9:5002"), &wrong).code(), 401);
    assert_eq!(world.server.take_client_step(), Some(ClientStep::WrongCredentials));
}

#[test]
fn a_prober_is_counted_nowhere() {
    let mut world = World::new();
    let (marked, client) = (udp(CLIENT), udp("203.0.113.9:5001"));
    let probe = Some(Software::PROBE);
    let binding = world.bare(Method::BINDING, |writer| writer.put_some(probe.as_ref()));
    assert_eq!(world.ask(&marked, &binding).code(), 0);
    assert_eq!(world.server.take_client_step(), None);
    assert_eq!(begin(&mut world, &marked, probe), None);
    // A relay that checks itself has the name of a client, and says in each request what it is.
    let signing = world.signing(&marked, "self-check");
    world.server.take_client_step();
    let allocate = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put_some(probe.as_ref())
    });
    assert_eq!(world.ask(&marked, &allocate).code(), 0);
    // A prober of another version does not say so, and is known by its credential.
    let signing = world.signing_of_probe(&client, "a");
    world.server.take_client_step();
    let allocate = world.signed(&signing, Method::ALLOCATE, |w| w.put(&RequestedTransport::UDP));
    assert_eq!(world.ask(&client, &allocate).code(), 0);
    assert_eq!(world.server.take_client_step(), None);
    assert!(world.ledger.client_networks().named.is_empty());
}

#[test]
fn the_network_of_a_client_is_counted_once_it_has_an_allocation() {
    let mut world = World::new();
    let (over_udp, over_tcp) = (udp(CLIENT), tcp("203.0.7.7:5000"));
    for _ in 0..5 {
        begin(&mut world, &over_udp, None);
    }
    assert!(world.ledger.client_networks().named.is_empty());
    for from in [over_udp, over_tcp] {
        let signing = world.signing(&from, "alice");
        let allocate =
            world.signed(&signing, Method::ALLOCATE, |w| w.put(&RequestedTransport::UDP));
        assert_eq!(world.ask(&from, &allocate).code(), 0);
    }
    let counted = world.ledger.client_networks();
    let mut expected = [0; Transport::ALL.len()];
    expected[Transport::Udp as usize] = 1;
    expected[Transport::Tcp as usize] = 1;
    let named: Vec<_> = counted.named.into_iter().collect();
    assert_eq!(named, [("203.0.0.0".parse().expect("an address"), expected)]);
}
