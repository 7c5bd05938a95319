//! Allocations that move with their clients (RFC 8016).

use std::sync::Arc;

use turn_proto::{
    DropReason, EndReason, FiveTuple, Refusal, RelayedAddr, RelayedId, Server, Shard, TcpRelaying,
    Verdict,
};
use turn_wire::{
    Method,
    attribute::{
        Family, Lifetime, MobilityTicket, Nonce, RequestedAddressFamily, RequestedTransport,
        XorMappedAddress, XorRelayedAddress,
    },
};

use crate::harness::{Answer, Got, Sent, Signing, World, credentials, tcp, udp};

const HOME: &str = "8.8.4.4:5000";
const AWAY: &str = "9.9.9.9:6000";
const FURTHER: &str = "1.1.1.1:7000";
const PEER: &str = "93.184.216.34:9000";

/// What an answer gives to move with.
fn ticket(answer: &Answer) -> Vec<u8> {
    answer.get::<MobilityTicket<'_>>().expect("a ticket").0.to_vec()
}

/// Asks for an allocation with a ticket of these bytes.
fn ask(world: &mut World, from: &FiveTuple, ticket: &[u8]) -> (Signing, Answer) {
    let signing = world.signing(from, "alice");
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put(&MobilityTicket(ticket))
    });
    let answer = world.ask(from, &request);
    (signing, answer)
}

/// A mobile allocation with a permission and a channel to the peer.
fn mobile(world: &mut World, from: &FiveTuple) -> (RelayedAddr, Vec<u8>) {
    let (signing, answer) = ask(world, from, &[]);
    assert_eq!(answer.code(), 0);
    assert_eq!(world.bind(from, &signing, 0x4001, PEER), 0);
    let relayed = answer.get::<XorRelayedAddress>().expect("a relayed address");
    (RelayedAddr(relayed.0), ticket(&answer))
}

fn refresh(world: &mut World, signing: &Signing, ticket: &[u8]) -> Vec<u8> {
    world.signed(signing, Method::REFRESH, |writer| writer.put(&MobilityTicket(ticket)))
}

/// Comes back from elsewhere: the answer.
fn come(world: &mut World, from: &FiveTuple, user: &str, ticket: &[u8]) -> Answer {
    let signing = world.signing(from, user);
    let request = refresh(world, &signing, ticket);
    world.ask(from, &request)
}

fn is_served(world: &mut World, from: &FiveTuple, relayed: RelayedAddr) {
    assert!(matches!(world.send_on(from, 0x4001, b"out"), Sent::To(..)));
    let Got::Bytes(to, _) = world.arrive(relayed, PEER, b"in") else { panic!("dropped") };
    assert_eq!(to, *from);
}

#[test]
fn who_asks_with_an_empty_ticket_gets_one_and_nobody_else() {
    let mut world = World::new();
    let (_, answer) = ask(&mut world, &udp(HOME), &[]);
    assert!(!ticket(&answer).is_empty());
    assert_eq!(world.ledger.mobile_allocations(), 1);
    let signing = world.signing(&udp(AWAY), "alice");
    let request =
        world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    let answer = world.ask(&udp(AWAY), &request);
    assert_eq!(answer.get::<MobilityTicket<'_>>(), None);
    assert_eq!(world.ledger.mobile_allocations(), 1);
}

#[test]
fn an_allocate_that_brings_a_ticket_is_a_bad_request() {
    let mut world = World::new();
    assert_eq!(ask(&mut world, &udp(HOME), &[1; 16]).1.code(), 400);
    assert_eq!(world.ledger.allocations(), 0);
}

#[test]
fn where_nothing_moves_who_asks_for_it_gets_405() {
    let mut world = World::with(|settings| settings.mobility = false);
    assert_eq!(ask(&mut world, &udp(HOME), &[]).1.code(), 405);
    assert_eq!(world.refusals(Refusal::MobilityForbidden), 1);
}

#[test]
fn what_was_to_move_stays_once_that_is_switched_off() {
    let mut world = World::new();
    let (relayed, ticket) = mobile(&mut world, &udp(HOME));
    world.reload(|settings| settings.mobility = false);
    assert_eq!(come(&mut world, &udp(AWAY), "alice", &ticket).code(), 405);
    is_served(&mut world, &udp(HOME), relayed);
}

#[test]
fn what_relays_connections_does_not_move() {
    let mut world = World::with(|settings| {
        settings.tcp_relaying = Some(TcpRelaying { peers_per_allocation: 1, peers: 1 });
    });
    let client = tcp(HOME);
    let signing = world.signing(&client, "alice");
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::TCP).put(&MobilityTicket(&[]))
    });
    assert_eq!(world.ask(&client, &request).code(), 405);
}

