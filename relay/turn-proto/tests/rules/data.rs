//! The data path: what is relayed, and what is not.

use turn_proto::{DropReason, FiveTuple, Verdict};
use turn_wire::{
    AttributeType, Class, Method, TransactionId,
    attribute::{Data, DontFragment, XorPeerAddress},
};

use crate::harness::{Got, Sent, World, addr, channel_data, tcp, udp, write};

const CLIENT: &str = "8.8.4.4:5000";
const PEER: &str = "8.8.8.8:9";

#[test]
fn over_tcp_channel_data_is_padded_and_over_udp_it_is_not() {
    for (from, expected) in [(udp(CLIENT), 4 + 5), (tcp(CLIENT), 4 + 8)] {
        let mut world = World::new();
        let (signing, relayed) = world.allocate(&from, "alice");
        world.bind(&from, &signing, 0x4000, PEER);
        let Got::Bytes(to, bytes) = world.arrive(relayed, PEER, b"12345") else { panic!() };
        assert_eq!((to, bytes.len()), (from, expected));
        let mut padded = channel_data(0x4000, b"12345");
        padded.extend_from_slice(&[0; 3]);
        let Verdict::ToPeer { payload, .. } = world.deliver(&from, &padded).0 else { panic!() };
        assert_eq!(padded[payload], *b"12345", "padding is accepted over both");
    }
}

#[test]
fn two_clients_that_are_both_relayed_reach_each_other_and_nothing_else_of_the_relay() {
    let mut world = World::new();
    let (a, b) = (udp("8.8.4.4:1"), udp("8.8.4.4:2"));
    let (sign_a, relayed_a) = world.allocate(&a, "alice");
    let (sign_b, relayed_b) = world.allocate(&b, "bea");
    let (at_a, at_b) = (relayed_a.0.to_string(), relayed_b.0.to_string());
    assert_eq!(world.permit(&a, &sign_a, &[&at_b]), 0);
    assert_eq!(world.permit(&b, &sign_b, &[&at_a]), 0);
    assert_eq!(world.send(&a, &at_b, b"hello"), Sent::To(relayed_b.0, b"hello".to_vec()));
    assert_eq!(world.arrive(relayed_b, &at_a, b"hello").indication().1, b"hello");
    let denied = Sent::Dropped(DropReason::PeerPortDenied);
    assert_eq!(world.send(&a, "198.51.100.1:3478", b"x"), denied, "the listener");
    assert_eq!(world.send(&a, "198.51.100.1:22", b"x"), denied, "another port of the node");
    world.refresh(&b, &sign_b, Some(0));
    assert_eq!(world.send(&a, &at_b, b"x"), denied, "not live any more");
    let inbound = Got::Dropped(DropReason::PeerPortDenied);
    assert_eq!(world.arrive(relayed_a, "198.51.100.1:53", b"x"), inbound);
}

#[test]
fn another_relay_of_the_fleet_is_reached_at_its_relay_ports_only() {
    let mut world = World::with(|settings| {
        settings.peers.relays = vec!["10.0.0.2".parse().expect("an address")];
    });
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    assert_eq!(world.permit(&from, &signing, &["10.0.0.2:1"]), 0);
    let inside = "10.0.0.2:61007";
    assert_eq!(world.send(&from, inside, b"x"), Sent::To(addr(inside), b"x".to_vec()));
    let denied = Sent::Dropped(DropReason::PeerPortDenied);
    assert_eq!(world.send(&from, "10.0.0.2:3478", b"x"), denied);
    assert_eq!(world.permit(&from, &signing, &["10.0.0.3:61007"]), 403);
}

#[test]
fn the_relay_s_own_address_allowed_by_name_is_reached_but_its_listeners_are_not() {
    let mut world = World::with(|settings| {
        settings.peers.allow = vec!["198.51.100.0/24".parse().expect("a network")];
    });
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    assert_eq!(world.permit(&from, &signing, &["198.51.100.1:9"]), 0);
    let near = "198.51.100.1:9";
    assert_eq!(world.send(&from, near, b"x"), Sent::To(addr(near), b"x".to_vec()));
    let denied = Sent::Dropped(DropReason::PeerPortDenied);
    assert_eq!(world.send(&from, "198.51.100.1:3478", b"x"), denied);
}

