//! Challenges, and answers that are not the server's.

use std::time::Instant;

use turn_client::{Client, DropReason, Event, Failure, Input, Operation, Profile};
use turn_wire::{
    Attribute, Class, ErrorCode, Message, Method,
    attribute::{
        AlternateDomain, AlternateServer, Lifetime, Nonce, Realm, XorMappedAddress,
        XorRelayedAddress,
    },
};

use crate::server::{
    KEY, Server, address, allocated, config, events, exchange, mapped, relayed, sent, write,
};

const ALLOCATE: Operation = Operation::Allocate {
    lifetime_seconds: None,
    family: None,
    streams: false,
    mobile: false,
    relay_port: None,
};

/// A client that has been challenged: its signed Allocate, and what answers it.
fn challenged(now: Instant) -> (Client, Vec<u8>) {
    let mut client = Client::new(config(Profile::LIBWEBRTC));
    client.allocate(now, None, None).expect("there is none yet");
    let request = sent(&mut client).remove(0);
    let challenge = Server::new().respond(&request);
    assert_eq!(client.handle_input(now, &challenge), Input::Handled);
    let signed = sent(&mut client).remove(0);
    (client, signed)
}

/// What the client says to an answer to its signed Allocate.
fn answer(
    class: Class,
    fill: impl for<'b> FnOnce(turn_wire::MessageWriter<'b>) -> turn_wire::MessageWriter<'b>,
) -> (Client, Input<'static>) {
    let now = Instant::now();
    let (mut client, signed) = challenged(now);
    let request = Message::decode(&signed).expect("the client writes messages");
    let input = match client.handle_input(now, &write(&request, class, fill)) {
        Input::Handled => Input::Handled,
        Input::Dropped(reason) => Input::Dropped(reason),
        Input::Data { .. } => panic!("an answer is no data"),
    };
    (client, input)
}

fn failure(client: &mut Client) -> Failure {
    match client.poll_event() {
        Some(Event::Failed { operation: ALLOCATE, failure }) => failure,
        event => panic!("{event:?}"),
    }
}

#[test]
fn a_challenge_is_answered_with_a_new_request() {
    let now = Instant::now();
    let mut server = Server::new();
    let client = allocated(Profile::LIBWEBRTC, &mut server, now);
    assert_eq!(server.seen, [Method::ALLOCATE, Method::ALLOCATE]);
    assert_eq!(client.relayed(), Some(relayed()));
    assert_eq!(client.dropped().total(), 0);
}

#[test]
fn the_first_request_has_neither_lifetime_nor_family() {
    let mut client = Client::new(config(Profile::LIBWEBRTC));
    client.allocate(Instant::now(), None, None).expect("there is none yet");
    let request = sent(&mut client).remove(0);
    let request = Message::decode(&request).expect("the client writes messages");
    assert_eq!(request.attributes().count(), 1, "REQUESTED-TRANSPORT alone");
    assert!(!request.has_fingerprint());
}

#[test]
fn a_second_challenge_is_a_refusal() {
    let (mut client, input) = answer(Class::Error, |writer| {
        writer.put(&ErrorCode { code: 401, reason: b"" }).put(&Realm(b"r")).put(&Nonce(b"n"))
    });
    assert_eq!(input, Input::Handled);
    assert_eq!(failure(&mut client), Failure::Refused { code: 401, reason: String::new() });
    assert!(sent(&mut client).is_empty());
}

#[test]
fn a_stale_nonce_is_replaced_once_for_each_request() {
    let now = Instant::now();
    let mut server = Server::new();
    let mut client = allocated(Profile::LIBWEBRTC, &mut server, now);
    for nonce in [b"second", b"third "] {
        server.nonce = nonce.to_vec();
        client.refresh(now, None).expect("there is an allocation");
        exchange(&mut client, &mut server, now);
        assert_eq!(events(&mut client), [Event::Refreshed { lifetime_seconds: 600 }]);
    }
    client.refresh(now, None).expect("there is an allocation");
    for nonce in [b"fourth", b"fifth "] {
        server.nonce = nonce.to_vec();
        let request = sent(&mut client).remove(0);
        client.handle_input(now, &server.respond(&request));
    }
    let refused = Failure::Refused { code: 438, reason: String::new() };
    let operation = Operation::Refresh { lifetime_seconds: None };
    assert_eq!(events(&mut client), [Event::Failed { operation, failure: refused }]);
}

#[test]
fn an_answer_that_is_not_signed_is_dropped_and_waited_on() {
    let (mut client, input) = answer(Class::Success, |writer| {
        writer
            .put(&XorRelayedAddress(relayed()))
            .put(&XorMappedAddress(mapped()))
            .put(&Lifetime(600))
    });
    assert_eq!(input, Input::Dropped(DropReason::Integrity));
    assert_eq!(client.dropped().get(DropReason::Integrity), 1);
    assert_eq!(client.poll_event(), None);
    assert!(client.poll_timeout().is_some(), "the request is still under way");
}

