//! Probes with a credential of their own: through relay ports of the prober's choice, and back to it;
//! and those that a relay makes on a signed order.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use turn_auth::{Secret, TimeLimitedCredential, UnixSeconds, sign_probe_order};
use turn_probe::{
    Fault, PortSeen, ProbeAnswer, ProbeOrder, SIGNATURE_HEADER, Stage, Target, Transport,
};

use crate::relay::{Relay, probe};

const UNTIL: UnixSeconds = UnixSeconds(4_000_000_000);

/// Who takes orders: those of its own fleet, which has one other relay.
const PROBER: &str = "peers: {relays: [127.0.0.1]}";

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

/// To probe a relay, with two relay ports of its range.
fn order(of: &Relay, transport: Transport) -> ProbeOrder {
    let secret = Secret::from_file(b"north").expect("a secret");
    let minted = TimeLimitedCredential::mint_for_probe(&secret, "node-1", UNTIL);
    let secure = matches!(transport, Transport::Tls | Transport::Dtls);
    ProbeOrder {
        server: of.server(),
        transport,
        username: minted.username,
        password: minted.password,
        relay_ports: [61_000, 61_099],
        certificates: secure.then(|| STANDARD.encode(&of.certificate().der)).into_iter().collect(),
        limit_milliseconds: 5_000,
    }
}

/// Has a relay carry out an order that is signed with a secret, and good until then.
fn ask(prober: &Relay, body: &str, secret: &str, until: UnixSeconds) -> (u16, String) {
    let secret = Secret::from_file(secret.as_bytes()).expect("a secret");
    let signature = sign_probe_order(&secret, body.as_bytes(), until);
    prober.post("/probe", &[(SIGNATURE_HEADER, &signature)], body)
}

fn json(order: &ProbeOrder) -> String {
    serde_json::to_string(order).expect("it can be said in JSON")
}

fn answer(body: &str) -> ProbeAnswer {
    let answer: ProbeAnswer = serde_json::from_str(body).expect("an answer");
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    assert!(since.as_secs().abs_diff(answer.unix_seconds) < 60, "it tells its clock: {answer:?}");
    answer
}

#[test]
fn a_relay_probes_another_on_an_order_that_is_signed() {
    let prober = Relay::start(PROBER);
    // Here they share an address, which would deny the prober as a peer.
    let other =
        Relay::start("relayPorts: {from: 61000, to: 61099}\npeers: {allow: [127.0.0.1/32]}");
    for transport in [Transport::Udp, Transport::Tcp] {
        let (status, body) = ask(&prober, &json(&order(&other, transport)), "north", UNTIL);
        assert_eq!(status, 200, "{body}");
        let observation = answer(&body).observation.expect("it was made");
        assert_eq!(observation.fault, None, "{observation:?}");
        assert!(observation.is_plausible(), "{observation:?}");
        let open = [61_000, 61_099].map(|port| PortSeen { port, open: true });
        assert_eq!(observation.ports, open);
    }
}

#[test]
fn a_relay_that_is_gone_is_told_of() {
    let prober = Relay::start(PROBER);
    let gone = Relay::start("relayPorts: {from: 61000, to: 61099}");
    let order = json(&order(&gone, Transport::Tcp));
    drop(gone);
    let (status, body) = ask(&prober, &order, "north", UNTIL);
    assert_eq!(status, 200, "{body}");
    let observation = answer(&body).observation.expect("it was made");
    assert_eq!(observation.fault, Some(Fault::Refused), "{observation:?}");
}

#[test]
fn an_order_is_taken_from_a_holder_of_the_secret_only_and_once_its_time_is_over_from_nobody() {
    let prober = Relay::start(PROBER);
    let body = json(&order(&prober, Transport::Udp));
    let secret = Secret::from_file(b"north").expect("a secret");
    let signature = sign_probe_order(&secret, body.as_bytes(), UNTIL);
    let other = json(&order(&prober, Transport::Tcp));
    for (status, page) in [
        ask(&prober, &body, "south", UNTIL),
        ask(&prober, &body, "north", UnixSeconds(1_700_000_000)),
        prober.post("/probe", &[(SIGNATURE_HEADER, &signature)], &other),
        prober.post("/probe", &[(SIGNATURE_HEADER, "nonsense")], &body),
        prober.post("/probe", &[], &body),
    ] {
        assert_eq!(status, 401, "{page}");
        // Who signs learns from it that its clock is another one.
        assert_eq!(answer(&page).observation, None);
    }
}

#[test]
fn nobody_outside_of_the_fleet_is_probed() {
    let prober = Relay::start("peers: {relays: [192.0.2.1]}");
    let (status, body) = ask(&prober, &json(&order(&prober, Transport::Tcp)), "north", UNTIL);
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("127.0.0.1 is no relay of this fleet"), "{body}");
}

#[test]
fn a_signed_order_that_makes_no_sense_is_refused() {
    let prober = Relay::start(PROBER);
    let order = json(&order(&prober, Transport::Udp));
    let unknown = order.replacen('{', "{\"shell\":\"true\",", 1);
    let long = format!("{order}{}", " ".repeat(40_000));
    for (body, expected) in [("", 400), ("null", 422), (&*unknown, 422), (&*long, 413)] {
        let (status, page) = ask(&prober, body, "north", UNTIL);
        assert_eq!(status, expected, "{page}");
    }
    let nobody =
        ProbeOrder { certificates: vec!["!".to_owned()], ..self::order(&prober, Transport::Tls) };
    let (status, body) = ask(&prober, &json(&nobody), "north", UNTIL);
    assert_eq!(status, 200, "{body}");
    let observation = answer(&body).observation.expect("it says why not");
    assert!(observation.is_beside_the_point(), "{observation:?}");
    assert!(observation.says.contains("must be base64 of DER"), "{observation:?}");
}