#[test]
fn a_refresh_with_the_ticket_moves_all_of_the_allocation_to_where_it_came_from() {
    for (home, away) in [(udp(HOME), udp(AWAY)), (udp(HOME), tcp(AWAY)), (tcp(HOME), udp(AWAY))] {
        let mut world = World::new();
        let (relayed, first) = mobile(&mut world, &home);
        let answer = come(&mut world, &away, "alice", &first);
        assert_eq!(answer.code(), 0);
        assert_eq!(answer.get::<Lifetime>(), Some(Lifetime(600)));
        assert_ne!(ticket(&answer), first);
        is_served(&mut world, &away, relayed);
        assert_eq!(world.send_on(&home, 0x4001, b"?"), Sent::Dropped(DropReason::NoAllocation));
        let signing = world.signing(&home, "alice");
        assert_eq!(world.refresh(&home, &signing, None).code(), 437);
        assert_eq!((world.ledger.allocations(), world.server.allocations()), (1, 1));
        assert_eq!(world.server.counters().moved, 1);
        assert_eq!(world.server.counters().allocated, 1);
    }
}

#[test]
fn the_refresh_that_moved_an_allocation_gets_the_same_answer_again() {
    let mut world = World::new();
    let (relayed, first) = mobile(&mut world, &udp(HOME));
    let signing = world.signing(&udp(AWAY), "alice");
    let request = refresh(&mut world, &signing, &first);
    let answers = [(); 3].map(|()| world.ask(&udp(AWAY), &request));
    assert_eq!(answers[0].code(), 0);
    assert!(answers.iter().all(|answer| answer.0 == answers[0].0));
    assert_eq!(world.server.counters().moved, 1);
    is_served(&mut world, &udp(AWAY), relayed);
}

#[test]
fn a_ticket_is_good_once() {
    let mut world = World::new();
    let (relayed, first) = mobile(&mut world, &udp(HOME));
    let second = ticket(&come(&mut world, &udp(AWAY), "alice", &first));
    assert_eq!(come(&mut world, &udp(FURTHER), "alice", &first).code(), 400);
    is_served(&mut world, &udp(AWAY), relayed);
    assert_eq!(come(&mut world, &udp(FURTHER), "alice", &second).code(), 0);
    is_served(&mut world, &udp(FURTHER), relayed);
    assert_eq!(world.ledger.mobile_allocations(), 1);
}

#[test]
fn a_ticket_that_was_never_given_is_a_bad_request() {
    let mut world = World::new();
    mobile(&mut world, &udp(HOME));
    for forged in [&[0; 16][..], &[], &[7; 15], &[7; 600]] {
        assert_eq!(come(&mut world, &udp(AWAY), "alice", forged).code(), 400, "{forged:?}");
    }
}

#[test]
fn a_ticket_is_good_for_its_user_alone() {
    let mut world = World::new();
    let (relayed, first) = mobile(&mut world, &udp(HOME));
    assert_eq!(come(&mut world, &udp(AWAY), "mallory", &first).code(), 441);
    is_served(&mut world, &udp(HOME), relayed);
    assert_eq!(come(&mut world, &udp(AWAY), "alice", &first).code(), 0);
}

#[test]
fn who_has_not_signed_moves_nothing() {
    let mut world = World::new();
    let (relayed, first) = mobile(&mut world, &udp(HOME));
    let request = world.bare(Method::REFRESH, |writer| writer.put(&MobilityTicket(&first)));
    assert_eq!(world.ask(&udp(AWAY), &request).code(), 401);
    let stranger = world.signing(&udp(AWAY), "mallory");
    let alice = world.signing(&udp(AWAY), "alice");
    let stolen = Signing { key: stranger.key, ..alice };
    let request = refresh(&mut world, &stolen, &first);
    assert_eq!(world.ask(&udp(AWAY), &request).code(), 401);
    is_served(&mut world, &udp(HOME), relayed);
}

#[test]
fn a_ticket_from_where_the_allocation_is_anyhow_is_a_bad_request() {
    let mut world = World::new();
    let (relayed, first) = mobile(&mut world, &udp(HOME));
    assert_eq!(come(&mut world, &udp(HOME), "alice", &first).code(), 400);
    is_served(&mut world, &udp(HOME), relayed);
}

#[test]
fn two_allocations_do_not_share_a_five_tuple() {
    let mut world = World::new();
    let (relayed, first) = mobile(&mut world, &udp(HOME));
    let (there, _) = mobile(&mut world, &udp(AWAY));
    assert_eq!(come(&mut world, &udp(AWAY), "alice", &first).code(), 437);
    is_served(&mut world, &udp(HOME), relayed);
    is_served(&mut world, &udp(AWAY), there);
}

