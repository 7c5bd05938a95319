//! What somebody who has proved nothing can do: little, and nothing that stays.

use proptest::{collection::vec, prelude::*};
use turn_proto::{ClientAddr, DropReason, FiveTuple, Refusal, Verdict};
use turn_wire::{
    AttributeType, Class, Method, TransactionId,
    attribute::{
        Lifetime, Nonce, PasswordAlgorithms, UnknownAttributes, XorMappedAddress, XorPeerAddress,
    },
};

use crate::harness::{World, addr, channel_data, send_indication, tcp, udp, write};

const CLIENT: &str = "8.8.4.4:5000";

#[test]
fn binding_says_where_the_client_is_and_needs_no_credentials() {
    let mut world = World::new();
    for client in [CLIENT, "[2a00::1]:5000"] {
        let request = world.bare(Method::BINDING, |writer| writer);
        let answer = world.ask(&udp(client), &request);
        assert_eq!(answer.code(), 0);
        assert_eq!(answer.get::<XorMappedAddress>(), Some(XorMappedAddress(addr(client))));
    }
    let odd = world.bare(Method::BINDING, |writer| writer.put_raw(AttributeType(0x7FFF), b"what"));
    let answer = world.ask(&udp(CLIENT), &odd);
    assert_eq!(answer.code(), 420);
    assert!(answer.get::<UnknownAttributes<'_>>().is_some());
}

#[test]
fn nothing_but_a_request_is_ever_answered() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let id = TransactionId([1; 12]);
    for class in [Class::Success, Class::Error] {
        let bytes = write(class, Method::ALLOCATE, id, |writer| writer);
        assert_eq!(world.dropped(&from, &bytes), DropReason::Response);
    }
    let bytes = write(Class::Indication, Method::BINDING, id, |writer| writer);
    assert_eq!(world.dropped(&from, &bytes), DropReason::Indication);
    let send = send_indication("8.8.8.8:9", b"x");
    assert_eq!(world.dropped(&from, &send), DropReason::NoAllocation);
    let on_channel = channel_data(0x4000, b"x");
    assert_eq!(world.dropped(&from, &on_channel), DropReason::NoAllocation);
    assert_eq!(world.dropped(&from, &[]), DropReason::NotTurn);
    assert_eq!(world.dropped(&from, b"GET / HTTP/1.1"), DropReason::MalformedChannelData);
    assert_eq!(world.dropped(&from, &[0x80; 40]), DropReason::NotTurn);
    assert_eq!(world.dropped(&from, &[0; 40]), DropReason::MalformedMessage);
    // RFC 3489: no cookie.
    let mut old = write(Class::Request, Method::BINDING, id, |writer| writer);
    old[4..8].fill(0);
    assert_eq!(world.dropped(&from, &old), DropReason::MalformedMessage);
    let mut crc = write(Class::Request, Method::BINDING, id, |writer| writer.put_fingerprint());
    crc[10] ^= 1;
    assert_eq!(world.dropped(&from, &crc), DropReason::WrongFingerprint);
}

#[test]
fn port_0_and_the_relay_itself_are_never_answered() {
    let mut world = World::new();
    let request = world.bare(Method::BINDING, |writer| writer);
    for client in ["8.8.4.4:0", "198.51.100.1:3478"] {
        assert_eq!(world.dropped(&udp(client), &request), DropReason::ImpossibleSource);
    }
}

#[test]
fn an_answer_to_nobody_known_is_not_much_longer_than_the_question() {
    let mut world = World::new();
    let binding = world.bare(Method::BINDING, |writer| writer);
    assert!(world.ask(&udp("[2a00::1]:1"), &binding).0.len() <= 3 * binding.len());
    let allocate = world.bare(Method::ALLOCATE, |writer| {
        writer.put(&turn_wire::attribute::RequestedTransport::UDP)
    });
    // 20 of header, 8 of ERROR-CODE, 40 of NONCE, 12 of PASSWORD-ALGORITHMS, and the realm.
    let realm = turn_wire::padded(crate::harness::REALM.len()) + 4;
    assert_eq!(world.ask(&udp(CLIENT), &allocate).0.len(), 80 + realm);
}

#[test]
fn a_bare_header_gets_at_most_three_times_its_length() {
    let methods = [Method::ALLOCATE, Method::REFRESH, Method::CHANNEL_BIND, Method::CONNECT];
    for (realm, code) in
        [("a", 401), ("turn.media.example.o", 401), ("turn.media.example.org", 400)]
    {
        let mut world = World::with(|settings| {
            let secret = turn_auth::Secret::from_file(b"north").expect("a secret");
            settings.credentials = turn_auth::Credentials::new(realm, vec![secret], []);
        });
        for method in methods {
            let header = world.bare(method, |writer| writer);
            let answer = world.ask(&udp(CLIENT), &header);
            assert_eq!((answer.code(), header.len()), (code, 20));
            assert!(answer.0.len() <= 60, "{} bytes", answer.0.len());
        }
    }
}

