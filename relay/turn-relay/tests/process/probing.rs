//! Probes with a credential of their own: through relay ports of the prober's choice, and back to it.

use turn_auth::{Secret, TimeLimitedCredential, UnixSeconds};
use turn_probe::{Stage, Target, Transport};

use crate::relay::{Relay, probe};

const UNTIL: UnixSeconds = UnixSeconds(4_000_000_000);

/// Tries everything, from another address than the relay's, which its rules deny to clients.
fn target(relay: &Relay, transport: Transport, minted: &TimeLimitedCredential) -> Target {
    let target = relay.target(relay.server(), transport, (&minted.username, &minted.password));
    let bind = Some("127.0.0.2".parse().expect("an address"));
    Target { bind, last: Stage::PeerEcho, ..target }
}

#[test]
fn a_prober_relays_to_itself_through_the_ports_that_it_wishes_for() {
    let relay = Relay::start("relayPorts: {from: 61000, to: 61099}");
    let secret = Secret::from_file(b"north").expect("a secret");
    let minted = TimeLimitedCredential::mint_for_probe(&secret, "node-1", UNTIL);
    for transport in [Transport::Udp, Transport::Tcp] {
        let relay_ports = [Some(61_000), Some(61_099)];
        let target = Target { relay_ports, ..target(&relay, transport, &minted) };
        let report = probe(&target).expect("the relay is good");
        let relayed = report.relayed.expect("it has allocated");
        assert_eq!(relayed.map(|relayed| relayed.port()), [61_000, 61_099]);
        assert_eq!(report.outside, relayed.map(|relayed| (relayed, true)));
    }
}

#[test]
fn a_client_gets_neither_the_port_nor_the_peer() {
    let relay = Relay::start("relayPorts: {from: 61000, to: 61999}");
    let secret = Secret::from_file(b"north").expect("a secret");
    let minted = TimeLimitedCredential::mint(&secret, "alice", UNTIL);
    let wished = [Some(61_000), Some(61_099)];
    let target = target(&relay, Transport::Udp, &minted);
    let report = probe(&Target { relay_ports: wished, ..target }).expect("the relay is good");
    let relayed = report.relayed.expect("it has allocated");
    // By chance once in a million times.
    assert_ne!(relayed.map(|relayed| Some(relayed.port())), wished);
    assert_eq!(report.outside, []);
}
