//! Payload to peers, and from them.

use std::time::Instant;

use turn_client::{ClientError, DropReason, Event, Failure, Input, Operation, Profile};
use turn_wire::{
    BufferFull, ChannelData, ChannelNumber, Class, Message, Method, TransactionId,
    attribute::{Data, Icmp, XorPeerAddress},
};

use crate::server::{Server, allocated, events, exchange, peer, sent, written};

const INDICATION: TransactionId = TransactionId([3; 12]);

fn check_indication(bytes: &[u8], payload: &[u8]) {
    let message = Message::decode(bytes).expect("it is a message");
    assert_eq!((message.class(), message.method()), (Class::Indication, Method::SEND));
    assert_eq!(message.get(), Ok(Some(XorPeerAddress(peer()))));
    assert_eq!(message.get(), Ok(Some(Data(payload))));
    assert!(!message.has_integrity(), "indications are not signed");
}

#[test]
fn libwebrtc_binds_a_channel_on_the_first_payload() {
    let now = Instant::now();
    let mut server = Server::new();
    let mut client = allocated(Profile::LIBWEBRTC, &mut server, now);
    let mut out = [0; 100];
    let len = client.send(now, peer(), b"one", &mut out).expect("it fits");
    check_indication(&out[..len], b"one");
    let bind = sent(&mut client);
    let len = client.send(now, peer(), b"two", &mut out).expect("it fits");
    check_indication(&out[..len], b"two");
    assert!(sent(&mut client).is_empty(), "one ChannelBind is enough");
    client.handle_input(now, &server.respond(&bind[0]));
    let channel = ChannelNumber::MIN;
    assert_eq!(events(&mut client), [Event::ChannelBound { peer: peer(), channel }]);
    let len = client.send(now, peer(), b"three", &mut out).expect("it fits");
    assert_eq!(len, 9, "no padding over UDP");
    let expected = ChannelData { channel, data: &b"three"[..] };
    assert_eq!(ChannelData::decode(&out[..len]), Ok(expected));
}

#[test]
fn nicer_never_binds_a_channel() {
    let now = Instant::now();
    let mut client = allocated(Profile::NICER, &mut Server::new(), now);
    let mut out = [0; 100];
    for _ in 0..3 {
        let len = client.send(now, peer(), b"media", &mut out).expect("it fits");
        check_indication(&out[..len], b"media");
    }
    assert!(sent(&mut client).is_empty());
}

#[test]
fn a_refused_channel_leaves_indications() {
    let now = Instant::now();
    let mut server = Server::new();
    let mut client = allocated(Profile::LIBWEBRTC, &mut server, now);
    server.refuse = Some(400);
    let mut out = [0; 100];
    for _ in 0..2 {
        let len = client.send(now, peer(), b"media", &mut out).expect("it fits");
        check_indication(&out[..len], b"media");
        exchange(&mut client, &mut server, now);
    }
    let operation = Operation::ChannelBind { peer: peer(), channel: ChannelNumber::MIN };
    let failure = Failure::Refused { code: 400, reason: "no".into() };
    assert_eq!(events(&mut client), [Event::Failed { operation, failure }], "it asks once");
}

#[test]
fn a_payload_that_does_not_fit_is_an_error() {
    let now = Instant::now();
    let mut server = Server::new();
    let mut client = allocated(Profile::NICER, &mut server, now);
    let full = Err(ClientError::BufferFull(BufferFull));
    assert_eq!(client.send(now, peer(), b"media", &mut [0; 43]), full);
    client.bind_channel(now, peer()).expect("there are channels");
    exchange(&mut client, &mut server, now);
    assert_eq!(client.send(now, peer(), b"media", &mut [0; 8]), full);
    assert_eq!(client.send(now, peer(), &[0; 65_536], &mut vec![0; 70_000]), full);
    assert_eq!(client.send(now, peer(), b"media", &mut [0; 9]), Ok(9));
}

#[test]
fn what_a_peer_sends_is_a_part_of_the_message() {
    let now = Instant::now();
    let mut server = Server::new();
    let mut client = allocated(Profile::NICER, &mut server, now);
    let indication = written(Class::Indication, Method::DATA, INDICATION, |writer| {
        writer.put(&XorPeerAddress(peer())).put(&Data(b"hello"))
    });
    let expected = Input::Data { peer: peer(), channel: None, payload: b"hello" };
    assert_eq!(client.handle_input(now, &indication), expected);

    let channel = ChannelNumber::MIN;
    let message = [&ChannelData::header(channel, 5)[..], b"hello\0\0\0"].concat();
    let unknown = Input::Dropped(DropReason::UnknownChannel);
    assert_eq!(client.handle_input(now, &message), unknown);
    client.bind_channel(now, peer()).expect("there are channels");
    let expected = Input::Data { peer: peer(), channel: Some(channel), payload: b"hello" };
    assert_eq!(client.handle_input(now, &message), expected, "the answer may come later");
    assert!(events(&mut client).is_empty());
}

#[test]
fn an_icmp_error_is_an_event() {
    let now = Instant::now();
    let mut client = allocated(Profile::NICER, &mut Server::new(), now);
    let icmp = Icmp { kind: 3, code: 4, error_data: 1_280 };
    let indication = written(Class::Indication, Method::DATA, INDICATION, |writer| {
        writer.put(&XorPeerAddress(peer())).put(&icmp)
    });
    assert_eq!(client.handle_input(now, &indication), Input::Handled);
    assert_eq!(events(&mut client), [Event::Icmp { peer: peer(), kind: 3, code: 4 }]);
}
