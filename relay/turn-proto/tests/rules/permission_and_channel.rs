//! CreatePermission and ChannelBind.

use turn_proto::DropReason;
use turn_wire::{
    Method,
    attribute::{Channel, XorPeerAddress},
};

use crate::harness::{Got, Sent, World, addr, udp};

const CLIENT: &str = "8.8.4.4:5000";
const PEER: &str = "8.8.8.8:9";

#[test]
fn a_permission_lasts_300_s_and_never_less_in_both_directions() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, relayed) = world.allocate(&from, "alice");
    let out = Sent::Dropped(DropReason::NoPermissionOutbound);
    let inbound = Got::Dropped(DropReason::NoPermissionInbound);
    assert_eq!(world.send(&from, PEER, b"x"), out);
    assert_eq!(world.arrive(relayed, PEER, b"x"), inbound);
    assert_eq!(world.permit(&from, &signing, &[PEER]), 0);
    world.pass_millis(300_000);
    assert_eq!(world.send(&from, PEER, b"x"), Sent::To(addr(PEER), b"x".to_vec()));
    assert_eq!(world.arrive(relayed, PEER, b"y").indication(), (addr(PEER), b"y".to_vec()));
    world.pass_millis(1);
    assert_eq!(world.send(&from, PEER, b"x"), out);
    assert_eq!(world.arrive(relayed, PEER, b"x"), inbound);
}

#[test]
fn a_permission_is_for_an_address_and_all_its_ports() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, relayed) = world.allocate(&from, "alice");
    world.permit(&from, &signing, &["8.8.8.8:0"]);
    for peer in ["8.8.8.8:1", "8.8.8.8:65535"] {
        assert_eq!(world.send(&from, peer, b"x"), Sent::To(addr(peer), b"x".to_vec()));
        assert_eq!(world.arrive(relayed, peer, b"x").indication().0, addr(peer));
    }
    assert_eq!(world.send(&from, "8.8.8.8:0", b"x"), Sent::Dropped(DropReason::PeerPortDenied));
    let other = Sent::Dropped(DropReason::NoPermissionOutbound);
    assert_eq!(world.send(&from, "8.8.8.9:1", b"x"), other);
}

#[test]
fn data_reaches_the_client_as_an_indication_until_a_channel_is_bound() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, relayed) = world.allocate(&from, "alice");
    world.permit(&from, &signing, &[PEER]);
    assert_eq!(world.arrive(relayed, PEER, b"one").indication(), (addr(PEER), b"one".to_vec()));
    assert_eq!(world.bind(&from, &signing, 0x4001, PEER), 0);
    assert_eq!(world.arrive(relayed, PEER, b"two").channel_data(), (0x4001, b"two".to_vec()));
    let other_port = world.arrive(relayed, "8.8.8.8:10", b"three");
    assert_eq!(other_port.indication().1, b"three", "a channel is for one port");
    assert_eq!(world.send_on(&from, 0x4001, b"four"), Sent::To(addr(PEER), b"four".to_vec()));
    let not_bound = Sent::Dropped(DropReason::ChannelNotBound);
    assert_eq!(world.send_on(&from, 0x4002, b"five"), not_bound);
}

#[test]
fn a_channel_lasts_600_s_and_brings_a_permission_of_300_s() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, relayed) = world.allocate(&from, "alice");
    world.refresh(&from, &signing, Some(3600));
    assert_eq!(world.bind(&from, &signing, 0x4000, PEER), 0);
    world.pass_millis(300_000);
    assert_eq!(world.send_on(&from, 0x4000, b"x"), Sent::To(addr(PEER), b"x".to_vec()));
    world.pass_millis(1);
    let no_permission = Sent::Dropped(DropReason::NoPermissionOutbound);
    assert_eq!(world.send_on(&from, 0x4000, b"x"), no_permission);
    world.permit(&from, &signing, &[PEER]);
    world.pass_millis(299_999);
    assert_eq!(world.arrive(relayed, PEER, b"x").channel_data().0, 0x4000);
    world.pass_millis(1);
    let not_bound = Sent::Dropped(DropReason::ChannelNotBound);
    assert_eq!(world.send_on(&from, 0x4000, b"x"), not_bound);
    assert_eq!(world.arrive(relayed, PEER, b"x").indication().1, b"x");
    assert_eq!(world.bind(&from, &signing, 0x4000, PEER), 0, "the same pair may be renewed");
}

