//! What RFC 8489 and RFC 8656 ask for and no other file here is about.

use turn_proto::{DropReason, PortRange};
use turn_wire::{
    Attribute, AttributeType, ChannelNumber, Class, ErrorCode, Message, Method, TransactionId,
    attribute::{
        Channel, DontFragment, Lifetime, Nonce, PasswordAlgorithms, Realm, RequestedAddressFamily,
        RequestedTransport, Userhash, Username, XorMappedAddress, XorPeerAddress,
    },
};

use crate::harness::{
    Answer, Got, REALM, Sent, Signing, World, addr, channel_data, send_indication, sign, tcp, udp,
    write,
};

const CLIENT: &str = "8.8.4.4:5000";
const PEER: &str = "9.9.9.9:7000";

/// The three ways in which a client is told to sign anew: it did not sign, it signed wrongly, its
/// nonce is stale.
fn challenges(world: &mut World) -> [Answer; 3] {
    let from = udp(CLIENT);
    let unsigned = world.bare(Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    let signing = world.signing(&from, "alice");
    let wrong = Signing { username: "1800000000:eve".to_owned(), ..signing.clone() };
    let wrong =
        world.signed(&wrong, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    let stale = Signing { nonce: b"stale".to_vec(), ..signing };
    let stale =
        world.signed(&stale, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    let answers = [unsigned, wrong, stale].map(|request| world.ask(&from, &request));
    assert_eq!(answers.each_ref().map(Answer::code), [401, 401, 438]);
    answers
}

#[test]
fn an_answer_has_the_method_and_the_transaction_of_its_request() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    for (number, method) in
        [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND]
            .into_iter()
            .enumerate()
    {
        let id = TransactionId([200 + u8::try_from(number).expect("few"); 12]);
        let unsigned = write(Class::Request, method, id, |writer| writer);
        let signed = sign(id, &signing, method, |writer| writer);
        for request in [unsigned, signed] {
            let answer = world.ask(&from, &request);
            assert_eq!(
                (answer.message().method(), answer.message().transaction_id()),
                (method, id)
            );
        }
    }
    let id = TransactionId([77; 12]);
    let answer = world.ask(&from, &write(Class::Request, Method::BINDING, id, |writer| writer));
    assert_eq!(answer.message().class(), Class::Success);
    assert_eq!(answer.message().transaction_id(), id);
}

#[test]
fn an_attribute_that_need_not_be_understood_is_passed_over() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        let writer = writer.put_raw(AttributeType(0xC057), &[1, 2, 3, 4]);
        writer.put(&RequestedTransport::UDP).put_raw(AttributeType(0x8022), b"a client")
    });
    assert_eq!(world.ask(&from, &request).code(), 0);
}

#[test]
fn each_request_may_come_twice() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    let channel = Channel(ChannelNumber::MIN);
    let requests = [
        world.signed(&signing, Method::CREATE_PERMISSION, |w| w.put(&XorPeerAddress(addr(PEER)))),
        world.signed(&signing, Method::CHANNEL_BIND, |w| {
            w.put(&channel).put(&XorPeerAddress(addr(PEER)))
        }),
        world.signed(&signing, Method::REFRESH, |w| w.put(&Lifetime(900))),
    ];
    for request in &requests {
        let (first, second) = (world.ask(&from, request), world.ask(&from, request));
        assert_eq!((first.code(), &first.0), (0, &second.0));
    }
    assert_eq!((world.ledger.allocations(), world.server.allocations()), (1, 1));
}

#[test]
fn a_reason_phrase_goes_only_to_who_has_proved_himself() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let phrase = |answer: &Answer| answer.get::<ErrorCode<'_>>().expect("an error").reason.to_vec();
    for challenge in challenges(&mut world) {
        assert_eq!(phrase(&challenge), b"");
    }
    let signing = world.signing(&from, "alice");
    let refused = world.refresh(&from, &signing, None);
    assert_eq!((refused.code(), phrase(&refused)), (437, b"Allocation Mismatch".to_vec()));
}

