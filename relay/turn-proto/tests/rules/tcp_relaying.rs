//! TCP relaying (RFC 6062).

use turn_auth::UnixSeconds;
use turn_proto::{
    ConnectionEnd, Direction, DropReason, EndReason, FiveTuple, PeerAddr, PeerConnectionId, Rate,
    Refusal, RelayedAddr, Server, Settings, Shard, TcpRelaying, Transport, Verdict,
};
use turn_wire::{
    Class, Message, MessageWriter, Method,
    attribute::{
        AdditionalAddressFamily, Channel, ConnectionId, DontFragment, EvenPort, Family,
        RequestedAddressFamily, RequestedTransport, ReservationToken, XorPeerAddress,
        XorRelayedAddress,
    },
};

use crate::harness::{Answer, Sent, Signing, World, addr, tcp, udp};

const PEER: &str = "9.9.9.9:80";

fn relaying(settings: &mut Settings) {
    settings.tcp_relaying = Some(TcpRelaying { peers_per_allocation: 3, peers: 5 });
}

fn world() -> World {
    World::with(relaying)
}

/// An Allocate of connections, with more in it.
fn ask_for_streams(
    world: &mut World,
    from: &FiveTuple,
    signing: &Signing,
    more: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
) -> Answer {
    let request = world
        .signed(signing, Method::ALLOCATE, |writer| more(writer.put(&RequestedTransport::TCP)));
    world.ask(from, &request)
}

/// A client that has an allocation of connections.
fn streams(world: &mut World, from: &FiveTuple, user: &str) -> (Signing, RelayedAddr) {
    let signing = world.signing(from, user);
    let answer = ask_for_streams(world, from, &signing, |writer| writer);
    assert_eq!(answer.code(), 0);
    let relayed = answer.get::<XorRelayedAddress>().expect("a relayed address");
    (signing, RelayedAddr(relayed.0))
}

fn connect_request(world: &mut World, signing: &Signing, peer: &str) -> Vec<u8> {
    world.signed(signing, Method::CONNECT, |writer| writer.put(&XorPeerAddress(addr(peer))))
}

/// Sends a Connect that is refused at once: the code.
fn refused(world: &mut World, from: &FiveTuple, signing: &Signing, peer: &str) -> u16 {
    let request = connect_request(world, signing, peer);
    world.ask(from, &request).code()
}

/// Sends a Connect that the shell has to carry out.
fn begin(world: &mut World, from: &FiveTuple, signing: &Signing, peer: &str) -> PeerConnectionId {
    let request = connect_request(world, signing, peer);
    let (verdict, _) = world.deliver(from, &request);
    assert_eq!(verdict, Verdict::Opening);
    let (id, to) = world.connecting.pop().expect("a connection to make");
    assert_eq!(to, addr(peer));
    id
}

/// Makes a connection to a peer.
fn connect(
    world: &mut World,
    from: &FiveTuple,
    signing: &Signing,
    peer: &str,
) -> (PeerConnectionId, ConnectionId) {
    let id = begin(world, from, signing, peer);
    let answer = world.connected(id, true);
    assert_eq!((answer.code(), answer.message().method()), (0, Method::CONNECT));
    assert!(answer.message().verify_integrity(signing.key.as_bytes()));
    (id, answer.get::<ConnectionId>().expect("an id"))
}

/// Lets a peer connect: the client's indication.
fn arrive(world: &mut World, to: RelayedAddr, peer: &str) -> Option<(PeerConnectionId, Answer)> {
    let (relayed, _) = *world.open.iter().find(|(_, local)| *local == to.0).expect("open");
    let mut out = vec![0; Server::ANSWER_LEN];
    let from = PeerAddr(addr(peer));
    let (id, _, len) = world.server.handle_incoming(world.now.instant, relayed, from, &mut out)?;
    out.truncate(len);
    Some((id, Answer(out)))
}

fn bind_request(world: &mut World, signing: &Signing, id: ConnectionId) -> Vec<u8> {
    world.signed(signing, Method::CONNECTION_BIND, |writer| writer.put(&id))
}

/// Sends a ConnectionBind: its code, and what is bound.
fn bind(
    world: &mut World,
    from: &FiveTuple,
    signing: &Signing,
    id: ConnectionId,
) -> (u16, Option<PeerConnectionId>) {
    let request = bind_request(world, signing, id);
    match world.deliver(from, &request) {
        (Verdict::Bind { connection, .. }, out) => (Answer(out).code(), Some(connection)),
        (Verdict::Respond { .. }, out) => (Answer(out).code(), None),
        (verdict, _) => panic!("no answer: {verdict:?}"),
    }
}