#[test]
fn an_answer_signed_with_another_key_is_dropped() {
    let (mut client, input) = answer(Class::Error, |writer| {
        writer.put(&ErrorCode { code: 486, reason: b"" }).put_integrity(b"another")
    });
    assert_eq!(input, Input::Dropped(DropReason::Integrity));
    assert_eq!(client.poll_event(), None);
}

#[test]
fn a_success_that_lacks_an_attribute_is_none() {
    let cases = [
        (XorRelayedAddress::TYPE, [false, true, true]),
        (XorMappedAddress::TYPE, [true, false, true]),
        (Lifetime::TYPE, [true, true, false]),
    ];
    for (missing, [has_relayed, has_mapped, has_lifetime]) in cases {
        let (mut client, _) = answer(Class::Success, |writer| {
            let relayed = XorRelayedAddress(relayed());
            let mapped = XorMappedAddress(mapped());
            writer
                .put_some(Some(&relayed).filter(|_| has_relayed))
                .put_some(Some(&mapped).filter(|_| has_mapped))
                .put_some(Some(&Lifetime(600)).filter(|_| has_lifetime))
                .put_integrity(&KEY)
        });
        assert_eq!(failure(&mut client), Failure::Missing(missing));
        assert_eq!(client.relayed(), None);
    }
}

#[test]
fn a_challenge_that_lacks_an_attribute_is_none() {
    let now = Instant::now();
    for (missing, has_realm) in [(Realm::TYPE, false), (Nonce::TYPE, true)] {
        let mut client = Client::new(config(Profile::LIBWEBRTC));
        client.allocate(now, None, None).expect("there is none yet");
        let bytes = sent(&mut client).remove(0);
        let request = Message::decode(&bytes).expect("the client writes messages");
        let challenge = write(&request, Class::Error, |writer| {
            writer
                .put(&ErrorCode { code: 401, reason: b"" })
                .put_some(Some(&Realm(b"r")).filter(|_| has_realm))
                .put_some(Some(&Nonce(b"n")).filter(|_| !has_realm))
        });
        client.handle_input(now, &challenge);
        assert_eq!(failure(&mut client), Failure::Missing(missing));
    }
}

#[test]
fn an_error_without_a_code_and_an_attribute_nobody_knows_are_failures() {
    let (mut client, _) = answer(Class::Error, |writer| writer.put_integrity(&KEY));
    assert_eq!(failure(&mut client), Failure::Missing(ErrorCode::TYPE));
    let unknown = turn_wire::AttributeType(0x7FFF);
    let (mut client, _) =
        answer(Class::Success, |writer| writer.put_raw(unknown, b"").put_integrity(&KEY));
    assert_eq!(failure(&mut client), Failure::Unknown(unknown));
}

#[test]
fn another_server_is_an_event() {
    let other = address("198.51.100.8:3478");
    let (mut client, _) = answer(Class::Error, |writer| {
        writer
            .put(&ErrorCode { code: 300, reason: b"" })
            .put(&AlternateServer(other))
            .put(&AlternateDomain(b"turn.example"))
            .put_integrity(&KEY)
    });
    let domain = Some("turn.example".to_owned());
    assert_eq!(client.poll_event(), Some(Event::TryAlternate { server: other, domain }));
}

#[test]
fn another_server_that_no_browser_follows_is_a_refusal() {
    for other in ["127.0.0.1:3478", "[2001:db8::1]:3478", "198.51.100.7:3478", "0.0.0.0:1"] {
        let (mut client, _) = answer(Class::Error, |writer| {
            writer
                .put(&ErrorCode { code: 300, reason: b"" })
                .put(&AlternateServer(address(other)))
                .put_integrity(&KEY)
        });
        let refused = Failure::Refused { code: 300, reason: String::new() };
        assert_eq!(failure(&mut client), refused, "{other}");
    }
}

#[test]
fn a_refusal_has_its_code_and_a_reason_of_one_line() {
    let now = Instant::now();
    let mut server = Server::new();
    server.refuse = Some(486);
    let mut client = Client::new(config(Profile::NICER));
    client.allocate(now, Some(1_200), None).expect("there is none yet");
    exchange(&mut client, &mut server, now);
    let operation = Operation::Allocate {
        lifetime_seconds: Some(1_200),
        family: None,
        streams: false,
        mobile: false,
        relay_port: None,
    };
    let failure = Failure::Refused { code: 486, reason: "no".into() };
    assert_eq!(failure.to_string(), "refused with 486: no");
    assert_eq!(events(&mut client), [Event::Failed { operation, failure }]);
    client.allocate(now, None, None).expect("a failed one is none");
}
