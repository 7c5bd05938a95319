//! TLS, and its certificates.

use std::io::{Read, Write};

use rustls::version::{TLS12, TLS13};
use turn_probe::Transport;

use crate::{
    caller::{Caller, Over, PEERS, connect, tls},
    relay::{Relay, free_port, listener},
};

/// A relay with a listener of a protocol, beside the others; and its port.
fn relay_with(protocol: &str) -> (Relay, u16) {
    let port = free_port();
    let relay = Relay::start_with(|files| {
        files.listeners.push(listener(protocol, port));
        PEERS.clone_into(&mut files.more);
    });
    (relay, port)
}

fn failed(relay: &Relay, reason: &str) -> u64 {
    relay.metric(&format!("turn_handshakes_failed_total{{reason=\"{reason}\"}}"))
}

#[test]
fn clients_of_both_versions_of_tls_are_served() {
    let (mut relay, port) = relay_with("TLS");
    for version in [&TLS12, &TLS13] {
        let mut caller = Caller::allocate(&relay, Over::Tls(relay.at(port), version), "alice");
        caller.echo();
        caller.refresh();
    }
    relay.until("ended", |relay| relay.metric("turn_allocations") == 0);
    assert!(relay.echo_at(relay.at(port), Transport::Tls, "north").is_ok());
}

#[test]
fn a_client_without_application_protocol_is_served_and_one_with_others_only_is_not() {
    let (mut relay, port) = relay_with("TLS");
    let nat: &[u8] = b"stun.nat-discovery";
    for alpn in [&[][..], &[nat], &[b"h2", b"stun.turn"]] {
        let stream = tls(connect(relay.at(port)), relay.certificate(), &TLS13, alpn);
        Caller::allocate_on_tls(stream, "alice").echo();
    }
    let mut stream = tls(connect(relay.at(port)), relay.certificate(), &TLS13, &[b"h2"]);
    assert!(stream.write_all(b"anything").is_err());
    relay.until("counted", |relay| failed(relay, "application_protocol") == 1);
}

#[test]
fn handshakes_that_fail_are_counted_and_leave_nothing() {
    let (mut relay, port) = relay_with("TLS");
    let mut plain = connect(relay.at(port));
    plain.write_all(&[0; 40]).expect("sent");
    let _reset_or_alert = plain.read_to_end(&mut Vec::new());
    relay.until("counted", |relay| failed(relay, "malformed") == 1);
    let other = crate::certificates::Certificate::new();
    let mut distrusts = tls(connect(relay.at(port)), &other, &TLS12, &[]);
    assert!(distrusts.write_all(b"anything").is_err());
    relay.until("counted", |relay| failed(relay, "refused_by_client") == 1);
    drop((plain, distrusts));
    relay.until("closed", |relay| relay.metric("turn_connections") == 0);
}

#[test]
fn a_handshake_that_does_not_end_is_ended_and_counts_against_its_prefix() {
    let port = free_port();
    let mut relay = Relay::start_with(|files| {
        files.listeners.push(listener("TLS", port));
        "workers: 1\nlimits: {pendingConnectionTimeoutSeconds: 2, pendingConnectionsPerPrefix: 4}\n"
            .clone_into(&mut files.more);
    });
    // The beginning of a ClientHello.
    let mut streams: Vec<_> = (0..10).map(|_| connect(relay.at(port))).collect();
    for stream in &mut streams {
        let _reset_already = stream.write_all(&[0x16, 3, 1, 2, 0, 1]);
    }
    let refused = "turn_socket_events_total{event=\"connections_refused\"}";
    relay.until("refused", |relay| relay.metric(refused) >= 6);
    relay.until("closed", |relay| relay.metric("turn_connections") == 0);
    assert!(relay.echo_at(relay.at(port), Transport::Tls, "north").is_ok());
}

#[test]
fn one_port_serves_tcp_and_tls() {
    let (relay, port) = relay_with("Auto");
    let server = relay.at(port);
    let mut plain = Caller::allocate(&relay, Over::Tcp(server), "alice");
    let mut secure = Caller::allocate(&relay, Over::Tls(server, &TLS13), "alice");
    for _ in 0..3 {
        plain.echo();
        secure.echo();
    }
    for transport in [Transport::Tcp, Transport::Tls] {
        assert!(relay.echo_at(server, transport, "north").is_ok());
    }
}

