//! What clients come to, counted by listener and network, and apart from probers.

use std::net::UdpSocket;

use rustls::version::TLS13;
use turn_auth::{Secret, TimeLimitedCredential, UnixSeconds};
use turn_probe::{
    Stage, Target, Transport,
    clients::{ByTransport, ClientCounts, ListenerClients},
};

use crate::{
    caller::{Caller, DtlsVersion, Over, PEERS},
    proxy::{balanced, relay_behind},
    relay::{Relay, SOON, free_port, listener, probe},
};

/// A Binding without attributes.
const BINDING: &[u8] = b"\x00\x01\x00\x00\x21\x12\xa4\x42123456789012";

fn counted(relay: &Relay) -> ClientCounts {
    let (status, body) = relay.get("/clients");
    assert_eq!(status, 200, "{body}");
    let counts: ClientCounts = serde_json::from_str(&body).expect("counts");
    assert!(counts.is_plausible(), "{counts:?}");
    counts
}

fn at(counts: &ClientCounts, over: Transport) -> ListenerClients {
    let found: Vec<_> = counts.listeners.iter().filter(|of| of.transport == over).collect();
    let [only] = *found else { panic!("one listener over {over}: {counts:?}") };
    only.clone()
}

/// How many of a step a listener has in the metrics.
fn metric(relay: &Relay, listener: &ListenerClients, step: &str) -> u64 {
    let (name, over) = (&listener.name, listener.transport);
    let labels = format!("listener=\"{name}\",step=\"{step}\",transport=\"{over}\"");
    relay.metric(&format!("turn_client_requests_total{{{labels}}}"))
}

/// A relay with a listener of each transport, and what reaches it over each.
fn relay() -> (Relay, [Over; 4]) {
    let (tls, dtls) = (free_port(), free_port());
    let relay = Relay::start_with(|files| {
        files.listeners.push(listener("TLS", tls));
        files.listeners.push(listener("DTLS", dtls));
        PEERS.clone_into(&mut files.more);
    });
    let over = [
        Over::Udp(relay.server()),
        Over::Tcp(relay.server()),
        Over::Tls(relay.at(tls), &TLS13),
        Over::Dtls(relay.at(dtls), DtlsVersion::V12),
    ];
    (relay, over)
}

#[test]
fn clients_are_counted_where_they_come_and_by_how_far() {
    let (relay, all) = relay();
    let counts = counted(&relay);
    for over in [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Dtls] {
        let ListenerClients { bindings, challenged, allocated, .. } = at(&counts, over);
        assert_eq!([bindings, challenged, allocated], [0; 3], "it has checked itself over {over}");
    }
    let callers: Vec<_> = all.map(|over| Caller::allocate(&relay, over, "alice")).into();
    let _second = Caller::allocate(&relay, all[0], "bob");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(SOON)).expect("set");
    socket.send_to(BINDING, relay.server()).expect("sent");
    assert!(socket.recv(&mut [0; 100]).is_ok_and(|len| len > 20));
    let counts = counted(&relay);
    for (over, clients) in
        [(Transport::Udp, 2), (Transport::Tcp, 1), (Transport::Tls, 1), (Transport::Dtls, 1)]
    {
        let found = at(&counts, over);
        assert_eq!(found.allocated, clients, "{over}");
        // On a busy machine a client asks again.
        assert!(found.challenged >= clients, "{over}: {found:?}");
        assert_eq!(found.bindings, u64::from(over == Transport::Udp));
        assert_eq!((found.wrong_credentials, found.refused), (0, 0));
        assert_eq!(metric(&relay, &found, "challenged"), found.challenged);
        assert_eq!(metric(&relay, &found, "allocated"), clients);
        assert_eq!(metric(&relay, &found, "binding"), found.bindings);
    }
    let [network] = &*counts.networks else { panic!("{counts:?}") };
    assert_eq!(network.network.to_string(), "127.0.0.0/16");
    assert_eq!(network.allocated, ByTransport { udp: 2, tcp: 1, tls: 1, dtls: 1 });
    assert_eq!(counts.other_networks, ByTransport::default());
    drop(callers);
}

#[test]
fn probers_are_counted_nowhere() {
    let relay = Relay::start("relayPorts: {from: 61000, to: 61099}");
    let before = counted(&relay);
    let secret = Secret::from_file(b"north").expect("a secret");
    let until = UnixSeconds(4_000_000_000);
    let minted = TimeLimitedCredential::mint_for_probe(&secret, "node-1", until);
    for over in [Transport::Udp, Transport::Tcp] {
        let target = relay.target(relay.server(), over, (&minted.username, &minted.password));
        let bind = Some("127.0.0.2".parse().expect("an address"));
        probe(&Target { bind, last: Stage::PeerEcho, ..target }).expect("the relay is good");
        // With the credentials of a client, as somebody's doctor has; and with wrong ones.
        relay.echo(over, "north").expect("the relay is good");
        assert!(relay.echo(over, "south").is_err());
    }
    assert_eq!(counted(&relay), before);
    assert_eq!(before.networks, []);
}

#[test]
fn the_table_of_networks_has_a_limit_and_others_are_counted_together() {
    let (relay, port) = relay_behind("TCP", "127.0.0.1/32", "");
    for index in 0..260_u16 {
        let [high, low] = index.to_be_bytes();
        let client = format!("{}.{low}.3.4:5000", 20 + high);
        drop(Caller::allocate_on(balanced(&relay, port, &client), "alice"));
    }
    // Known ones are counted on.
    drop(Caller::allocate_on(balanced(&relay, port, "20.7.0.1:5000"), "alice"));
    let counts = counted(&relay);
    assert_eq!(counts.networks.len(), 256);
    assert_eq!(counts.other_networks, ByTransport { tcp: 4, ..ByTransport::default() });
    let known = counts.networks.iter().find(|of| of.network.to_string() == "20.7.0.0/16");
    assert_eq!(known.expect("it has room").allocated.tcp, 2);
    assert_eq!(relay.metric("turn_client_networks"), 256);
    assert_eq!(relay.metric("turn_client_allocations_of_other_networks_total"), 4);
}