fn ended(world: &World, reason: ConnectionEnd) -> u64 {
    world.server.counters().connections_ended[reason as usize]
}

#[test]
fn tcp_is_not_relayed_unless_the_relay_is_told_to() {
    let mut world = World::new();
    let from = tcp("8.8.4.4:1");
    let signing = world.signing(&from, "alice");
    assert_eq!(ask_for_streams(&mut world, &from, &signing, |writer| writer).code(), 442);
}

#[test]
fn only_a_client_that_comes_over_a_stream_gets_streams() {
    let mut world = world();
    let from = udp("8.8.4.4:1");
    let signing = world.signing(&from, "alice");
    assert_eq!(ask_for_streams(&mut world, &from, &signing, |writer| writer).code(), 400);
    let dtls = FiveTuple { transport: Transport::Dtls, ..from };
    assert_eq!(ask_for_streams(&mut world, &dtls, &signing, |writer| writer).code(), 400);
    for transport in [Transport::Tcp, Transport::Tls] {
        let from = FiveTuple { transport, ..from };
        assert_eq!(ask_for_streams(&mut world, &from, &signing, |writer| writer).code(), 0);
    }
}

#[test]
fn what_makes_sense_for_datagrams_alone_is_400_for_streams() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let signing = world.signing(&from, "alice");
    let mut code = |more: &dyn Fn(MessageWriter<'_>) -> MessageWriter<'_>| {
        ask_for_streams(&mut world, &from, &signing, more).code()
    };
    assert_eq!(code(&|writer| writer.put(&EvenPort { reserve: false })), 400);
    assert_eq!(code(&|writer| writer.put(&EvenPort { reserve: true })), 400);
    assert_eq!(code(&|writer| writer.put(&ReservationToken([1; 8]))), 400);
    assert_eq!(code(&|writer| writer.put(&DontFragment)), 400);
    assert_eq!(code(&|writer| writer.put(&AdditionalAddressFamily(Some(Family::V6)))), 400);
    assert_eq!(code(&|writer| writer.put(&RequestedAddressFamily(Some(Family::V6)))), 0);
}

#[test]
fn an_allocation_of_streams_relays_no_datagrams_and_binds_no_channels() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    assert_eq!(world.permit(&from, &signing, &[PEER]), 0);
    assert_eq!(world.send(&from, PEER, b"x"), Sent::Dropped(DropReason::RelaysStreams));
    assert_eq!(world.bind(&from, &signing, 0x4000, PEER), 400);
    assert_eq!(world.send_on(&from, 0x4000, b"x"), Sent::Dropped(DropReason::ChannelNotBound));
}

#[test]
fn a_connect_without_an_allocation_is_437_and_on_one_of_datagrams_400() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let signing = world.signing(&from, "alice");
    assert_eq!(refused(&mut world, &from, &signing, PEER), 437);
    let (signing, _) = world.allocate(&from, "alice");
    assert_eq!(refused(&mut world, &from, &signing, PEER), 400);
}

#[test]
fn a_connect_names_one_peer_of_the_right_family() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    let request = world.signed(&signing, Method::CONNECT, |writer| writer);
    assert_eq!(world.ask(&from, &request).code(), 400);
    assert_eq!(refused(&mut world, &from, &signing, "9.9.9.9:0"), 400);
    assert_eq!(refused(&mut world, &from, &signing, "[2a00::1]:80"), 443);
    let unknown = world.signed(&signing, Method::CONNECT, |writer| {
        writer.put(&XorPeerAddress(addr(PEER))).put_raw(turn_wire::AttributeType(0x7001), b"")
    });
    assert_eq!(world.ask(&from, &unknown).code(), 420);
    let other = world.signing(&from, "bea");
    assert_eq!(refused(&mut world, &from, &other, PEER), 441);
    assert!(world.connecting.is_empty());
}