#[test]
fn one_byte_at_a_time_is_a_connection_too() {
    let (relay, port) = relay_with("Auto");
    let mut stream = connect(relay.at(port));
    let binding = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    for byte in binding {
        stream.write_all(&[byte]).expect("sent");
    }
    let mut answer = [0; 20];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer[..2], [1, 1]);
}

#[test]
fn a_new_certificate_is_shown_to_new_clients_and_old_ones_go_on() {
    let tls_port = free_port();
    let mut relay = Relay::start_with(|files| {
        files.listeners.push(listener("TLS", tls_port));
        PEERS.clone_into(&mut files.more);
    });
    let over = Over::Tls(relay.at(tls_port), &TLS13);
    let mut before = Caller::allocate(&relay, over, "alice");
    before.echo();
    relay.rotate_certificate();
    relay.until_applied(1);
    before.echo();
    // It believes the new certificate, and no other.
    let mut after = Caller::allocate(&relay, over, "bob");
    after.echo();
    before.echo();
    before.refresh();
    assert_eq!(relay.metric("turn_allocations"), 2);
    assert_eq!(relay.get("/readyz").0, 200);
}

#[test]
fn a_certificate_that_is_none_leaves_the_one_before() {
    let (mut relay, port) = relay_with("TLS");
    relay.write_certificate("nothing of the kind");
    relay.until_refused("certificate", 1);
    assert!(relay.log().contains("tls.certificateFile"), "{}", relay.log());
    let over = Over::Tls(relay.at(port), &TLS13);
    Caller::allocate(&relay, over, "alice").echo();
    let other = crate::certificates::Certificate::new();
    relay.write_certificate(&other.pem);
    relay.until_refused("certificate", 2);
    Caller::allocate(&relay, over, "alice").echo();
}

#[test]
fn a_probe_that_expects_another_certificate_says_so() {
    let (tls_port, dtls_port) = (free_port(), free_port());
    let mut relay = Relay::start_with(|files| {
        files.listeners.extend([listener("TLS", tls_port), listener("DTLS", dtls_port)]);
    });
    relay.expect_another_certificate();
    let expected = "another certificate than the one that is expected";
    for (port, transport) in [(tls_port, Transport::Tls), (dtls_port, Transport::Dtls)] {
        let failure = relay.echo_at(relay.at(port), transport, "north").expect_err("distrusted");
        assert_eq!(failure.stage, turn_probe::Stage::Connect);
        assert!(failure.line().contains(expected), "{}", failure.line());
    }
}

#[test]
fn a_connection_over_the_cap_is_reset() {
    let relay = Relay::start("workers: 1\nlimits: {pendingConnectionsPerPrefix: 2}\n");
    let _fill_it = [connect(relay.server()), connect(relay.server())];
    let mut third = connect(relay.server());
    let end = third.read(&mut [0]).expect_err("no answer, and no orderly end");
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}

/// Late is as bad as never: what does not fit pushes the oldest out, over TLS as over TCP.
#[test]
fn a_client_that_does_not_read_loses_whole_datagrams_and_no_answer() {
    const LEN: usize = 1200;
    let (mut relay, port) = relay_with("Auto");
    let dropped = "turn_socket_events_total{event=\"queue_dropped\"}";
    for over in [Over::Tcp(relay.at(port)), Over::Tls(relay.at(port), &TLS13)] {
        let mut caller = Caller::allocate(&relay, over, "alice");
        let before = relay.metric(dropped);
        let mut sent = 0;
        // More than the sockets' buffers and the queue hold together.
        relay.until("full", |relay| {
            caller.flood(500, LEN);
            sent += 500;
            relay.metric(dropped) > before + 100
        });
        let taken = caller.take_flood(LEN);
        assert!(taken > 0 && taken < sent, "{taken} of {sent}");
        caller.refresh();
    }
}
