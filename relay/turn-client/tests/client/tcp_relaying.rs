//! Connections to peers (RFC 6062).

use std::time::Instant;

use turn_client::{
    Client, Config, DropReason, Event, Failure, FrameBuffer, Input, Operation, Profile, Transport,
};
use turn_wire::{
    Class, Method, TransactionId,
    attribute::{RequestedTransport, XorPeerAddress},
};

use crate::server::{
    CONNECTION, Server, config, events, exchange, mapped, peer, relayed, sent, written,
};

fn client() -> Client {
    Client::new(Config { transport: Transport::Stream, ..config(Profile::RFC) })
}

/// A client with an allocation that relays connections.
fn allocated(server: &mut Server, now: Instant) -> Client {
    server.relays = RequestedTransport::TCP;
    let mut client = client();
    client.allocate_streams(now, None, None).expect("there is none yet");
    exchange(&mut client, server, now);
    let expected = Event::Allocated { relayed: relayed(), mapped: mapped(), lifetime_seconds: 600 };
    assert_eq!(events(&mut client), [expected]);
    client
}

#[test]
fn a_connection_is_made_and_bound_over_a_connection_of_its_own() {
    let (now, mut server) = (Instant::now(), Server::new());
    let mut control = allocated(&mut server, now);
    control.connect(now, peer()).expect("there is an allocation");
    exchange(&mut control, &mut server, now);
    let expected = Event::Connected { peer: peer(), connection: CONNECTION };
    assert_eq!(events(&mut control), [expected]);
    let mut data = client();
    data.bind_connection(now, CONNECTION);
    exchange(&mut data, &mut server, now);
    assert_eq!(events(&mut data), [Event::ConnectionBound { connection: CONNECTION }]);
}

#[test]
fn what_is_behind_the_answer_is_the_peer_s() {
    let (now, mut server) = (Instant::now(), Server::new());
    let mut data = client();
    data.bind_connection(now, CONNECTION);
    let challenge = server.respond(&sent(&mut data)[0]);
    data.handle_input(now, &challenge);
    let answer = server.respond(&sent(&mut data)[0]);
    let mut buffer = FrameBuffer::new();
    buffer.push(&[&answer[..], b"SSH-2.0"].concat());
    let frame = buffer.next_frame().expect("a message").expect("it is whole");
    assert_eq!(data.handle_input(now, frame), Input::Handled);
    assert_eq!(buffer.rest(), b"SSH-2.0");
}

#[test]
fn a_peer_that_connects_is_told_of() {
    let (now, mut server) = (Instant::now(), Server::new());
    let attempt =
        written(Class::Indication, Method::CONNECTION_ATTEMPT, TransactionId([1; 12]), |writer| {
            writer.put(&XorPeerAddress(peer())).put(&CONNECTION)
        });
    assert_eq!(client().handle_input(now, &attempt), Input::Dropped(DropReason::Unexpected));
    let mut client = allocated(&mut server, now);
    assert_eq!(client.handle_input(now, &attempt), Input::Handled);
    let expected = Event::ConnectionAttempt { peer: peer(), connection: CONNECTION };
    assert_eq!(events(&mut client), [expected]);
    let nameless =
        written(Class::Indication, Method::CONNECTION_ATTEMPT, TransactionId([2; 12]), |writer| {
            writer.put(&XorPeerAddress(peer()))
        });
    let dropped = client.handle_input(now, &nameless);
    assert_eq!(dropped, Input::Dropped(DropReason::IncompleteData));
}

#[test]
fn a_peer_that_cannot_be_connected_to_is_a_failure() {
    let (now, mut server) = (Instant::now(), Server::new());
    assert!(client().connect(now, peer()).is_err(), "no allocation");
    let mut client = allocated(&mut server, now);
    server.refuse = Some(447);
    client.connect(now, peer()).expect("there is an allocation");
    exchange(&mut client, &mut server, now);
    let failure = Failure::Refused { code: 447, reason: "no".to_owned() };
    let operation = Operation::Connect { peer: peer() };
    assert_eq!(events(&mut client), [Event::Failed { operation, failure }]);
}