#[test]
fn a_connect_passes_the_same_gate_as_every_other_way_to_a_peer() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, relayed) = streams(&mut world, &from, "alice");
    let own = relayed.0.to_string();
    let datagrams = udp("8.8.4.4:2");
    let (_, of_datagrams) = world.allocate(&datagrams, "alice");
    let of_datagrams = of_datagrams.0.to_string();
    let denied =
        ["127.0.0.1:80", "10.0.0.1:80", "169.254.169.254:80", "198.51.100.1:3478", "224.0.0.1:1"];
    for peer in denied.into_iter().chain([own.as_str(), of_datagrams.as_str()]) {
        assert_eq!(refused(&mut world, &from, &signing, peer), 403, "{peer}");
    }
    assert_eq!(world.ledger.peer_connections(), 0);
}

#[test]
fn the_relay_s_own_ports_are_no_peers_even_where_its_address_is_allowed() {
    let mut world = World::with(|settings| {
        relaying(settings);
        settings.peers.allow = vec!["198.51.100.1/32".parse().expect("a network")];
    });
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    for peer in ["198.51.100.1:3478", "198.51.100.1:9478"] {
        assert_eq!(refused(&mut world, &from, &signing, peer), 403, "{peer}");
    }
    connect(&mut world, &from, &signing, "198.51.100.1:80");
}

#[test]
fn two_clients_that_are_both_relayed_reach_each_other() {
    let mut world = world();
    let clients = [tcp("8.8.4.4:1"), tcp("8.8.4.4:2")];
    let (first, relayed) = streams(&mut world, &clients[0], "alice");
    let (second, other) = streams(&mut world, &clients[1], "bea");
    connect(&mut world, &clients[0], &first, &other.0.to_string());
    assert_eq!(world.permit(&clients[1], &second, &[&relayed.0.to_string()]), 0);
    assert!(arrive(&mut world, other, &relayed.0.to_string()).is_some());
}

#[test]
fn a_connect_is_answered_when_the_connection_is_there() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    let (_, first) = connect(&mut world, &from, &signing, PEER);
    let (_, second) = connect(&mut world, &from, &signing, "9.9.9.9:81");
    assert_ne!(first, second);
    assert_eq!(world.server.counters().connections_made, 2);
}

#[test]
fn a_second_connect_to_a_peer_is_446_while_the_first_one_lives() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    let id = begin(&mut world, &from, &signing, PEER);
    assert_eq!(refused(&mut world, &from, &signing, PEER), 446, "while it is being made");
    let answer = world.connected(id, true);
    assert_eq!(refused(&mut world, &from, &signing, PEER), 446, "while it waits");
    let number = answer.get::<ConnectionId>().expect("an id");
    assert_eq!(bind(&mut world, &tcp("8.8.4.4:2"), &signing, number), (0, Some(id)));
    assert_eq!(refused(&mut world, &from, &signing, PEER), 446, "while it is bound");
    world.server.handle_connection_ended(id);
    connect(&mut world, &from, &signing, PEER);
    assert_eq!(world.refusals(Refusal::ConnectionExists), 3);
}

#[test]
fn a_peer_that_cannot_be_connected_to_is_447() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    let id = begin(&mut world, &from, &signing, PEER);
    let answer = world.connected(id, false);
    assert_eq!(answer.code(), 447);
    assert!(answer.message().verify_integrity(signing.key.as_bytes()));
    assert_eq!(ended(&world, ConnectionEnd::NotConnected), 1);
    connect(&mut world, &from, &signing, PEER);
}

#[test]
fn a_connect_that_takes_longer_than_30_seconds_is_447() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    begin(&mut world, &from, &signing, PEER);
    world.pass(30);
    assert!(world.late.is_empty(), "not a moment early");
    world.pass(1);
    assert_eq!(world.late.pop().expect("an answer").code(), 447);
    assert_eq!(world.ledger.peer_connections(), 0);
}

#[test]
fn a_connection_that_is_not_bound_in_30_seconds_is_closed() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, relayed) = streams(&mut world, &from, "alice");
    world.permit(&from, &signing, &[PEER]);
    let (made, number) = connect(&mut world, &from, &signing, "9.9.9.9:81");
    let (accepted, _) = arrive(&mut world, relayed, PEER).expect("permitted");
    world.pass(30);
    assert!(world.closed_connections.is_empty(), "not a moment early");
    world.pass(1);
    assert_eq!(world.closed_connections, [made, accepted]);
    assert_eq!(ended(&world, ConnectionEnd::NotBound), 2);
    assert_eq!(bind(&mut world, &tcp("8.8.4.4:2"), &signing, number), (400, None));
}