#[test]
fn a_family_that_the_allocation_lacks_moves_nothing_and_costs_no_ticket() {
    let mut world = World::new();
    let (relayed, first) = mobile(&mut world, &udp(HOME));
    let signing = world.signing(&udp(AWAY), "alice");
    let request = world.signed(&signing, Method::REFRESH, |writer| {
        let family = RequestedAddressFamily(Some(Family::V6));
        writer.put(&MobilityTicket(&first)).put(&family)
    });
    assert_eq!(world.ask(&udp(AWAY), &request).code(), 443);
    is_served(&mut world, &udp(HOME), relayed);
    assert_eq!(come(&mut world, &udp(AWAY), "alice", &first).code(), 0);
}

#[test]
fn a_lifetime_of_zero_ends_what_has_moved() {
    let mut world = World::new();
    let (_, first) = mobile(&mut world, &udp(HOME));
    let signing = world.signing(&udp(AWAY), "alice");
    let request = world.signed(&signing, Method::REFRESH, |writer| {
        writer.put(&MobilityTicket(&first)).put(&Lifetime(0))
    });
    let answer = world.ask(&udp(AWAY), &request);
    assert_eq!((answer.code(), answer.get::<Lifetime>()), (0, Some(Lifetime(0))));
    assert_eq!(answer.get::<MobilityTicket<'_>>(), None);
    assert_eq!(world.closed, [EndReason::Deleted]);
    nothing_is_left(&world);
}

fn nothing_is_left(world: &World) {
    assert_eq!(world.ledger.allocations(), 0);
    assert_eq!(world.ledger.mobile_allocations(), 0);
    assert_eq!(world.ledger.free_ports(), 2 * 64);
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn a_mobile_allocation_outlives_its_clients_connection() {
    let mut world = World::new();
    let (relayed, first) = mobile(&mut world, &tcp(HOME));
    world.server.handle_disconnect(&tcp(HOME));
    world.obey();
    assert_eq!(world.arrive(relayed, PEER, b"?"), Got::Dropped(DropReason::ClientAway));
    assert_eq!(come(&mut world, &tcp(AWAY), "alice", &first).code(), 0);
    is_served(&mut world, &tcp(AWAY), relayed);
}

#[test]
fn who_gets_the_address_of_a_client_that_is_away_gets_nothing_of_its_allocation() {
    let mut world = World::new();
    let (relayed, first) = mobile(&mut world, &tcp(HOME));
    world.server.handle_disconnect(&tcp(HOME));
    let heard = world.send_on(&tcp(HOME), 0x4001, b"?");
    assert_eq!(heard, Sent::Dropped(DropReason::NoAllocation));
    let (another, _) = mobile(&mut world, &tcp(HOME));
    assert_ne!(another, relayed);
    assert_eq!(come(&mut world, &udp(AWAY), "alice", &first).code(), 0);
    is_served(&mut world, &udp(AWAY), relayed);
    is_served(&mut world, &tcp(HOME), another);
}

#[test]
fn an_allocation_whose_client_stays_away_expires_and_is_charged_until_then() {
    let mut world = World::new();
    mobile(&mut world, &tcp(HOME));
    world.server.handle_disconnect(&tcp(HOME));
    world.pass(599);
    assert_eq!(world.ledger.allocations(), 1);
    world.pass(2);
    assert_eq!(world.closed, [EndReason::Expired]);
    nothing_is_left(&world);
}

#[test]
fn a_mobile_allocation_outlives_the_listener_that_its_client_came_through() {
    let mut world = World::new();
    let (relayed, first) = mobile(&mut world, &tcp(HOME));
    world.server.handle_listener_removed(|five_tuple| *five_tuple == tcp(HOME));
    world.obey();
    assert_eq!(come(&mut world, &udp(AWAY), "alice", &first).code(), 0);
    is_served(&mut world, &udp(AWAY), relayed);
}

#[test]
fn one_that_does_not_move_ends_with_its_clients_connection() {
    let mut world = World::new();
    world.allocate(&tcp(HOME), "alice");
    world.server.handle_disconnect(&tcp(HOME));
    world.obey();
    assert_eq!(world.closed, [EndReason::Disconnected]);
    nothing_is_left(&world);
}

#[test]
fn the_credential_of_an_allocation_moves_it_after_its_secret_is_gone() {
    let mut world = World::new();
    let (signing, answer) = ask(&mut world, &udp(HOME), &[]);
    world.reload(|settings| settings.credentials = credentials(&["east"]));
    let request = refresh(&mut world, &signing, &ticket(&answer));
    let stale = world.ask(&udp(AWAY), &request);
    assert_eq!(stale.code(), 438, "nonces are bound to the client's address");
    let nonce = stale.get::<Nonce<'_>>().expect("a nonce").0.to_vec();
    let request = refresh(&mut world, &Signing { nonce, ..signing }, &ticket(&answer));
    assert_eq!(world.ask(&udp(AWAY), &request).code(), 0);
}

#[test]
fn the_mapped_address_of_a_repeated_allocate_is_where_the_client_is() {
    let mut world = World::new();
    let (signing, answer) = ask(&mut world, &udp(HOME), &[]);
    let mapped = answer.get::<XorMappedAddress>().expect("a mapped address");
    assert_eq!(mapped.0, udp(HOME).client.0);
    assert_eq!(come(&mut world, &udp(AWAY), "alice", &ticket(&answer)).code(), 0);
    let signing = Signing { nonce: world.signing(&udp(AWAY), "alice").nonce, ..signing };
    assert_eq!(world.refresh(&udp(AWAY), &signing, None).code(), 0);
}

/// Carries what a client of another shard wants there: its answer.
fn carry(world: &mut World, other: &mut Server, bytes: &[u8], from: &FiveTuple) -> Answer {
    let mut out = vec![0; Server::ANSWER_LEN];
    let verdict = other.handle_client(world.now, from, bytes, &mut out);
    assert_eq!(verdict, Verdict::Moving);
    let (shard, wanted) = other.poll_move().expect("something wanted");
    assert_eq!(shard, 0);
    let arrival = world.server.depart(wanted);
    let gone: Vec<RelayedId> =
        arrival.departed().into_iter().flat_map(|gone| gone.relayed()).collect();
    assert_eq!(gone.len(), world.open.len());
    let (id, len) = other.arrive(world.now, arrival, &mut out);
    assert!(id.is_some());
    out.truncate(len);
    Answer(out)
}

#[test]
fn an_allocation_moves_to_another_shard_and_is_charged_once() {
    let mut world = World::new();
    let (_, first) = mobile(&mut world, &udp(HOME));
    let (ledger, start) = (Arc::clone(&world.ledger), world.now.instant);
    let shard = Shard { number: 1, ledger, seed: [2; 32], start };
    let mut other = Server::new(Arc::new(world.settings.clone()), shard);
    let signing = world.signing(&udp(AWAY), "alice");
    let request = refresh(&mut world, &signing, &first);
    let answer = carry(&mut world, &mut other, &request, &udp(AWAY));
    assert_eq!(answer.code(), 0);
    assert_eq!((world.server.allocations(), other.allocations()), (0, 1));
    assert_eq!((world.ledger.allocations(), world.ledger.mobile_allocations()), (1, 1));
    world.pass(700);
    assert_eq!(world.ledger.allocations(), 1, "the shard that it has left forgets its time");
    other.handle_timeout(world.now.instant);
    nothing_is_left(&world);
}

#[test]
fn of_two_shards_that_want_an_allocation_one_gets_it() {
    let mut world = World::new();
    let (_, first) = mobile(&mut world, &udp(HOME));
    let shard = |number, world: &World| {
        let (ledger, start) = (Arc::clone(&world.ledger), world.now.instant);
        Server::new(
            Arc::new(world.settings.clone()),
            Shard { number, ledger, seed: [number as u8 + 1; 32], start },
        )
    };
    let mut others = [shard(1, &world), shard(2, &world)];
    let mut out = vec![0; Server::ANSWER_LEN];
    let wanted = [AWAY, FURTHER].map(udp).into_iter().zip(&mut others).map(|(from, other)| {
        let signing = world.signing(&from, "alice");
        let request = refresh(&mut world, &signing, &first);
        assert_eq!(other.handle_client(world.now, &from, &request, &mut out), Verdict::Moving);
        other.poll_move().expect("something wanted").1
    });
    let wanted: Vec<_> = wanted.collect();
    let arrivals: Vec<_> = wanted.into_iter().map(|wanted| world.server.depart(wanted)).collect();
    let codes: Vec<_> = arrivals
        .into_iter()
        .zip(&mut others)
        .map(|(arrival, other)| {
            let (_, len) = other.arrive(world.now, arrival, &mut out);
            Answer(out[..len].to_vec()).code()
        })
        .collect();
    assert_eq!(codes, [0, 400]);
    assert_eq!((others[0].allocations(), others[1].allocations()), (1, 0));
    assert_eq!((world.ledger.allocations(), world.ledger.mobile_allocations()), (1, 1));
}
