//! Listeners that come and go while the relay runs.

use std::net::UdpSocket;

use rustls::version::TLS13;
use turn_probe::Transport;

use crate::{
    caller::{Caller, DtlsVersion, Over, PEERS},
    relay::{Relay, SOON, free_port, listener},
};

const REMOVED: &str = "turn_allocations_ended_total{reason=\"listener_removed\"}";

#[test]
fn an_answer_leaves_from_the_address_and_port_that_was_asked() {
    let other = free_port();
    let relay = Relay::start_with(|files| {
        files.more = PEERS.to_owned();
        files.listeners.push(listener("UDP", other));
    });
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(SOON)).expect("set");
    for server in [relay.server(), relay.at(other), relay.server()] {
        // A Binding request: a type, no length, the magic cookie and a transaction.
        socket.send_to(b"\0\x01\0\0\x21\x12\xA4\x42transaction!", server).expect("sent");
        let (_, from) = socket.recv_from(&mut [0; 100]).expect("an answer");
        assert_eq!(from, server);
    }
}

#[test]
fn a_listener_is_added_and_clients_of_the_others_notice_nothing() {
    let mut relay = Relay::start(PEERS);
    let mut callers = [Over::Udp(relay.server()), Over::Tcp(relay.server())]
        .map(|over| Caller::allocate(&relay, over, "alice"));
    let ports: Vec<_> = (0..3).map(|_| free_port()).collect();
    relay.change(|files| {
        let new = ["TLS", "DTLS", "Auto"].into_iter().zip(&ports);
        files.listeners.extend(new.map(|(protocol, port)| listener(protocol, *port)));
    });
    relay.until_applied(1);
    for (transport, port) in [
        (Transport::Tls, ports[0]),
        (Transport::Dtls, ports[1]),
        (Transport::Tcp, ports[2]),
        (Transport::Tls, ports[2]),
    ] {
        assert!(relay.echo_at(relay.at(port), transport, "north").is_ok());
        assert!(relay.get("/status").1.contains(&port.to_string()));
    }
    for caller in &mut callers {
        caller.echo();
        caller.refresh();
    }
    assert_eq!(relay.metric(REMOVED), 0);
}

#[test]
fn a_listener_is_removed_with_its_clients_and_clients_of_the_others_notice_nothing() {
    let ports: Vec<_> = (0..4).map(|_| free_port()).collect();
    let mut relay = Relay::start_with(|files| {
        let more = ["UDP", "TCP", "TLS", "DTLS"].into_iter().zip(&ports);
        files.listeners.extend(more.map(|(protocol, port)| listener(protocol, *port)));
        PEERS.clone_into(&mut files.more);
    });
    let (tls, dtls) =
        (Over::Tls(relay.at(ports[2]), &TLS13), Over::Dtls(relay.at(ports[3]), DtlsVersion::V12));
    let leaving = [Over::Udp(relay.at(ports[0])), Over::Tcp(relay.at(ports[1])), tls, dtls];
    let mut leaving = leaving.map(|over| Caller::allocate(&relay, over, "alice"));
    let mut staying = [Over::Udp(relay.server()), Over::Tcp(relay.server())]
        .map(|over| Caller::allocate(&relay, over, "bob"));
    relay.change(|files| files.listeners.truncate(2));
    relay.until_applied(1);
    relay.until("ended", |relay| relay.metric(REMOVED) == 4);
    for caller in &mut leaving[1..3] {
        assert!(caller.is_ended());
    }
    for caller in &mut staying {
        caller.echo();
        caller.refresh();
    }
    assert_eq!(relay.metric("turn_allocations"), 2);
    relay.until("free", |_| UdpSocket::bind(("127.0.0.1", ports[0])).is_ok());
    assert!(std::net::TcpStream::connect(relay.at(ports[1])).is_err(), "refused");
}

#[test]
fn a_listener_that_speaks_more_keeps_its_clients_and_one_that_speaks_less_does_not() {
    let port = free_port();
    let mut relay = Relay::start_with(|files| {
        files.listeners.push(listener("TCP", port));
        PEERS.clone_into(&mut files.more);
    });
    let mut plain = Caller::allocate(&relay, Over::Tcp(relay.at(port)), "alice");
    relay.change(|files| files.listeners[2] = listener("Auto", port));
    relay.until_applied(1);
    plain.echo();
    let mut secure = Caller::allocate(&relay, Over::Tls(relay.at(port), &TLS13), "alice");
    relay.change(|files| files.listeners[2] = listener("TLS", port));
    relay.until_applied(2);
    assert!(plain.is_ended());
    secure.echo();
    assert_eq!(relay.metric(REMOVED), 1);
}

#[test]
fn a_port_that_is_taken_leaves_everything_as_it_is_until_it_is_free() {
    let mut relay = Relay::start(PEERS);
    let mut caller = Caller::allocate(&relay, Over::Udp(relay.server()), "alice");
    let port = free_port();
    let taken = UdpSocket::bind(("127.0.0.1", port)).expect("free");
    relay.change(|files| {
        files.listeners.push(listener("UDP", port));
        "example.net".clone_into(&mut files.realm);
    });
    relay.until_refused("listener", 1);
    let log = relay.log();
    assert!(log.contains(&format!("udp-{port}")), "{log}");
    assert!(relay.get("/status").1.contains("example.org"), "the rest is as it was, too");
    caller.echo();
    drop(taken);
    relay.until_applied(1);
    assert!(relay.echo_at(relay.at(port), Transport::Udp, "north").is_ok());
    caller.echo();
}
