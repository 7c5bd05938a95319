//! What comes from people who are not clients.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream, UdpSocket},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use turn_probe::Transport;

use crate::relay::{Relay, SOON};

/// Random bytes, every other time with a STUN header in front that fits them.
fn random_message(rng: &mut StdRng) -> Vec<u8> {
    let len = (rng.next_u32() % 256) as usize;
    let mut body = vec![0; len];
    rng.fill_bytes(&mut body);
    if rng.next_u32().is_multiple_of(2) {
        return body;
    }
    body.truncate(len & !3);
    let mut message = vec![0, 0, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    message[0] = (rng.next_u32() % 4) as u8;
    message[1] = (rng.next_u32() % 256) as u8;
    message[2..4].copy_from_slice(&(body.len() as u16).to_be_bytes());
    message.extend_from_slice(&[9; 12]);
    message.extend_from_slice(&body);
    message
}

fn handled(relay: &Relay) -> u64 {
    let (_, page) = relay.get("/metrics");
    let of = |line: &&str| {
        ["turn_messages_dropped_total", "turn_requests_refused_total", "turn_requests_succeeded"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    page.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn ten_thousand_random_datagrams_are_counted_each_and_leave_nothing() {
    let mut relay = Relay::start("");
    relay.until("empty", |relay| relay.metric("turn_allocations") == 0);
    let mut rng = StdRng::from_seed([7; 32]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut send = |relay: &mut Relay, count: u64| {
        let until = handled(relay) + count;
        for index in 0..count {
            socket.send_to(&random_message(&mut rng), relay.server()).expect("sent");
            // Not faster than the kernel's queue takes it: a lost datagram is not counted.
            if index % 100 == 99 {
                let soon = until - count + index / 2;
                relay.until("read", |relay| handled(relay) >= soon);
            }
        }
        relay.until("counted", |relay| handled(relay) >= until);
    };
    send(&mut relay, 2_000);
    let before = relay.resident_kib();
    send(&mut relay, 8_000);
    let after = relay.resident_kib();
    assert!(after < before + 2048, "{before} KiB before, {after} KiB after");
    assert_eq!(relay.metric("turn_allocations"), 0);
    assert!(relay.echo(Transport::Udp, "north").is_ok());
}

#[test]
fn streams_that_are_no_streams_are_ended_and_counted() {
    let mut relay = Relay::start("");
    let errors = "turn_socket_events_total{event=\"framing_errors\"}";
    for (index, bytes) in [
        &b"\x80\x80 what is this"[..],
        b"\x00\x01\x00\x03\x21\x12\xa4\x42",
        b"\x00\x01\x00\x00\x00\x00\x00\x00",
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = TcpStream::connect(relay.server()).expect("connected");
        stream.set_read_timeout(Some(SOON)).expect("set");
        stream.write_all(bytes).expect("sent");
        // The end may come as a reset, since what was sent is not all read.
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{ended:?}: {rest:?}");
        let expected = index as u64 + 1;
        relay.until("counted", |relay| relay.metric(errors) == expected);
    }
}

#[test]
fn a_stream_that_is_cut_in_a_frame_is_closed_and_forgotten() {
    let mut relay = Relay::start("");
    for cut in 1..20 {
        let mut stream = TcpStream::connect(relay.server()).expect("connected");
        let header = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        stream.write_all(&header[..cut]).expect("sent");
        stream.shutdown(Shutdown::Write).expect("shut");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("closed");
        assert!(rest.is_empty());
    }
    relay.until("closed", |relay| relay.metric("turn_connections") == 0);
    assert!(relay.echo(Transport::Tcp, "north").is_ok());
}

#[test]
fn connections_without_an_allocation_end_in_time_and_too_many_are_reset() {
    let more = "workers: 1\nlimits: {pendingConnectionTimeoutSeconds: 2, \
                pendingConnectionsPerPrefix: 8}\n";
    let mut relay = Relay::start(more);
    let streams: Vec<_> =
        (0..30).map(|_| TcpStream::connect(relay.server()).expect("connected")).collect();
    let refused = "turn_socket_events_total{event=\"connections_refused\"}";
    let timed_out = "turn_socket_events_total{event=\"connections_timed_out\"}";
    relay.until("refused", |relay| relay.metric(refused) >= 22);
    relay.until("timed out", |relay| relay.metric(timed_out) >= 1);
    relay.until("closed", |relay| relay.metric("turn_connections") == 0);
    drop(streams);
    assert!(relay.echo(Transport::Tcp, "north").is_ok());
}
