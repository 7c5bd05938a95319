//! What comes back when nobody listens where a client sends to (RFC 8656, section 11.5).

use std::net::UdpSocket;

use turn_client::Event;

use crate::{
    caller::{Caller, Over, PEERS},
    relay::Relay,
};

#[test]
fn a_client_is_told_of_a_closed_port_and_loses_nothing_to_other_peers() {
    let mut relay = Relay::start(PEERS);
    for over in [Over::Udp(relay.server()), Over::Tcp(relay.server())] {
        let mut caller = Caller::allocate(&relay, over, "alice");
        let closed = UdpSocket::bind("127.0.0.2:0").expect("a port");
        let nobody = closed.local_addr().expect("bound");
        drop(closed);
        let before = relay.metric("turn_socket_events_total{event=\"icmp_received\"}");
        caller.send_to(nobody, b"anybody there?");
        let event = caller.next_event();
        assert!(
            matches!(event, Event::Icmp { peer, kind: 3, code: 3 } if peer == nobody),
            "{event:?}"
        );
        relay.until("counted", |relay| {
            relay.metric("turn_socket_events_total{event=\"icmp_received\"}") > before
        });
        for _ in 0..20 {
            caller.send_to(nobody, b"anybody there?");
            caller.send_on();
        }
    }
}
