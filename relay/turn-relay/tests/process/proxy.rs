//! Listeners behind a load balancer that speaks the PROXY protocol.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use rustls::version::TLS13;

use crate::{
    caller::{Caller, Over, PEERS, connect, tls},
    relay::{Relay, free_port},
};

const MISSING: &str = "turn_socket_events_total{event=\"proxy_header_missing\"}";

/// A relay whose listener of a protocol takes headers from these sources.
pub(crate) fn relay_behind(protocol: &str, sources: &str, more: &str) -> (Relay, u16) {
    let port = free_port();
    let relay = Relay::start_with(|files| {
        files.listeners.push(format!(
            "{{name: front, protocol: {protocol}, port: {port}, proxyProtocol: [{sources}]}}"
        ));
        files.more = format!("{PEERS}{more}");
    });
    (relay, port)
}

fn header(command: u8, client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let (SocketAddr::V4(client), SocketAddr::V4(server)) = (client, server) else {
        panic!("IPv4 is enough here")
    };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11, 0, 15]);
    header.extend(client.ip().octets());
    header.extend(server.ip().octets());
    header.extend(client.port().to_be_bytes());
    header.extend(server.port().to_be_bytes());
    // Something that load balancers add.
    header.extend([0x04, 0, 0]);
    header
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Connects as a load balancer does for a client.
pub(crate) fn balanced(relay: &Relay, port: u16, client: &str) -> TcpStream {
    let mut stream = connect(relay.at(port));
    let header = header(1, address(client), address("198.51.100.1:443"));
    // In two pieces, as TCP may have it.
    stream.write_all(&header[..20]).expect("sent");
    stream.flush().expect("sent");
    stream.write_all(&header[20..]).expect("sent");
    stream
}

#[test]
fn who_a_listed_balancer_says_it_is_is_the_client() {
    let (relay, port) = relay_behind("Auto", "127.0.0.0/8", "");
    let mut caller = Caller::allocate_on(balanced(&relay, port, "8.8.4.4:5000"), "alice");
    assert_eq!(caller.mapped, address("8.8.4.4:5000"));
    caller.echo();
    let stream = balanced(&relay, port, "8.8.4.4:5001");
    let mut secure =
        Caller::allocate_on_tls(tls(stream, relay.certificate(), &TLS13, &[]), "alice");
    assert_eq!(secure.mapped, address("8.8.4.4:5001"));
    secure.echo();
    caller.echo();
}

#[test]
fn a_balancer_that_connects_for_itself_is_itself() {
    let (relay, port) = relay_behind("TCP", "127.0.0.1/32", "");
    let mut stream = connect(relay.at(port));
    let own = stream.local_addr().expect("connected");
    let header = header(0, address("8.8.4.4:5000"), address("8.8.8.8:443"));
    stream.write_all(&header).expect("sent");
    assert_eq!(Caller::allocate_on(stream, "alice").mapped, own);
}

#[test]
fn a_listed_source_without_a_header_is_reset_and_counted() {
    let (mut relay, port) = relay_behind("TCP", "127.0.0.1/32", "");
    for (index, bytes) in [
        &b"PROXY TCP4 8.8.4.4 8.8.8.8 5000 443\r\n"[..],
        b"\x00\x01\x00\x00\x21\x12\xa4\x42123456789012",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x12\x00\x0c",
    ]
    .iter()
    .enumerate()
    {
        let mut stream = connect(relay.at(port));
        stream.write_all(bytes).expect("sent");
        let end = stream.read(&mut [0]).expect_err("no answer, and no orderly end");
        assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
        relay.until("counted", |relay| relay.metric(MISSING) == index as u64 + 1);
    }
}

#[test]
fn a_header_from_any_other_source_is_garbage() {
    let (mut relay, port) = relay_behind("TCP", "192.0.2.0/24", "");
    let mut stream = connect(relay.at(port));
    let header = header(1, address("8.8.4.4:5000"), address("8.8.8.8:443"));
    stream.write_all(&header).expect("sent");
    assert!(stream.read(&mut [0]).is_err(), "reset");
    relay.until("counted", |relay| {
        relay.metric("turn_socket_events_total{event=\"framing_errors\"}") == 1
    });
    let mut caller = Caller::allocate(&relay, Over::Tcp(relay.at(port)), "alice");
    assert!(caller.mapped.ip().is_loopback());
    caller.echo();
}

#[test]
fn the_cap_is_that_of_the_client_and_not_of_its_balancer() {
    let more = "workers: 1\nlimits: {pendingConnectionsPerPrefix: 2}\n";
    let (mut relay, port) = relay_behind("TCP", "127.0.0.1/32", more);
    let others: Vec<_> =
        (0..6).map(|net| balanced(&relay, port, &format!("8.8.{net}.4:5000"))).collect();
    let _same: Vec<_> =
        (0..2).map(|port_| balanced(&relay, port, &format!("9.9.9.9:{}", 5000 + port_))).collect();
    relay.until("accepted", |relay| relay.metric("turn_connections") == 8);
    let mut third = balanced(&relay, port, "9.9.9.10:5000");
    assert!(third.read(&mut [0]).is_err(), "reset");
    drop(others);
}

#[test]
fn a_header_that_does_not_come_ends_the_connection_in_time() {
    let more = "limits: {pendingConnectionTimeoutSeconds: 1}\n";
    let (mut relay, port) = relay_behind("TCP", "127.0.0.1/32", more);
    let mut stream = connect(relay.at(port));
    stream.write_all(b"\r\n\r\n\0").expect("sent");
    relay.until("timed out", |relay| {
        relay.metric("turn_socket_events_total{event=\"connections_timed_out\"}") == 1
    });
    let _ended = stream.read_to_end(&mut Vec::new());
}

#[test]
fn sources_change_while_it_runs() {
    let (mut relay, port) = relay_behind("TCP", "192.0.2.0/24", "");
    let mut before = Caller::allocate(&relay, Over::Tcp(relay.at(port)), "alice");
    relay.change(|files| {
        for listener in &mut files.listeners {
            *listener = listener.replace("192.0.2.0/24", "127.0.0.1/32");
        }
    });
    relay.until_applied(1);
    let mut caller = Caller::allocate_on(balanced(&relay, port, "8.8.4.4:5000"), "alice");
    assert_eq!(caller.mapped, address("8.8.4.4:5000"));
    caller.echo();
    before.echo();
}
