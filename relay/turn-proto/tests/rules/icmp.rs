//! ICMP errors (RFC 8656, section 11.5).

use turn_proto::{DropReason, FiveTuple, IcmpError, PeerAddr, Server};
use turn_wire::{
    Class, Message, Method,
    attribute::{Data, Icmp, XorPeerAddress},
};

use crate::harness::{World, addr, udp};

const CLIENT: &str = "8.8.4.4:5000";
const PEER: &str = "9.9.9.9:7000";
const PORT_UNREACHABLE: IcmpError = IcmpError { kind: 3, code: 3, data: 0 };

fn fails(world: &mut World, peer: &str, error: IcmpError) -> Option<(FiveTuple, Vec<u8>)> {
    let (relayed, _) = world.open[0];
    let mut out = vec![0; Server::ANSWER_LEN];
    let now = world.now.instant;
    let peer = PeerAddr(addr(peer));
    let (to, len) = world.server.handle_icmp(now, relayed, peer, error, &mut out)?;
    out.truncate(len);
    Some((to, out))
}

#[test]
fn a_client_is_told_which_peer_cannot_be_reached_and_why() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    world.permit(&from, &signing, &[PEER]);
    let too_long = IcmpError { kind: 3, code: 4, data: 1280 };
    let (to, bytes) = fails(&mut world, PEER, too_long).expect("told");
    assert_eq!(to, from);
    let message = Message::decode(&bytes).expect("a message");
    assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
    let peer = message.get::<XorPeerAddress>().expect("well-formed").expect("a peer");
    let icmp = message.get::<Icmp>().expect("well-formed").expect("an error");
    assert_eq!(peer.0, addr(PEER));
    assert_eq!((icmp.kind, icmp.code, icmp.error_data), (3, 4, 1280));
    assert!(!message.has::<Data<'_>>());
}

#[test]
fn an_error_about_a_peer_without_a_permission_is_nobodys_business() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    assert_eq!(fails(&mut world, PEER, PORT_UNREACHABLE), None);
    world.permit(&from, &signing, &[PEER]);
    assert!(fails(&mut world, PEER, PORT_UNREACHABLE).is_some());
    world.pass(301);
    assert_eq!(fails(&mut world, PEER, PORT_UNREACHABLE), None);
    assert_eq!(world.drops(DropReason::NoPermissionInbound), 2);
}

#[test]
fn other_icmp_messages_are_dropped() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    world.permit(&from, &signing, &[PEER]);
    for kind in [0, 1, 2, 4, 5, 8, 12, 255] {
        assert_eq!(fails(&mut world, PEER, IcmpError { kind, ..PORT_UNREACHABLE }), None);
    }
    assert!(fails(&mut world, PEER, IcmpError { kind: 11, ..PORT_UNREACHABLE }).is_some());
    assert_eq!(world.drops(DropReason::Icmp), 8);
}
