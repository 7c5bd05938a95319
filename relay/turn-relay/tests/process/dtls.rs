//! DTLS.

use std::{net::UdpSocket, time::Duration};

use turn_probe::Transport;

use crate::{
    caller::{Caller, DtlsLink, DtlsVersion, Over, PEERS},
    certificates::Certificate,
    relay::{Relay, free_port, listener},
};

const MADE: &str = "turn_socket_events_total{event=\"associations_made\"}";

fn relay_with_dtls(more: &str) -> (Relay, u16) {
    let port = free_port();
    let relay = Relay::start_with(|files| {
        files.listeners.push(listener("DTLS", port));
        files.more = format!("{PEERS}{more}");
    });
    (relay, port)
}

/// A ClientHello of DTLS 1.2, as it is sent first: with nothing but what it needs.
fn client_hello(random: u8) -> Vec<u8> {
    let mut body = vec![0xFE, 0xFD];
    body.extend([random; 32]);
    // No session, no cookie, one suite, no compression.
    body.extend([0, 0, 0, 2, 0xC0, 0x2B, 1, 0]);
    let len = [0, 0, body.len() as u8];
    let mut hello = vec![22, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, 7, 0, 12 + body.len() as u8, 1];
    hello.extend(len);
    hello.extend([0, 0, 0, 0, 0]);
    hello.extend(len);
    hello.extend(body);
    hello
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(crate::relay::SOON)).expect("set");
    socket
}

#[test]
fn clients_of_both_versions_of_dtls_are_served() {
    let (mut relay, port) = relay_with_dtls("");
    for version in [DtlsVersion::V12, DtlsVersion::V13, DtlsVersion::Either] {
        let mut caller = Caller::allocate(&relay, Over::Dtls(relay.at(port), version), "alice");
        caller.echo();
        caller.refresh();
        caller.echo();
        assert!(relay.metric("turn_associations") >= 1, "{version:?}");
        caller.hang_up();
        relay.until("ended", |relay| relay.metric("turn_allocations") == 0);
        relay.until("forgotten", |relay| relay.metric("turn_associations") == 0);
    }
    assert!(relay.echo_at(relay.at(port), Transport::Dtls, "north").is_ok());
}

#[test]
fn a_hello_without_its_cookie_leaves_nothing_behind_and_gets_less_than_it_sent() {
    let (mut relay, port) = relay_with_dtls("");
    relay.until("empty", |relay| relay.metric("turn_associations") == 0);
    let made = relay.metric(MADE);
    for random in 0..100 {
        let (socket, hello) = (socket(), client_hello(random));
        socket.send_to(&hello, relay.at(port)).expect("sent");
        let mut answer = [0; 200];
        let (len, _) = socket.recv_from(&mut answer).expect("a cookie");
        assert!(len <= hello.len(), "{len} bytes for {}", hello.len());
        // A HelloVerifyRequest with the number of the hello's record.
        assert_eq!((answer[0], &answer[5..11], answer[13]), (22, &[0, 0, 0, 0, 0, 7][..], 3));
    }
    // The relay may have checked itself meanwhile.
    assert!(relay.metric(MADE) < made + 10);
    relay.until("empty", |relay| relay.metric("turn_associations") == 0);
}

#[test]
fn a_cookie_is_good_at_the_address_that_it_was_given_to_only() {
    let (mut relay, port) = relay_with_dtls("");
    relay.until("empty", |relay| relay.metric("turn_associations") == 0);
    let (mine, other) = (socket(), socket());
    let hello = client_hello(1);
    mine.send_to(&hello, relay.at(port)).expect("sent");
    let mut answer = [0; 200];
    let (len, _) = mine.recv_from(&mut answer).expect("a cookie");
    let cookie = &answer[len - 32..len];
    // After the random number and an empty session.
    let at = 13 + 12 + 2 + 32 + 1;
    let mut with_cookie = [&hello[..at], &[32], cookie, &hello[at + 1..]].concat();
    for len in [12, 16, 24] {
        with_cookie[len] += 32;
    }
    other.send_to(&with_cookie, relay.at(port)).expect("sent");
    other.recv_from(&mut answer).expect("another cookie");
    relay.until("counted", |relay| {
        relay.metric("turn_handshakes_failed_total{reason=\"dtls_cookie\"}") == 1
    });
    relay.until("empty", |relay| relay.metric("turn_associations") == 0);
    mine.send_to(&with_cookie, relay.at(port)).expect("sent");
    relay.until("tried", |relay| {
        // What this hello offers is not enough for more than the first step.
        let failed = relay.metric("turn_handshakes_failed_total{reason=\"nothing_in_common\"}");
        failed == 1 || relay.metric("turn_associations") == 1
    });
}