#[test]
fn a_channel_and_its_peer_belong_together() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    assert_eq!(world.bind(&from, &signing, 0x4000, PEER), 0);
    assert_eq!(world.bind(&from, &signing, 0x4000, PEER), 0, "renewed");
    assert_eq!(world.bind(&from, &signing, 0x4000, "8.8.8.8:10"), 400, "another peer");
    assert_eq!(world.bind(&from, &signing, 0x4001, PEER), 400, "another number");
}

#[test]
fn requests_that_lack_something_are_bad() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    assert_eq!(world.permit(&from, &signing, &[]), 400);
    assert_eq!(world.bind(&from, &signing, 0x4000, "8.8.8.8:0"), 400);
    let no_peer = world.signed(&signing, Method::CHANNEL_BIND, |writer| {
        writer.put(&Channel(turn_wire::ChannelNumber::MIN))
    });
    assert_eq!(world.ask(&from, &no_peer).code(), 400);
    let no_channel = world
        .signed(&signing, Method::CHANNEL_BIND, |writer| writer.put(&XorPeerAddress(addr(PEER))));
    assert_eq!(world.ask(&from, &no_channel).code(), 400);
    let reserved = world.signed(&signing, Method::CHANNEL_BIND, |writer| {
        writer
            .put_raw(turn_wire::AttributeType(0x000C), &[0x80, 0, 0, 0])
            .put(&XorPeerAddress(addr(PEER)))
    });
    assert_eq!(world.ask(&from, &reserved).code(), 400, "a number that is no channel's");
}

#[test]
fn a_denied_peer_gets_403_by_every_way_to_name_it() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, relayed) = world.allocate(&from, "alice");
    for denied in ["10.0.0.1:9", "127.0.0.1:3478", "169.254.169.254:80", "224.0.0.1:9"] {
        assert_eq!(world.permit(&from, &signing, &[denied]), 403, "{denied}");
        assert_eq!(world.bind(&from, &signing, 0x4000, denied), 403, "{denied}");
        let out = Sent::Dropped(DropReason::NoPermissionOutbound);
        assert_eq!(world.send(&from, denied, b"x"), out, "{denied}");
        let inbound = Got::Dropped(DropReason::NoPermissionInbound);
        assert_eq!(world.arrive(relayed, denied, b"x"), inbound, "{denied}");
    }
    assert_eq!(world.permit(&from, &signing, &[PEER, "10.0.0.1:9"]), 403);
    let all_or_none = Sent::Dropped(DropReason::NoPermissionOutbound);
    assert_eq!(world.send(&from, PEER, b"x"), all_or_none);
}

#[test]
fn a_peer_of_the_wrong_family_gets_443() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    assert_eq!(world.permit(&from, &signing, &["[2a00::1]:9"]), 443);
    assert_eq!(world.bind(&from, &signing, 0x4000, "[2a00::1]:9"), 443);
}

#[test]
fn a_new_policy_takes_back_what_it_denies_and_keeps_the_rest() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    assert_eq!(world.permit(&from, &signing, &[PEER, "1.1.1.1:9"]), 0);
    world.reload(|settings| {
        settings.peers.deny = vec!["8.8.8.0/24".parse().expect("a network")];
    });
    let out = Sent::Dropped(DropReason::NoPermissionOutbound);
    assert_eq!(world.send(&from, PEER, b"x"), out);
    assert_eq!(world.send(&from, "1.1.1.1:9", b"x"), Sent::To(addr("1.1.1.1:9"), b"x".to_vec()));
    assert_eq!(world.permit(&from, &signing, &[PEER]), 403);
}

#[test]
fn the_candidates_of_one_host_are_one_permission() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    let candidates: Vec<_> = (1..=9).map(|port| format!("8.8.8.8:{port}")).collect();
    let candidates: Vec<_> = candidates.iter().map(String::as_str).collect();
    // An allocation has four permissions here.
    assert_eq!(world.permit(&from, &signing, &candidates), 0);
    let others = ["1.1.1.1:1", "1.1.1.1:2", "1.1.1.2:1", "1.1.1.3:1", "1.1.1.3:2"];
    assert_eq!(world.permit(&from, &signing, &others), 0);
    assert_eq!(world.permit(&from, &signing, &["1.1.1.4:1"]), 508);
}