#[test]
fn a_connection_that_is_bound_is_not_closed_after_30_seconds() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    let (id, number) = connect(&mut world, &from, &signing, PEER);
    assert_eq!(bind(&mut world, &tcp("8.8.4.4:2"), &signing, number), (0, Some(id)));
    world.pass(300);
    assert!(world.closed_connections.is_empty());
}

#[test]
fn a_permitted_peer_that_connects_is_announced_and_another_one_is_turned_away() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, relayed) = streams(&mut world, &from, "alice");
    assert!(arrive(&mut world, relayed, PEER).is_none());
    assert_eq!(world.drops(DropReason::NoPermissionInbound), 1);
    assert_eq!(world.permit(&from, &signing, &["9.9.9.9:1"]), 0);
    let (id, indication) = arrive(&mut world, relayed, PEER).expect("permitted");
    let message = indication.message();
    assert_eq!(
        (message.class(), message.method()),
        (Class::Indication, Method::CONNECTION_ATTEMPT)
    );
    assert_eq!(indication.get::<XorPeerAddress>(), Some(XorPeerAddress(addr(PEER))));
    let number = indication.get::<ConnectionId>().expect("an id");
    assert_eq!(bind(&mut world, &tcp("8.8.4.4:2"), &signing, number), (0, Some(id)));
    world.pass(301);
    assert!(arrive(&mut world, relayed, "9.9.9.9:81").is_none(), "the permission is over");
}

#[test]
fn a_connection_is_bound_once_by_its_own_user_over_a_connection_of_its_own() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    let (id, number) = connect(&mut world, &from, &signing, PEER);
    assert_eq!(bind(&mut world, &udp("8.8.4.4:2"), &signing, number), (400, None), "over UDP");
    assert_eq!(bind(&mut world, &from, &signing, number), (400, None), "where the allocation is");
    let other = tcp("8.8.4.4:3");
    let bea = world.signing(&other, "bea");
    assert_eq!(bind(&mut world, &other, &bea, number), (441, None), "another user");
    let data = tcp("8.8.4.4:4");
    let bare = world.signed(&signing, Method::CONNECTION_BIND, |writer| writer);
    assert_eq!(world.ask(&data, &bare).code(), 400, "no id");
    let unknown = ConnectionId(number.0 ^ 1);
    assert_eq!(bind(&mut world, &data, &signing, unknown), (400, None), "unknown");
    let unsigned = world.bare(Method::CONNECTION_BIND, |writer| writer.put(&number));
    assert_eq!(world.ask(&data, &unsigned).code(), 401);
    let tls = FiveTuple { transport: Transport::Tls, ..data };
    assert_eq!(bind(&mut world, &tls, &signing, number), (0, Some(id)));
    assert_eq!(bind(&mut world, &data, &signing, number), (400, None), "a second time");
    assert_eq!(world.server.counters().connections_bound, 1);
}

#[test]
fn a_connection_is_not_bound_before_it_is_there() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    let id = begin(&mut world, &from, &signing, PEER);
    // The id is random; a client could only guess it. Here it is read off what is debugged.
    let number: String = format!("{id:?}").chars().filter(char::is_ascii_digit).collect();
    let number = ConnectionId(number.parse().expect("a number"));
    assert_eq!(bind(&mut world, &tcp("8.8.4.4:2"), &signing, number), (400, None));
    world.connected(id, true);
    assert_eq!(bind(&mut world, &tcp("8.8.4.4:2"), &signing, number), (0, Some(id)));
}

#[test]
fn the_credential_of_an_allocation_binds_its_connections_after_its_end() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let expiry = UnixSeconds(world.now.unix.0 + 100);
    let signing = world.signing_with(&from, "north", "alice", expiry);
    assert_eq!(ask_for_streams(&mut world, &from, &signing, |writer| writer).code(), 0);
    world.pass(200);
    let (id, number) = connect(&mut world, &from, &signing, PEER);
    assert_eq!(bind(&mut world, &tcp("8.8.4.4:2"), &signing, number), (0, Some(id)));
}