#[test]
fn a_request_that_no_client_begins_with_gets_three_headers_at_most() {
    let mut world = World::new();
    let lifetime = world.bare(Method::REFRESH, |writer| writer.put(&Lifetime(0)));
    let peer = XorPeerAddress(addr("9.9.9.9:7000"));
    let permission = world.bare(Method::CREATE_PERMISSION, |writer| writer.put(&peer));
    let nothing = world.bare(Method::ALLOCATE, |writer| writer.put(&Lifetime(600)));
    let nonce = world.bare(Method::ALLOCATE, |writer| writer.put(&Nonce(b"")));
    for request in [lifetime, permission, nothing, nonce] {
        let answer = world.ask(&udp(CLIENT), &request);
        assert_eq!(answer.code(), 401);
        assert!(answer.0.len() <= 60, "{} bytes", answer.0.len());
        // Nobody forges the source of a stream.
        assert!(world.ask(&tcp(CLIENT), &request).get::<PasswordAlgorithms<'_>>().is_some());
    }
}

#[test]
fn who_goes_on_from_a_bare_header_is_told_a_nonce() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let header = world.bare(Method::ALLOCATE, |writer| writer);
    let brief = world.ask(&from, &header);
    let nonce = brief.get::<turn_wire::attribute::Nonce<'_>>().expect("a nonce").0.to_vec();
    let signing = crate::harness::Signing { nonce, ..world.signing(&from, "alice") };
    assert_eq!(world.refresh(&from, &signing, None).code(), 438);
}

#[test]
fn a_prefix_gets_so_many_replies_and_another_its_own() {
    let mut world = World::with(|settings| {
        settings.limits.unauthenticated_replies_per_second_per_prefix = 10;
    });
    let request = world.bare(Method::BINDING, |writer| writer);
    let mut answered = 0;
    for host in 0..100 {
        let from = udp(&format!("8.8.4.{host}:5000"));
        answered += u32::from(matches!(world.deliver(&from, &request).0, Verdict::Respond { .. }));
    }
    assert_eq!(answered, 10);
    assert_eq!(world.drops(DropReason::ReplyBudget), 90);
    assert_eq!(world.ask(&udp("8.8.5.1:5000"), &request).code(), 0);
}

#[test]
fn who_is_known_needs_no_budget() {
    let mut world = World::with(|settings| {
        settings.limits.unauthenticated_replies_per_second_per_prefix = 1;
    });
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    for _ in 0..50 {
        assert_eq!(world.refresh(&from, &signing, None).code(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Ten thousand of them for each run: no panic, nothing held, each counted.
    #[test]
    fn any_bytes_from_anybody_leave_nothing_behind(
        datagrams in vec((any::<u32>(), any::<u16>(), vec(any::<u8>(), 0..80), 0..4u8), 160),
    ) {
        let mut world = World::new();
        for (ip, port, mut bytes, shape) in datagrams {
            if shape > 0 && bytes.len() >= 20 {
                // Well-formed as far as the header goes.
                let body = (bytes.len() - 20) & !3;
                bytes.truncate(20 + body);
                bytes[0] &= 0x3F;
                bytes[2..4].copy_from_slice(&u16::try_from(body).expect("short").to_be_bytes());
                bytes[4..8].copy_from_slice(&turn_wire::MAGIC_COOKIE.to_be_bytes());
            }
            let client = ClientAddr((std::net::Ipv4Addr::from(ip), port).into());
            let from = FiveTuple { client, ..udp(CLIENT) };
            let before = counted(&world);
            let (verdict, _) = world.deliver(&from, &bytes);
            let ends = matches!(verdict, Verdict::Drop(_) | Verdict::Respond { .. });
            prop_assert!(ends, "{:?}", verdict);
            prop_assert_eq!(counted(&world), before + 1);
        }
        prop_assert_eq!(world.server.allocations(), 0);
        prop_assert_eq!(world.server.poll_timeout(), None);
    }
}

fn counted(world: &World) -> u64 {
    let counters = world.server.counters();
    let drops: u64 = counters.drops.iter().sum();
    let refusals: u64 = Refusal::ALL.iter().map(|refusal| world.refusals(*refusal)).sum();
    drops + refusals + counters.succeeded
}
