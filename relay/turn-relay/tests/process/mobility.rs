//! Allocations that move with their clients (RFC 8016), through a relay of several workers: which of
//! them a client comes to next is the kernel's choice.

use std::{net::SocketAddr, thread};

use rustls::version::{TLS12, TLS13};

use crate::{
    caller::{Caller, DtlsVersion, Over, PEERS},
    relay::{Relay, free_port, listener},
};

/// Clients that move at the same time.
const CLIENTS: u64 = 8;

/// How often each goes through all transports.
const ROUNDS: u64 = 3;

/// A relay of three workers, and where to reach it over what.
fn relay() -> (Relay, [Over; 6]) {
    let secure = free_port();
    let relay = Relay::start_with(|files| {
        files.more = format!("{PEERS}workers: 3\nlimits: {{allocationsPerUser: 100}}\n");
        files.listeners.extend(["TLS", "DTLS"].map(|protocol| listener(protocol, secure)));
    });
    let (plain, secure) = (relay.server(), relay.at(secure));
    (relay, everywhere(plain, secure))
}

const fn everywhere(plain: SocketAddr, secure: SocketAddr) -> [Over; 6] {
    [
        Over::Udp(plain),
        Over::Tcp(plain),
        Over::Tls(secure, &TLS13),
        Over::Udp(plain),
        Over::Dtls(secure, DtlsVersion::Either),
        Over::Tls(secure, &TLS12),
    ]
}

/// Each client goes from transport to transport and talks with its peer at each.
fn wander(relay: &Relay, places: &[Over; 6], client: u64) {
    let start = usize::try_from(client).expect("few") % places.len();
    let mut caller =
        Caller::allocate_mobile(relay, places[start], &format!("client-{}", client % 2));
    caller.echo();
    for round in 0..ROUNDS {
        for step in 1..=places.len() {
            caller.migrate(relay, places[(start + step) % places.len()], round % 2 == 0);
            caller.echo();
        }
    }
    caller.leave();
}

#[test]
fn a_client_keeps_its_allocation_whatever_it_moves_to() {
    let (mut relay, places) = relay();
    let ports = relay.metric("turn_relay_ports_free");
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn({
                let (relay, places) = (&relay, &places);
                move || wander(relay, places, client)
            });
        }
    });
    relay.until("empty", |relay| relay.metric("turn_allocations") == 0);
    assert_eq!(relay.metric("turn_relay_ports_free"), ports);
    assert_eq!(relay.metric("turn_mobile_allocations"), 0);
    assert_eq!(relay.metric("turn_allocations_moved_total"), CLIENTS * ROUNDS * 6);
    let ended = relay.metric("turn_allocations_ended_total{reason=\"deleted\"}");
    assert_eq!(ended, relay.metric("turn_allocations_made_total"));
}

#[test]
fn what_a_peer_sends_while_the_client_is_away_is_dropped_and_counted() {
    let (mut relay, places) = relay();
    let mut caller = Caller::allocate_mobile(&relay, places[1], "alice");
    caller.echo();
    caller.lose_connection();
    let away = "turn_messages_dropped_total{reason=\"client_away\"}";
    relay.until("told that the client is away", |relay| {
        caller.flood(1, 100);
        relay.metric(away) > 0
    });
    assert_eq!(relay.metric("turn_allocations"), 1);
    caller.migrate(&relay, places[2], true);
    caller.echo();
    caller.leave();
    relay.until("empty", |relay| relay.metric("turn_allocations") == 0);
}

#[test]
fn what_is_not_to_move_ends_with_its_connection() {
    let secure = free_port();
    let mut relay = Relay::start(&format!("{PEERS}features: {{mobility: false}}\n"));
    let places = everywhere(relay.server(), relay.at(secure));
    let caller = Caller::allocate(&relay, places[1], "alice");
    drop(caller);
    relay.until("empty", |relay| relay.metric("turn_allocations") == 0);
    assert_eq!(relay.metric("turn_allocations_ended_total{reason=\"disconnected\"}"), 1);
}
