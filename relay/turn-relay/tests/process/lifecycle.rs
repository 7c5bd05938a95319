//! From the start to the end.

use turn_probe::Transport;
use turn_proto::{DropReason, EndReason, Refusal};

use crate::{
    caller::{Caller, Over, PEERS},
    relay::Relay,
};

#[test]
fn a_relay_that_is_ready_relays_on_every_listener_and_holds_nothing_after() {
    let mut relay = Relay::start("");
    for transport in [Transport::Udp, Transport::Tcp] {
        let report = relay.echo(transport, "north").expect("relayed");
        assert!(report.relayed.iter().flatten().all(|relayed| relayed.port() >= 61_000));
    }
    relay.until("empty", |relay| relay.metric("turn_allocations") == 0);
    assert_eq!(relay.get("/livez"), (200, "ok\n".to_owned()));
    let (code, status) = relay.get("/status");
    assert_eq!(code, 200);
    for part in ["\"ready\":true", "\"draining\":false", "\"allocations\":0", "example.org"] {
        assert!(status.contains(part), "{part} is not in {status}");
    }
    assert_eq!(relay.get("/nothing").0, 404);
}

/// A label that is not there is a reason that nobody will ever see.
#[test]
fn each_reason_to_drop_refuse_or_end_has_its_metric() {
    let relay = Relay::start("");
    let drops =
        DropReason::ALL.map(|r| format!("turn_messages_dropped_total{{reason=\"{}\"}}", r.label()));
    let refusals =
        Refusal::ALL.map(|r| format!("turn_requests_refused_total{{reason=\"{}\"}}", r.label()));
    let ends =
        EndReason::ALL.map(|r| format!("turn_allocations_ended_total{{reason=\"{}\"}}", r.label()));
    for name in drops.iter().chain(&refusals).chain(&ends) {
        relay.metric(name);
    }
    for (event, _) in turn_net::NetCounters::default().labelled() {
        relay.metric(&format!("turn_socket_events_total{{event=\"{event}\"}}"));
    }
}

#[test]
fn no_user_name_and_no_address_is_the_label_of_a_metric() {
    let relay = Relay::start(PEERS);
    let mut caller = Caller::allocate(&relay, Over::Udp(relay.server()), "alice-by-name");
    caller.echo();
    let (_, page) = relay.get("/metrics");
    assert!(page.contains("turn_allocations 1"), "{page}");
    for secret in ["alice", "127.0.0."] {
        assert!(!page.contains(secret), "{page}");
    }
}

#[test]
fn two_runs_of_one_configuration_draw_other_ports() {
    // One after the other, so that neither keeps a port from the other.
    let drawn = || {
        let relay = Relay::start(&format!("{PEERS}workers: 1\n"));
        let port = |user| Caller::allocate(&relay, Over::Udp(relay.server()), user).relayed.port();
        ["alice", "bob", "carol", "dave"].map(port)
    };
    assert_ne!(drawn(), drawn());
}

#[test]
fn an_idle_relay_ends_at_once_when_told_to() {
    for signal in ["TERM", "INT"] {
        let mut relay = Relay::start("");
        relay.until("empty", |relay| relay.metric("turn_allocations") == 0);
        relay.signal(signal);
        relay.until("ended", |relay| relay.ended().is_some());
        assert!(relay.ended().is_some_and(|status| status.success()), "{}", relay.log());
    }
}

#[test]
fn a_relay_with_an_allocation_drains_and_a_second_signal_ends_it() {
    let mut relay = Relay::start("");
    let client = hold_an_allocation(&relay);
    relay.signal("TERM");
    relay.until("draining", |relay| relay.get("/readyz").0 == 503);
    assert!(relay.get("/readyz").1.contains("draining"));
    let refused = relay.echo(Transport::Udp, "north").expect_err("no new ones").line();
    assert!(refused.contains("508"), "{refused}");
    assert!(relay.get("/status").1.contains("\"allocations\":1"));
    assert!(relay.ended().is_none());
    relay.signal("TERM");
    relay.until("ended", |relay| relay.ended().is_some());
    drop(client);
}

#[test]
fn the_end_of_the_last_allocation_ends_the_drain() {
    let mut relay = Relay::start("");
    let client = hold_an_allocation(&relay);
    relay.signal("TERM");
    relay.until("draining", |relay| relay.get("/readyz").0 == 503);
    drop(client);
    relay.until("ended", |relay| relay.ended().is_some());
    assert!(relay.ended().is_some_and(|status| status.success()));
}

#[test]
fn the_drain_time_out_ends_it_whoever_is_left() {
    let mut relay = Relay::start("drain: {timeoutSeconds: 1}\n");
    let _client = hold_an_allocation(&relay);
    relay.signal("TERM");
    relay.until("ended", |relay| relay.ended().is_some());
    assert!(relay.log().contains("\"allocations_ended\":1"), "{}", relay.log());
}

/// An allocation over TCP: it ends with the connection.
fn hold_an_allocation(relay: &Relay) -> std::net::TcpStream {
    use std::io::{Read, Write};

    use turn_client::{Client, Config, Credentials, Event, FrameBuffer, Profile};

    let secret = turn_auth::Secret::from_file(b"north").expect("a secret");
    let expiry = turn_auth::UnixSeconds(4_000_000_000);
    let minted = turn_auth::TimeLimitedCredential::mint(&secret, "carol", expiry);
    let mut client = Client::new(Config {
        server: relay.server(),
        transport: turn_client::Transport::Stream,
        credentials: Credentials::new(minted.username, minted.password).expect("short"),
        profile: Profile::LIBWEBRTC,
        seed: [7; 32],
    });
    let mut stream = std::net::TcpStream::connect(relay.server()).expect("connected");
    stream.set_read_timeout(Some(crate::relay::SOON)).expect("set");
    let mut frames = FrameBuffer::default();
    let mut bytes = [0; 2048];
    client.allocate(std::time::Instant::now(), None, None).expect("asked");
    loop {
        while let Some(message) = client.poll_transmit() {
            stream.write_all(message).expect("sent");
        }
        let len = stream.read(&mut bytes).expect("an answer");
        assert!(len > 0, "the relay has closed the connection");
        frames.push(&bytes[..len]);
        while let Some(frame) = frames.next_frame().expect("frames") {
            client.handle_input(std::time::Instant::now(), frame);
        }
        while let Some(event) = client.poll_event() {
            if matches!(event, Event::Allocated { .. }) {
                return stream;
            }
        }
    }
}
