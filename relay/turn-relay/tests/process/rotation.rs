//! New secrets and a new certificate under many clients.

use rustix::process::{Resource, getrlimit, setrlimit};
use rustls::version::{TLS12, TLS13};

use crate::{
    caller::{Caller, Over, PEERS},
    relay::{Relay, free_port, listener},
};

/// How many clients relay at the same time.
const CLIENTS: usize = 500;

/// Rounds before anything changes, and after everything has.
const ROUNDS: u32 = 5;

/// Each client sends a datagram to its peer, each peer answers, and each client gets the answer: all
/// of them are under way at once.
fn round(callers: &mut [Caller], number: u32) {
    callers.iter_mut().for_each(|caller| caller.send_number(number));
    callers.iter_mut().for_each(|caller| caller.answer_number(number));
    callers.iter_mut().for_each(|caller| caller.receive_number(number));
}

#[test]
fn five_hundred_clients_lose_no_allocation_and_no_datagram_to_new_secrets_and_certificates() {
    // Two sockets for each client.
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).expect("the hard limit is allowed");
    let port = free_port();
    let mut relay = Relay::start_with(|files| {
        files.listeners.push(listener("TLS", port));
        files.more = format!("{PEERS}limits: {{allocationsPerUser: 1000}}\n");
    });
    let (plain, secure) = (relay.server(), relay.at(port));
    let overs =
        [Over::Udp(plain), Over::Tcp(plain), Over::Tls(secure, &TLS13), Over::Tls(secure, &TLS12)];
    let over = overs.iter().cycle().take(CLIENTS);
    let mut callers: Vec<_> = over.map(|over| Caller::allocate(&relay, *over, "alice")).collect();
    let mut number = 0;
    let mut relay_for = |callers: &mut [Caller], rounds: u32| {
        for _ in 0..rounds {
            number += 1;
            round(callers, number);
        }
    };
    relay_for(&mut callers, ROUNDS);
    relay.write_secret("south\n");
    relay.until("new secrets", |relay| {
        relay_for(&mut callers, 1);
        relay.metric("turn_config_reloads_total{result=\"applied\"}") == 1
    });
    relay.rotate_certificate();
    relay.until("a new certificate", |relay| {
        relay_for(&mut callers, 1);
        relay.metric("turn_config_reloads_total{result=\"applied\"}") == 2
    });
    relay_for(&mut callers, ROUNDS);
    // With the credential that they were made with, of a secret that is no more.
    callers.iter_mut().for_each(Caller::refresh);
    relay_for(&mut callers, 1);
    for reason in ["expired", "disconnected", "listener_removed"] {
        let ended = relay.metric(&format!("turn_allocations_ended_total{{reason=\"{reason}\"}}"));
        assert_eq!(ended, 0, "{reason}");
    }
    assert!(relay.metric("turn_allocations") >= CLIENTS as u64);
    assert_eq!(relay.metric("turn_socket_events_total{event=\"queue_dropped\"}"), 0);
}
