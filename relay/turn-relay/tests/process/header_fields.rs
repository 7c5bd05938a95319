//! The IP header of what is relayed is the relay's own (RFC 8656, sections 13 to 15): the fields
//! that are not translated have the system's defaults.

use std::{fs, net::UdpSocket, os::fd::AsRawFd};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt::Ipv4RecvTtl,
};
use socket2::SockRef;

use crate::{
    caller::{Caller, Over, PEERS},
    relay::Relay,
};

/// What a packet of somebody careful, or of a flood, may have.
const ODD_TTL: u32 = 5;

/// Expedited forwarding, and congestion experienced.
const ODD_TOS: u32 = 0xB8 | 0x03;

/// TTL and type of service of the next datagram.
fn fields(socket: &UdpSocket) -> (u8, u8) {
    let mut bytes = [0; 2048];
    let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
    let mut room = nix::cmsg_space!(i32, u8);
    let received = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut room),
        MsgFlags::empty(),
    )
    .expect("a datagram");
    let (mut ttl, mut tos) = (0, 0);
    for message in received.cmsgs().expect("all of them") {
        if let ControlMessageOwned::Ipv4Ttl(found) = message {
            ttl = u8::try_from(found).expect("eight bits");
        } else if let ControlMessageOwned::Ipv4Tos(found) = message {
            tos = found;
        }
    }
    (ttl, tos)
}

fn ask_for_fields(socket: &UdpSocket) {
    setsockopt(socket, Ipv4RecvTtl, &true).expect("set");
    SockRef::from(socket).set_recv_tos_v4(true).expect("set");
}

fn send_oddly(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    socket.set_ttl_v4(ODD_TTL).expect("set");
    socket.set_tos_v4(ODD_TOS).expect("set");
}

#[test]
fn ttl_dscp_and_ecn_are_the_systems_and_not_those_that_came() {
    let default = fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").expect("Linux");
    let default = (default.trim().parse().expect("a number"), 0);
    let relay = Relay::start(PEERS);
    let mut caller = Caller::allocate(&relay, Over::Udp(relay.server()), "alice");
    let client = caller.socket();
    let peer = caller.peer.try_clone().expect("a descriptor");
    for socket in [&client, &peer] {
        ask_for_fields(socket);
        send_oddly(socket);
    }
    caller.send_number(1);
    assert_eq!(fields(&peer), default, "towards the peer");
    peer.send_to(b"and back", caller.relayed).expect("sent");
    assert_eq!(fields(&client), default, "towards the client");
}