#[test]
fn garbage_at_a_dtls_listener_is_dropped_and_counted() {
    let (mut relay, port) = relay_with_dtls("");
    let socket = socket();
    let mut in_pieces = client_hello(1);
    in_pieces[24] -= 1;
    for datagram in [&[0; 40][..], &[22; 13], &client_hello(1)[..40], &in_pieces] {
        socket.send_to(datagram, relay.at(port)).expect("sent");
    }
    let failed = |relay: &Relay, reason| {
        relay.metric(&format!("turn_handshakes_failed_total{{reason=\"{reason}\"}}"))
    };
    relay.until("counted", |relay| failed(relay, "malformed") == 3);
    relay.until("counted", |relay| failed(relay, "dtls_fragmented") == 1);
    socket.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
    assert!(socket.recv(&mut [0; 100]).is_err(), "silence");
}

#[test]
fn a_client_of_dtls_1_0_is_told_at_once_and_counted() {
    let (mut relay, port) = relay_with_dtls("");
    let (socket, mut hello) = (socket(), client_hello(1));
    hello[26] = 0xFF;
    socket.send_to(&hello, relay.at(port)).expect("sent");
    let mut answer = [0; 100];
    let (len, _) = socket.recv_from(&mut answer).expect("an alert");
    // Fatal: protocol_version.
    assert_eq!((len, answer[0], &answer[13..15]), (15, 21, &[2, 70][..]));
    relay.until("counted", |relay| {
        relay.metric("turn_handshakes_failed_total{reason=\"nothing_in_common\"}") == 1
    });
}

#[test]
fn associations_without_an_allocation_end_in_time_and_too_many_are_not_made() {
    let (mut relay, port) = relay_with_dtls(
        "workers: 1\nlimits: {pendingConnectionTimeoutSeconds: 5, pendingConnectionsPerPrefix: 3}\n",
    );
    relay.until("empty", |relay| relay.metric("turn_associations") == 0);
    let _links: Vec<_> =
        (0..3).map(|_| DtlsLink::connect(relay.at(port), DtlsVersion::V12)).collect();
    let server = relay.at(port);
    let late = std::thread::spawn(move || DtlsLink::connect(server, DtlsVersion::V12));
    let event = |event: &str| format!("turn_socket_events_total{{event=\"{event}\"}}");
    relay.until("refused", |relay| relay.metric(&event("associations_refused")) >= 1);
    relay.until("timed out", |relay| relay.metric(&event("associations_timed_out")) >= 3);
    late.join().expect("there is room now").close();
    relay.until("closed", |relay| relay.metric("turn_associations") == 0);
}

#[test]
fn a_certificate_that_dtls_is_not_spoken_with_is_refused_by_name() {
    let (mut relay, port) = relay_with_dtls("");
    let other = Certificate::of(&rcgen::PKCS_ED25519);
    relay.write_files_of(&other);
    relay.until_refused("certificate", 1);
    let log = relay.log();
    assert!(log.contains("elliptic curve P-256 or P-384"), "{log}");
    assert!(log.contains(&format!("dtls-{port}")), "{log}");
    assert!(relay.echo_at(relay.at(port), Transport::Dtls, "north").is_ok());
}

#[test]
fn a_new_certificate_is_shown_to_new_clients_and_old_ones_go_on() {
    let (mut relay, port) = relay_with_dtls("");
    let over = Over::Dtls(relay.at(port), DtlsVersion::Either);
    let mut before = Caller::allocate(&relay, over, "alice");
    relay.rotate_certificate();
    relay.until_applied(1);
    before.echo();
    let mut after = Caller::allocate(&relay, over, "bob");
    after.echo();
    before.refresh();
}