#[test]
fn dont_fragment_goes_with_the_datagram() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    world.permit(&from, &signing, &[PEER]);
    let send = |fragment: Option<DontFragment>| {
        write(Class::Indication, Method::SEND, TransactionId([9; 12]), |writer| {
            writer.put(&XorPeerAddress(addr(PEER))).put(&Data(b"x")).put_some(fragment.as_ref())
        })
    };
    for (fragment, expected) in [(None, false), (Some(DontFragment), true)] {
        let bytes = send(fragment);
        let Verdict::ToPeer { dont_fragment, .. } = world.deliver(&from, &bytes).0 else {
            panic!("not sent")
        };
        assert_eq!(dont_fragment, expected);
    }
}

#[test]
fn dont_fragment_is_ignored_where_datagrams_change_from_or_to_ipv6() {
    let mut world = World::new();
    let fragment = |world: &mut World, from: &FiveTuple, peer: &str| {
        let bytes = write(Class::Indication, Method::SEND, TransactionId([9; 12]), |writer| {
            writer.put(&XorPeerAddress(addr(peer))).put(&Data(b"x")).put(&DontFragment)
        });
        let Verdict::ToPeer { dont_fragment, .. } = world.deliver(from, &bytes).0 else {
            panic!("not sent")
        };
        dont_fragment
    };
    let over_ipv6 = udp("[2a00::4]:5000");
    let (signing, _) = world.allocate(&over_ipv6, "alice");
    world.permit(&over_ipv6, &signing, &[PEER]);
    assert!(!fragment(&mut world, &over_ipv6, PEER), "from IPv6 to IPv4");
    let stream = tcp("[2a00::4]:5000");
    let (signing, _) = world.allocate(&stream, "alice");
    world.permit(&stream, &signing, &[PEER]);
    assert!(fragment(&mut world, &stream, PEER), "a stream has no packets to translate");
}

#[test]
fn a_send_indication_that_lacks_something_or_has_what_is_not_understood_is_dropped() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    world.permit(&from, &signing, &[PEER]);
    let peer = XorPeerAddress(addr(PEER));
    let id = TransactionId([9; 12]);
    let send =
        |body: &dyn for<'b> Fn(turn_wire::MessageWriter<'b>) -> turn_wire::MessageWriter<'b>| {
            write(Class::Indication, Method::SEND, id, body)
        };
    for bytes in [
        send(&|writer| writer.put(&peer)),
        send(&|writer| writer.put(&Data(b"x"))),
        send(&|writer| writer.put(&peer).put(&Data(b"x")).put_raw(AttributeType(0x7FFF), b"")),
        send(&|writer| writer.put_raw(AttributeType(0x0012), b"short").put(&Data(b"x"))),
    ] {
        assert_eq!(world.dropped(&from, &bytes), DropReason::MalformedSend);
    }
    assert_eq!(world.drops(DropReason::MalformedSend), 4);
}

#[test]
fn a_duplicate_attribute_counts_once_the_first() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    world.permit(&from, &signing, &[PEER]);
    let bytes = write(Class::Indication, Method::SEND, TransactionId([9; 12]), |writer| {
        writer
            .put(&XorPeerAddress(addr(PEER)))
            .put(&XorPeerAddress(addr("1.1.1.1:1")))
            .put(&Data(b"first"))
            .put(&Data(b"second"))
    });
    let Verdict::ToPeer { peer, payload, .. } = world.deliver(&from, &bytes).0 else {
        panic!("not sent")
    };
    assert_eq!((peer.0, &bytes[payload]), (addr(PEER), &b"first"[..]));
}

#[test]
fn an_empty_datagram_is_a_datagram() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, relayed) = world.allocate(&from, "alice");
    world.bind(&from, &signing, 0x4000, PEER);
    assert_eq!(world.send(&from, PEER, b""), Sent::To(addr(PEER), Vec::new()));
    assert_eq!(world.send_on(&from, 0x4000, b""), Sent::To(addr(PEER), Vec::new()));
    assert_eq!(world.arrive(relayed, PEER, b"").channel_data().1, b"");
}

#[test]
fn what_is_counted_is_what_was_relayed() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, relayed) = world.allocate(&from, "alice");
    world.permit(&from, &signing, &[PEER]);
    world.send(&from, PEER, &[1; 100]);
    world.send(&from, "1.1.1.1:1", &[1; 100]);
    world.arrive(relayed, PEER, &[2; 30]);
    let counters = world.server.counters();
    assert_eq!((counters.to_peers.datagrams, counters.to_peers.bytes), (1, 100));
    assert_eq!((counters.to_clients.datagrams, counters.to_clients.bytes), (1, 30));
}