#[test]
fn a_client_of_another_shard_binds_the_connection_and_its_end_reaches_it() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    let (id, number) = connect(&mut world, &from, &signing, PEER);
    let shard = Shard {
        number: 1,
        ledger: std::sync::Arc::clone(&world.ledger),
        seed: [2; 32],
        start: world.now.instant,
    };
    let settings = std::sync::Arc::new(world.settings.clone());
    let here = std::mem::replace(&mut world.server, Server::new(settings, shard));
    assert_eq!(bind(&mut world, &tcp("8.8.4.4:2"), &signing, number), (0, Some(id)));
    let there = std::mem::replace(&mut world.server, here);
    assert_eq!(refused(&mut world, &from, &signing, PEER), 446);
    world.server.handle_disconnect(&from);
    world.obey();
    assert_eq!(world.closed_connections, [id], "told to whoever serves it");
    world.server = there;
    world.server.handle_connection_ended(id);
    assert_eq!(world.ledger.peer_connections(), 0);
    assert_eq!(ended(&world, ConnectionEnd::Closed), 0, "counted once");
}

#[test]
fn all_connections_end_with_their_allocation_however_it_ends() {
    for end in 0..3 {
        let mut world = world();
        let from = tcp("8.8.4.4:1");
        let (signing, relayed) = streams(&mut world, &from, "alice");
        world.permit(&from, &signing, &[PEER]);
        let being_made = begin(&mut world, &from, &signing, "9.9.9.9:81");
        let (bound, number) = connect(&mut world, &from, &signing, "9.9.9.9:82");
        bind(&mut world, &tcp("8.8.4.4:2"), &signing, number);
        match end {
            0 => assert_eq!(world.refresh(&from, &signing, Some(0)).code(), 0),
            1 => world.server.handle_disconnect(&from),
            _ => world.pass(570),
        }
        // Of the one that expires, the unfinished connection is over by then.
        let accepted = (end == 2).then(|| {
            world.permit(&from, &signing, &[PEER]);
            arrive(&mut world, relayed, PEER).expect("permitted").0
        });
        world.pass(if end == 2 { 31 } else { 0 });
        world.obey();
        let expected = match accepted {
            Some(accepted) => vec![bound, accepted],
            None => vec![being_made, bound],
        };
        assert_eq!(world.closed_connections, expected);
        assert_eq!(world.ledger.peer_connections(), 0);
        assert_eq!(world.ledger.free_ports(), 128);
        assert_eq!(world.ledger.allocations(), 0);
        assert_eq!(ended(&world, ConnectionEnd::AllocationEnded), 2);
        assert_eq!(world.ledger.is_live(&relayed.0), Some(false));
    }
}

#[test]
fn an_allocation_has_so_many_connections_and_so_has_the_relay() {
    let mut world = world();
    let (from, other) = (tcp("8.8.4.4:1"), tcp("8.8.4.4:2"));
    let (signing, relayed) = streams(&mut world, &from, "alice");
    world.permit(&from, &signing, &[PEER]);
    for port in 1..=3 {
        connect(&mut world, &from, &signing, &format!("9.9.9.9:{port}"));
    }
    assert_eq!(refused(&mut world, &from, &signing, "9.9.9.9:4"), 508);
    assert!(arrive(&mut world, relayed, PEER).is_none());
    assert_eq!(world.drops(DropReason::TooManyConnections), 1);
    let (bea, _) = streams(&mut world, &other, "bea");
    for port in 1..=2 {
        connect(&mut world, &other, &bea, &format!("9.9.9.9:{port}"));
    }
    assert_eq!(refused(&mut world, &other, &bea, "9.9.9.9:3"), 508, "the relay is full");
    world.pass(31);
    connect(&mut world, &other, &bea, "9.9.9.9:3");
}

#[test]
fn ports_of_one_address_are_new_peers_to_connect_to() {
    let mut world = World::with(|settings| {
        relaying(settings);
        settings.limits.new_peers_per_second = 1;
    });
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    for port in 1..=2 {
        let id = begin(&mut world, &from, &signing, &format!("9.9.9.9:{port}"));
        world.connected(id, false);
    }
    assert_eq!(refused(&mut world, &from, &signing, "9.9.9.9:3"), 508);
    assert_eq!(world.ledger.peer_connections(), 0, "what was refused is not kept");
    world.pass(1);
    begin(&mut world, &from, &signing, "9.9.9.9:3");
}