#[test]
fn each_challenge_has_realm_nonce_and_algorithms() {
    for challenge in challenges(&mut World::new()) {
        assert_eq!(challenge.get::<Realm<'_>>(), Some(Realm(REALM.as_bytes())));
        let nonce = challenge.get::<Nonce<'_>>().expect("a nonce").0;
        assert!((1..128).contains(&nonce.len()));
        assert_eq!(challenge.get::<PasswordAlgorithms<'_>>(), Some(PasswordAlgorithms::default()));
    }
}

#[test]
fn a_challenge_has_no_name_and_no_integrity() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let nonce = world.signing(&from, "alice").nonce;
    let id = world.transaction();
    let nameless = write(Class::Request, Method::ALLOCATE, id, |writer| {
        writer.put(&Realm(REALM.as_bytes())).put(&Nonce(&nonce)).put_integrity(b"any")
    });
    let bad = world.ask(&from, &nameless);
    assert_eq!(bad.code(), 400);
    assert!(!bad.message().has::<Nonce<'_>>() && !bad.message().has::<Realm<'_>>());
    for answer in challenges(&mut world).iter().chain([&bad]) {
        assert_unnamed(&answer.message());
        assert!(!answer.message().has_integrity() && !answer.message().has_integrity_sha256());
    }
}

fn assert_unnamed(message: &Message<'_>) {
    assert!(!message.has::<Username<'_>>() && !message.has::<Userhash>());
}

#[test]
fn an_authenticated_answer_has_no_realm_nonce_or_name() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    for request in [
        world.signed(&signing, Method::REFRESH, |writer| writer),
        world.signed(&signing, Method::CREATE_PERMISSION, |writer| writer),
    ] {
        let answer = world.ask(&from, &request);
        let message = answer.message();
        assert!(message.has_integrity());
        assert!(!message.has::<Nonce<'_>>() && !message.has::<Realm<'_>>());
        assert_unnamed(&message);
    }
}

#[test]
fn a_draining_server_still_answers_binding() {
    let mut world = World::new();
    world.server.drain();
    let request = world.bare(Method::BINDING, |writer| writer);
    let answer = world.ask(&udp(CLIENT), &request);
    assert_eq!(answer.get::<XorMappedAddress>(), Some(XorMappedAddress(addr(CLIENT))));
}

#[test]
fn a_name_that_is_too_long_or_no_text_is_nobodys() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let nonce = world.signing(&from, "alice").nonce;
    for (name, code) in [(vec![b'a'; 508], 401), (vec![b'a'; 509], 400), (vec![0xFF; 8], 401)] {
        let id = world.transaction();
        let request = write(Class::Request, Method::ALLOCATE, id, |writer| {
            writer
                .put(&RequestedTransport::UDP)
                .put_raw(Username::TYPE, &name)
                .put(&Realm(REALM.as_bytes()))
                .put(&Nonce(&nonce))
                .put_integrity(b"any")
        });
        assert_eq!(world.ask(&from, &request).code(), code, "{} bytes", name.len());
    }
}

#[test]
fn dont_fragment_is_taken_in_an_allocate() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put(&DontFragment)
    });
    assert_eq!(world.ask(&from, &request).code(), 0);
}

#[test]
fn what_is_not_a_request_is_ignored_without_an_allocation() {
    let mut world = World::new();
    for from in [udp(CLIENT), tcp(CLIENT)] {
        let send = send_indication(PEER, b"x");
        assert_eq!(world.dropped(&from, &send), DropReason::NoAllocation);
        assert_eq!(world.dropped(&from, &channel_data(0x4000, b"x")), DropReason::NoAllocation);
    }
}

#[test]
fn without_a_family_a_relay_of_ipv6_alone_answers_440() {
    let mut world = World::on(&["2001:db8::1"], PortRange { from: 61_000, to: 61_003 });
    let from = udp("[2a00::4]:5000");
    let signing = world.signing(&from, "alice");
    let request =
        world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    assert_eq!(world.ask(&from, &request).code(), 440);
}

