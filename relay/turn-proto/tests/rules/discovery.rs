//! RFC 5780: answers from another address and port, for clients that want to know their NAT.

use std::net::SocketAddr;

use turn_proto::{ClientAddr, DiscoveryAddresses, FiveTuple, RelayAddress, Verdict};
use turn_wire::{
    Attribute, MessageWriter, Method,
    attribute::{
        ChangeRequest, MappedAddress, OtherAddress, Padding, ResponseOrigin, ResponsePort,
        UnknownAttributes, XorMappedAddress,
    },
};

use crate::harness::{Answer, World, addr, tcp, udp};

const CLIENT: &str = "8.8.4.4:5000";
const PRIMARY: &str = "198.51.100.1";
const OTHER: &str = "198.51.100.2";

fn world() -> World {
    let own = |ip: &str, external: &str| RelayAddress {
        local: ip.parse().expect("an address"),
        external: external.parse().expect("an address"),
    };
    World::with(|settings| {
        settings.discovery = vec![DiscoveryAddresses {
            addresses: [own(PRIMARY, PRIMARY), own(OTHER, "203.0.113.2")],
            ports: [3478, 3479],
        }];
    })
}

/// Sends a Binding; the answer, and where it is sent from and to.
fn bind(
    world: &mut World,
    from: &FiveTuple,
    body: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
) -> (Answer, SocketAddr, SocketAddr) {
    let request = world.bare(Method::BINDING, body);
    match world.deliver(from, &request) {
        (Verdict::Respond { .. }, out) => (Answer(out), from.server, from.client.0),
        (Verdict::RespondFrom { server, client: ClientAddr(client), .. }, out) => {
            (Answer(out), server, client)
        }
        (verdict, _) => panic!("no answer: {verdict:?}"),
    }
}

#[test]
fn an_answer_says_where_it_comes_from_and_where_else_it_could() {
    let mut world = world();
    let from = udp(CLIENT);
    let (answer, server, client) = bind(&mut world, &from, |writer| writer);
    assert_eq!((server, client), (from.server, from.client.0));
    assert_eq!(answer.get::<ResponseOrigin>(), Some(ResponseOrigin(from.server)));
    assert_eq!(answer.get::<OtherAddress>(), Some(OtherAddress(addr("203.0.113.2:3479"))));
    assert_eq!(answer.get::<XorMappedAddress>(), Some(XorMappedAddress(addr(CLIENT))));
    assert_eq!(answer.get::<MappedAddress>(), Some(MappedAddress(addr(CLIENT))));
}

#[test]
fn an_answer_comes_from_the_address_and_port_that_it_is_asked_from() {
    let mut world = world();
    let from = udp(CLIENT);
    for (address, port, local, external) in [
        (false, true, "198.51.100.1:3479", "198.51.100.1:3479"),
        (true, false, "198.51.100.2:3478", "203.0.113.2:3478"),
        (true, true, "198.51.100.2:3479", "203.0.113.2:3479"),
    ] {
        let change = ChangeRequest { address, port };
        let (answer, server, client) = bind(&mut world, &from, |writer| writer.put(&change));
        assert_eq!((server, client), (addr(local), addr(CLIENT)), "{change:?}");
        assert_eq!(answer.get::<ResponseOrigin>(), Some(ResponseOrigin(addr(external))));
        let other = answer.get::<OtherAddress>();
        assert_eq!(other, Some(OtherAddress(addr("203.0.113.2:3479"))), "whatever is changed");
    }
}

#[test]
fn an_answer_goes_to_the_port_that_is_asked_for() {
    let mut world = world();
    let (answer, _, client) =
        bind(&mut world, &udp(CLIENT), |writer| writer.put(&ResponsePort(6000)));
    assert_eq!(client, addr("8.8.4.4:6000"));
    assert_eq!(answer.get::<XorMappedAddress>(), Some(XorMappedAddress(addr(CLIENT))));
    let (answer, ..) = bind(&mut world, &udp(CLIENT), |writer| writer.put(&ResponsePort(0)));
    assert_eq!(answer.code(), 400);
}

#[test]
fn padding_is_answered_with_padding_and_never_with_more() {
    let mut world = world();
    for (asked, given) in [(0, 0), (100, 100), (1500, 1500), (4000, 1504)] {
        let zeros = vec![0; asked];
        let request = |writer: MessageWriter<'_>| writer.put(&Padding(&zeros)).finish();
        let mut buffer = vec![0; 8192];
        let transaction = world.transaction();
        let writer = MessageWriter::new(
            &mut buffer,
            turn_wire::Class::Request,
            Method::BINDING,
            transaction,
        );
        let len = request(writer).expect("room");
        let answer = world.ask(&udp(CLIENT), &buffer[..len]);
        let padding = answer.get::<Padding<'_>>().map_or(0, |padding| padding.0.len());
        assert_eq!(padding, given);
    }
}

#[test]
fn padding_to_another_port_is_a_bad_request() {
    let mut world = world();
    let (answer, ..) = bind(&mut world, &udp(CLIENT), |writer| {
        writer.put(&ResponsePort(6000)).put(&Padding(&[0; 1000]))
    });
    assert_eq!(answer.code(), 400);
    assert!(answer.0.len() <= 28);
}

#[test]
fn who_does_not_serve_discovery_does_not_understand_it() {
    let change = ChangeRequest { address: true, port: true };
    let elsewhere = FiveTuple { server: addr("198.51.100.1:3480"), ..udp(CLIENT) };
    for (mut world, from) in
        [(World::new(), udp(CLIENT)), (world(), tcp(CLIENT)), (world(), elsewhere)]
    {
        let (answer, ..) = bind(&mut world, &from, |writer| writer.put(&change));
        assert_eq!(answer.code(), 420);
        let unknown = answer.get::<UnknownAttributes<'_>>().expect("named");
        assert_eq!(unknown.types().collect::<Vec<_>>(), [ChangeRequest::TYPE]);
        let (answer, ..) = bind(&mut world, &from, |writer| writer);
        assert_eq!(answer.get::<OtherAddress>(), None);
    }
}