#[test]
fn a_new_policy_ends_the_connections_that_it_denies() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    let (waiting, _) = connect(&mut world, &from, &signing, PEER);
    let (bound, number) = connect(&mut world, &from, &signing, "9.9.9.9:81");
    bind(&mut world, &tcp("8.8.4.4:2"), &signing, number);
    let (other, _) = connect(&mut world, &from, &signing, "9.9.9.8:80");
    world.reload(|settings| {
        settings.peers.deny = vec!["9.9.9.9/32".parse().expect("a network")];
    });
    world.obey();
    assert_eq!(world.closed_connections, [waiting, bound]);
    assert_eq!(ended(&world, ConnectionEnd::Denied), 2);
    world.reload(|settings| settings.tcp_relaying = None);
    world.obey();
    assert_eq!(world.closed_connections, [waiting, bound, other]);
    assert_eq!(world.closed, [EndReason::Disallowed]);
}

#[test]
fn a_stream_that_is_over_its_rate_waits_and_loses_nothing() {
    let mut world = World::with(|settings| {
        relaying(settings);
        settings.limits.allocation_rate.bits_per_second = Some(8000);
    });
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    let (id, number) = connect(&mut world, &from, &signing, PEER);
    bind(&mut world, &tcp("8.8.4.4:2"), &signing, number);
    let now = world.now.instant;
    assert_eq!(world.server.stream_pause(now, id, Direction::ToPeer), None);
    world.server.stream_relayed(now, id, Direction::ToPeer, 10_000);
    let until = world.server.stream_pause(now, id, Direction::ToPeer).expect("a pause");
    assert_eq!((until - now).as_millis(), 9500, "ten seconds, and half a second's burst less");
    assert_eq!(world.server.stream_pause(until, id, Direction::ToPeer), None);
    assert_eq!(world.server.stream_pause(now, id, Direction::ToClient), None, "the other way");
    world.server.stream_relayed(now, id, Direction::ToClient, 5);
    let counters = world.server.counters();
    assert_eq!((counters.stream_bytes_to_peers, counters.stream_bytes_to_clients), (10_000, 5));
}

#[test]
fn what_one_user_relays_is_limited_over_datagrams_and_streams_together() {
    let mut world = World::with(|settings| {
        relaying(settings);
        settings.limits.user_rate = Rate { bits_per_second: Some(8000), packets_per_second: None };
    });
    let (from, datagrams) = (tcp("8.8.4.4:1"), udp("8.8.4.4:5"));
    let (signing, _) = streams(&mut world, &from, "alice");
    let (id, number) = connect(&mut world, &from, &signing, PEER);
    bind(&mut world, &tcp("8.8.4.4:2"), &signing, number);
    let (other, _) = world.allocate(&datagrams, "alice");
    world.permit(&datagrams, &other, &[PEER]);
    let now = world.now.instant;
    world.server.stream_relayed(now, id, Direction::ToPeer, 10_000);
    assert_eq!(world.send(&datagrams, PEER, b"x"), Sent::Dropped(DropReason::UserRate));
}

#[test]
fn a_drain_waits_for_streams_that_are_in_use() {
    let mut world = World::with(|settings| {
        relaying(settings);
        settings.drain_idle = Some(std::time::Duration::from_secs(60));
    });
    let from = tcp("8.8.4.4:1");
    let (signing, _) = streams(&mut world, &from, "alice");
    let (id, number) = connect(&mut world, &from, &signing, PEER);
    bind(&mut world, &tcp("8.8.4.4:2"), &signing, number);
    world.server.drain();
    world.pass(100);
    world.server.stream_relayed(world.now.instant, id, Direction::ToClient, 1);
    assert_eq!(world.refresh(&from, &signing, None).code(), 0);
    world.pass(61);
    assert_eq!(world.refresh(&from, &signing, None).code(), 508);
}

#[test]
fn a_connection_attempt_is_no_request_of_a_client() {
    let mut world = world();
    let from = tcp("8.8.4.4:1");
    let indication = crate::harness::write(
        Class::Indication,
        Method::CONNECTION_ATTEMPT,
        turn_wire::TransactionId([1; 12]),
        |writer| writer.put(&XorPeerAddress(addr(PEER))),
    );
    assert!(Message::decode(&indication).is_ok());
    assert_eq!(world.dropped(&from, &indication), DropReason::Indication);
    let channel = turn_wire::ChannelNumber::MIN;
    let signing = world.signing(&from, "alice");
    let attempt =
        world.signed(&signing, Method::CONNECTION_ATTEMPT, |writer| writer.put(&Channel(channel)));
    assert_eq!(world.ask(&from, &attempt).code(), 400);
}