#[test]
fn a_family_that_is_none_gets_440() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    let request = world.signed(&signing, Method::ALLOCATE, |writer| {
        writer.put(&RequestedTransport::UDP).put_raw(RequestedAddressFamily::TYPE, &[3, 0, 0, 0])
    });
    assert_eq!(world.ask(&from, &request).code(), 440);
}

#[test]
fn a_new_allocation_has_no_permission() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (_, relayed) = world.allocate(&from, "alice");
    let (out, inward) = (DropReason::NoPermissionOutbound, DropReason::NoPermissionInbound);
    assert_eq!(world.send(&from, PEER, b"x"), Sent::Dropped(out));
    assert_eq!(world.arrive(relayed, PEER, b"x"), Got::Dropped(inward));
    assert_eq!(world.send_on(&from, 0x4000, b"x"), Sent::Dropped(DropReason::ChannelNotBound));
}

#[test]
fn permissions_and_channels_are_an_allocations_own() {
    let mut world = World::new();
    let (first, second) = (udp(CLIENT), udp("8.8.4.4:5001"));
    let (signing, _) = world.allocate(&first, "alice");
    let (other, other_relayed) = world.allocate(&second, "alice");
    assert_eq!(world.bind(&first, &signing, 0x4000, PEER), 0);
    assert!(matches!(world.send(&second, PEER, b"x"), Sent::Dropped(_)));
    assert!(matches!(world.arrive(other_relayed, PEER, b"x"), Got::Dropped(_)));
    assert!(matches!(world.send_on(&second, 0x4000, b"x"), Sent::Dropped(_)));
    assert_eq!(world.bind(&second, &other, 0x4000, "9.9.9.8:1"), 0, "the number is free there");
    assert_eq!(world.bind(&second, &other, 0x4001, PEER), 0, "and so is the peer");
    assert_eq!(world.refresh(&first, &signing, Some(0)).code(), 0);
    let (again, _) = world.allocate(&first, "alice");
    assert!(matches!(world.send(&first, PEER, b"x"), Sent::Dropped(_)), "they ended with it");
    assert_eq!(world.bind(&first, &again, 0x4000, "9.9.9.8:1"), 0);
}

#[test]
fn data_refreshes_neither_permission_nor_channel() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, relayed) = world.allocate(&from, "alice");
    world.refresh(&from, &signing, Some(3600));
    assert_eq!(world.bind(&from, &signing, 0x4000, PEER), 0);
    world.pass(290);
    assert!(matches!(world.send(&from, PEER, b"x"), Sent::To(..)));
    assert!(matches!(world.send_on(&from, 0x4000, b"x"), Sent::To(..)));
    assert!(matches!(world.arrive(relayed, PEER, b"x"), Got::Bytes(..)));
    world.pass(11);
    let denied = Sent::Dropped(DropReason::NoPermissionOutbound);
    assert_eq!(world.send(&from, PEER, b"x"), denied);
    assert_eq!(world.send_on(&from, 0x4000, b"x"), denied);
    world.pass(300);
    assert_eq!(world.permit(&from, &signing, &[PEER]), 0);
    assert_eq!(
        world.send_on(&from, 0x4000, b"x"),
        Sent::Dropped(DropReason::ChannelNotBound),
        "the channel's 600 s were not prolonged either"
    );
}

#[test]
fn channel_data_that_cannot_be_is_dropped() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    assert_eq!(world.bind(&from, &signing, 0x4000, PEER), 0);
    let cut = &channel_data(0x4000, b"12345")[..7];
    assert_eq!(world.dropped(&from, cut), DropReason::MalformedChannelData);
    assert_eq!(world.dropped(&from, &[0x80, 0, 0, 0]), DropReason::NotTurn);
    let unbound = channel_data(0x4001, b"x");
    assert_eq!(world.dropped(&from, &unbound), DropReason::ChannelNotBound);
}
