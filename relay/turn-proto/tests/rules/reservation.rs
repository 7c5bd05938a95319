//! EVEN-PORT with a reservation, and RESERVATION-TOKEN (RFC 8656, section 7.2).

use std::sync::Arc;

use turn_proto::{PortRange, Server, Shard};
use turn_wire::{
    Method,
    attribute::{EvenPort, RequestedTransport, ReservationToken, XorRelayedAddress},
};

use crate::harness::{Answer, World, udp};

const CLIENT: &str = "8.8.4.4:5000";
const SECOND: &str = "8.8.4.4:5001";

fn reserve(world: &mut World, client: &str, user: &str) -> Answer {
    let from = udp(client);
    let signing = world.signing(&from, user);
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put(&EvenPort { reserve: true })
    });
    world.ask(&from, &request)
}

fn redeem(world: &mut World, client: &str, user: &str, token: ReservationToken) -> Answer {
    let from = udp(client);
    let signing = world.signing(&from, user);
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put(&token)
    });
    world.ask(&from, &request)
}

fn port(answer: &Answer) -> u16 {
    answer.get::<XorRelayedAddress>().expect("a relayed address").0.port()
}

fn token(answer: &Answer) -> ReservationToken {
    answer.get::<ReservationToken>().expect("a token")
}

#[test]
fn the_next_higher_port_is_kept_for_who_brings_the_token() {
    let mut world = World::new();
    let first = reserve(&mut world, CLIENT, "alice");
    assert_eq!((first.code(), port(&first) % 2), (0, 0));
    let second = redeem(&mut world, SECOND, "alice", token(&first));
    assert_eq!((second.code(), port(&second)), (0, port(&first) + 1));
}

#[test]
fn a_token_is_good_once() {
    let mut world = World::new();
    let first = reserve(&mut world, CLIENT, "alice");
    assert_eq!(redeem(&mut world, SECOND, "alice", token(&first)).code(), 0);
    assert_eq!(redeem(&mut world, "8.8.4.4:5002", "alice", token(&first)).code(), 508);
}

#[test]
fn a_token_is_good_for_30_seconds_and_its_port_is_free_then() {
    let mut world = World::new();
    let free = world.ledger.free_ports();
    let first = reserve(&mut world, CLIENT, "alice");
    assert_eq!(world.ledger.free_ports(), free - 2);
    let mut other = World::new();
    let early = reserve(&mut other, CLIENT, "alice");
    other.pass(30);
    assert_eq!(redeem(&mut other, SECOND, "alice", token(&early)).code(), 0, "not a tick early");
    world.pass_millis(30_001);
    assert_eq!(world.ledger.free_ports(), free - 1);
    assert_eq!(redeem(&mut world, SECOND, "alice", token(&first)).code(), 508);
}

#[test]
fn a_token_is_good_at_every_worker() {
    let mut world = World::new();
    let first = reserve(&mut world, CLIENT, "alice");
    let ledger = Arc::clone(&world.ledger);
    let shard = Shard { number: 1, ledger, seed: [2; 32], start: world.now.instant };
    world.server = Server::new(Arc::new(world.settings.clone()), shard);
    assert_eq!(redeem(&mut world, SECOND, "alice", token(&first)).code(), 0);
}

#[test]
fn a_token_is_nobody_elses() {
    let mut world = World::new();
    let first = reserve(&mut world, CLIENT, "alice");
    assert_eq!(redeem(&mut world, SECOND, "mallory", token(&first)).code(), 508);
    assert_eq!(redeem(&mut world, SECOND, "alice", token(&first)).code(), 0);
}

#[test]
fn a_reservation_is_charged_until_it_is_redeemed_or_over() {
    let mut world = World::with(|settings| settings.limits.allocations_per_user = 3);
    let first = reserve(&mut world, CLIENT, "alice");
    assert_eq!(reserve(&mut world, SECOND, "alice").code(), 486, "that would be four");
    assert_eq!(redeem(&mut world, SECOND, "alice", token(&first)).code(), 0);
    let (third, _) = world.allocate(&udp("8.8.4.4:5002"), "alice");
    let request = world.signing(&udp("8.8.4.4:5003"), "alice");
    let request =
        world.signed(&request, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    assert_eq!(world.ask(&udp("8.8.4.4:5003"), &request).code(), 486);
    assert_eq!(world.refresh(&udp("8.8.4.4:5002"), &third, Some(0)).code(), 0);
    assert_eq!(world.ask(&udp("8.8.4.4:5003"), &request).code(), 0);
}

#[test]
fn all_ports_and_charges_come_back() {
    let mut world = World::with(|settings| settings.limits.allocations_per_user = 2);
    let free = world.ledger.free_ports();
    for client in [CLIENT, SECOND] {
        assert_eq!(reserve(&mut world, client, "alice").code(), 0);
        world.pass(700);
        assert_eq!((world.ledger.free_ports(), world.ledger.allocations()), (free, 0));
    }
}

#[test]
fn the_same_request_again_gets_the_same_token() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put(&EvenPort { reserve: true })
    });
    let (first, again) = (world.ask(&from, &request), world.ask(&from, &request));
    assert_eq!((port(&first), token(&first)), (port(&again), token(&again)));
}

#[test]
fn a_pair_whose_even_port_is_taken_is_exchanged_for_another() {
    let addresses = ["198.51.100.1"];
    let mut world = World::on(&addresses, PortRange { from: 61_000, to: 61_003 });
    world.taken_ports = 1;
    let first = reserve(&mut world, CLIENT, "alice");
    assert_eq!((first.code(), world.ledger.free_ports()), (0, 2));
    let second = redeem(&mut world, SECOND, "alice", token(&first));
    assert_eq!(port(&second), port(&first) + 1);
}

#[test]
fn without_a_free_pair_there_is_no_capacity_and_nothing_is_held() {
    let mut world = World::on(&["198.51.100.1"], PortRange { from: 61_001, to: 61_002 });
    assert_eq!(reserve(&mut world, CLIENT, "alice").code(), 508);
    assert_eq!((world.ledger.free_ports(), world.ledger.allocations()), (2, 0));
    world.settings.limits.allocations_per_user = 1;
    world.allocate(&udp(SECOND), "alice");
}

#[test]
fn a_pair_that_no_socket_opens_for_is_given_back() {
    let mut world = World::on(&["198.51.100.1"], PortRange { from: 61_000, to: 61_001 });
    world.taken_ports = 1;
    assert_eq!(reserve(&mut world, CLIENT, "alice").code(), 508);
    assert_eq!((world.ledger.free_ports(), world.ledger.allocations()), (2, 0));
}

#[test]
fn a_reserved_port_that_somebody_took_meanwhile_is_no_capacity() {
    let mut world = World::new();
    let free = world.ledger.free_ports();
    let first = reserve(&mut world, CLIENT, "alice");
    world.taken_ports = 1;
    assert_eq!(redeem(&mut world, SECOND, "alice", token(&first)).code(), 508);
    assert_eq!(world.ledger.free_ports(), free - 1);
}
