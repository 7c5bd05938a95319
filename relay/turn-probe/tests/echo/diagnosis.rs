//! What the probe says of each flaw; without sockets, and in no time.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use turn_client::Failure as Answer;
use turn_probe::{Cause, Credentials, Exchange, Failure, Report, Side, Stage, Target, Transport};

use turn_wire::{
    Message, Method,
    attribute::{Family, RequestedAddressFamily},
};

use crate::relay::{Flaw, Relay};

const LIMIT: Duration = Duration::from_secs(3);

pub(crate) fn target(server: SocketAddr, transport: Transport) -> Target {
    let credentials = Credentials::new("prober", "secret").expect("it is short");
    Target {
        server,
        transport,
        credentials: [credentials.clone(), credentials],
        last: Stage::Refresh,
        limit: LIMIT,
        bind: None,
        relayed_at: None,
        relay_ports: [None; 2],
        trust: None,
        as_proxy: false,
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Runs a probe against a relay with a flaw, in a time of its own. Also says when it ended.
fn probe(flaw: Flaw) -> (Result<Report, Failure>, Relay, Duration) {
    probe_until(flaw, Stage::PeerEcho)
}

fn probe_until(flaw: Flaw, last: Stage) -> (Result<Report, Failure>, Relay, Duration) {
    probe_for(flaw, Target { last, ..target(address("198.51.100.7:3478"), Transport::Udp) })
}

fn probe_for(flaw: Flaw, target: Target) -> (Result<Report, Failure>, Relay, Duration) {
    let outside = address("203.0.113.1:3333");
    let clients = [address("203.0.113.1:1111"), address("203.0.113.2:2222")];
    let start = Instant::now();
    let mut now = start;
    let mut relay = Relay::new(flaw);
    let random = [[1; 32], [2; 32], [3; 32], [4; 32]];
    let mut exchange = Exchange::new(&target, random, now, Duration::ZERO);
    loop {
        while let Some((side, message)) = exchange.poll_transmit() {
            now += Duration::from_millis(1);
            let out = relay.sent_out(clients[side as usize], &message);
            if let Some((relayed, _, payload)) = out.filter(|(_, to, _)| *to == outside) {
                exchange.handle_outside(now, relayed, &payload);
            }
            for (to, message) in relay.handle(clients[side as usize], &message) {
                let side = if to == clients[0] { Side::A } else { Side::B };
                exchange.handle_input(now, side, &message);
            }
        }
        while let Some((relayed, payload)) = exchange.poll_outside() {
            if let Some((to, message)) = relay.handle_peer(outside, relayed, &payload) {
                let side = if to == clients[0] { Side::A } else { Side::B };
                exchange.handle_input(now, side, &message);
            }
        }
        if let Some(outcome) = exchange.outcome(now) {
            return (outcome, relay, now - start);
        }
        now = now.max(exchange.poll_timeout());
        exchange.handle_timeout(now);
    }
}

fn failure(flaw: Flaw) -> (Stage, Cause) {
    let (outcome, relay, took) = probe(flaw);
    let failure = outcome.expect_err("the relay has a flaw");
    assert_eq!(failure.server, address("198.51.100.7:3478"));
    assert!(took <= LIMIT + Duration::from_millis(600), "it took {took:?}");
    assert_eq!(relay.allocations(), 0, "the probe ends what it has begun");
    (failure.stage, *failure.cause)
}

#[test]
fn a_good_relay() {
    let (outcome, relay, _) = probe(Flaw::None);
    let report = outcome.expect("the relay is good");
    assert_eq!(report.mapped, [address("203.0.113.1:1111"), address("203.0.113.2:2222")]);
    let relayed = [address("192.0.2.1:61000"), address("192.0.2.1:61001")];
    assert_eq!(report.relayed, Some(relayed));
    assert_eq!(report.outside, relayed.map(|relayed| (relayed, true)));
    let stages: Vec<_> = report.stages.iter().map(|timing| timing.stage).collect();
    assert_eq!(
        stages,
        [
            Stage::Connect,
            Stage::Binding,
            Stage::Allocate,
            Stage::Permission,
            Stage::Echo,
            Stage::ChannelBind,
            Stage::ChannelEcho,
            Stage::LargeEcho,
            Stage::Refresh,
            Stage::PeerPermission,
            Stage::PeerEcho,
        ]
    );
    assert_eq!((relay.allocations(), relay.released), (0, 2));
}

#[test]
fn loss_on_the_way_is_no_flaw() {
    let (outcome, relay, _) = probe(Flaw::Lossy);
    outcome.expect("it sends again what is lost");
    assert_eq!(relay.released, 2);
}

#[test]
fn silence() {
    assert_eq!(failure(Flaw::Silent), (Stage::Binding, Cause::Silence(LIMIT)));
    let (stage, cause) = failure(Flaw::SilentToAllocate);
    assert_eq!(stage, Stage::Allocate);
    assert!(matches!(cause, Cause::Silence(_)), "{cause:?}");
}

#[test]
fn a_refusal_ends_the_allocation_that_there_is() {
    let (stage, cause) = failure(Flaw::OneAllocation);
    let hint = "refused with 486 (the user has as many allocations as it may have)";
    assert_eq!(cause.to_string(), hint);
    let refused = Answer::Refused { code: 486, reason: String::new() };
    assert_eq!((stage, cause), (Stage::Allocate, Cause::Answer(refused)));
}

#[test]
fn closed_relay_ports() {
    let (stage, cause) = failure(Flaw::NeverRelays);
    assert_eq!(stage, Stage::Echo);
    let Cause::NotRelayed { from, to, sends, .. } = cause else { panic!("{cause:?}") };
    assert_eq!((from, to), (address("192.0.2.1:61000"), address("192.0.2.1:61001")));
    assert_eq!(sends, 12, "four times each second");

    let (stage, cause) = failure(Flaw::NoChannelData);
    assert_eq!(stage, Stage::ChannelEcho);
    assert!(matches!(cause, Cause::NotRelayed { .. }), "{cause:?}");
}

#[test]
fn relay_ports_that_are_closed_to_others_only() {
    let relayed = address("192.0.2.1:61000");
    let (stage, cause) = failure(Flaw::ClosedToOutside);
    assert_eq!(stage, Stage::PeerEcho);
    assert!(
        matches!(cause, Cause::NotFromOutside { relayed: to, .. } if to == relayed),
        "{cause:?}"
    );
    let (stage, cause) = failure(Flaw::SendsNothingOut);
    assert_eq!(stage, Stage::PeerEcho);
    assert!(matches!(cause, Cause::NotToOutside { relayed: to, .. } if to == relayed), "{cause:?}");
}

#[test]
fn of_two_relay_ports_the_one_that_is_closed_is_named_and_both_are_known() {
    let relayed = [address("192.0.2.1:61000"), address("192.0.2.1:61001")];
    let flaws = [
        (Flaw::ClosedToOutside, [false, false], 0),
        (Flaw::FirstClosedToOutside, [false, true], 0),
        (Flaw::SecondClosedToOutside, [true, false], 1),
        (Flaw::SendsNothingOut, [false, false], 0),
        (Flaw::SecondSendsNothingOut, [true, false], 1),
    ];
    for (flaw, reached, named) in flaws {
        let (outcome, relay, took) = probe(flaw);
        let failure = outcome.expect_err("the relay has a flaw");
        assert_eq!(failure.stage, Stage::PeerEcho);
        let seen: Vec<_> = relayed.into_iter().zip(reached).collect();
        assert_eq!(failure.outside, seen, "{flaw:?}");
        let (is_out, at, sends) = named_of(&failure.cause);
        assert_eq!((at, sends), (relayed[named], 12), "{flaw:?}");
        let sends_nothing = [Flaw::SendsNothingOut, Flaw::SecondSendsNothingOut];
        assert_eq!(is_out, sends_nothing.contains(&flaw), "{flaw:?}");
        assert!(took <= LIMIT + Duration::from_millis(600), "{flaw:?} took {took:?}");
        assert_eq!(relay.allocations(), 0);
    }
}

/// Whether it was the way out, through which relayed address, and how often it was tried.
fn named_of(cause: &Cause) -> (bool, SocketAddr, u32) {
    if let Cause::NotToOutside { relayed, sends, .. } = cause {
        return (true, *relayed, *sends);
    }
    let Cause::NotFromOutside { relayed, sends, .. } = cause else { panic!("{cause:?}") };
    (false, *relayed, *sends)
}

#[test]
fn each_allocation_wishes_for_a_relay_port_of_its_own() {
    let target = target(address("198.51.100.7:3478"), Transport::Udp);
    let relay_ports = [Some(61_500), None];
    let (outcome, ..) = probe_for(Flaw::None, Target { relay_ports, ..target });
    let relayed = outcome.expect("the relay is good").relayed;
    assert_eq!(relayed, Some([address("192.0.2.1:61500"), address("192.0.2.1:61001")]));
}

#[test]
fn a_failure_of_another_stage_says_nothing_of_relay_ports() {
    let (outcome, ..) = probe(Flaw::NeverRelays);
    assert_eq!(outcome.expect_err("the relay has a flaw").outside, []);
}

#[test]
fn a_relay_whose_rules_deny_the_prober_as_a_peer_has_passed_what_could_be_tried() {
    let (outcome, relay, _) = probe(Flaw::DeniesOutside);
    let report = outcome.expect("the rules are the operator's");
    assert_eq!(report.stages.last().map(|timing| timing.stage), Some(Stage::Refresh));
    assert_eq!(report.outside, []);
    assert_eq!(relay.released, 2);
}

#[test]
fn long_datagrams_that_are_dropped() {
    let (stage, cause) = failure(Flaw::DropsLong);
    assert_eq!(stage, Stage::LargeEcho);
    assert!(matches!(cause, Cause::NotRelayed { len: 1_200, .. }), "{cause:?}");
}

#[test]
fn a_server_is_asked_for_no_more_than_was_wanted() {
    let (outcome, relay, _) = probe_until(Flaw::SilentToAllocate, Stage::Binding);
    let report = outcome.expect("it tells addresses");
    assert_eq!(report.relayed, None);
    assert_eq!((relay.allocations(), relay.released), (0, 0));
}

#[test]
fn the_way_that_is_closed_is_named() {
    let (stage, cause) = failure(Flaw::RelaysOneWay);
    assert_eq!(stage, Stage::Echo);
    let Cause::NotRelayed { from, to, .. } = &cause else { panic!("{cause:?}") };
    assert_eq!((*from, *to), (address("192.0.2.1:61001"), address("192.0.2.1:61000")));
}

#[test]
fn what_is_relayed_wrongly() {
    let peer = address("192.0.2.1:61000");
    let wrong = Cause::WrongPayload { from: peer, sent: 32, received: 32 };
    assert_eq!(failure(Flaw::ChangesPayload), (Stage::Echo, wrong));
    let observed = address("192.0.2.1:1024");
    let wrong = Cause::WrongPeer { expected: peer, observed };
    assert_eq!(failure(Flaw::TranslatesPort), (Stage::Echo, wrong));
    let wrong = Cause::NotThroughChannel(peer);
    assert_eq!(failure(Flaw::IndicationsOnly), (Stage::ChannelEcho, wrong));
}

#[test]
fn what_came_through_yesterday_is_no_proof_of_today() {
    let wrong = Cause::WrongPayload { from: address("192.0.2.1:61000"), sent: 32, received: 32 };
    assert_eq!(failure(Flaw::RepeatsYesterday), (Stage::Echo, wrong));
    let (stage, cause) = failure(Flaw::RepeatsYesterdayIn);
    assert_eq!(stage, Stage::PeerEcho);
    assert!(matches!(cause, Cause::NotFromOutside { .. }), "{cause:?}");
    let (stage, cause) = failure(Flaw::RepeatsYesterdayOut);
    assert_eq!(stage, Stage::PeerEcho);
    assert!(matches!(cause, Cause::NotToOutside { .. }), "{cause:?}");
}

#[test]
fn a_failure_reads_as_one_line() {
    let (outcome, ..) = probe(Flaw::NeverRelays);
    let line = outcome.expect_err("the relay has a flaw").line();
    let expected = "UDP 198.51.100.7:3478: echo failed: a datagram of 32 bytes from relayed address \
                    192.0.2.1:61000 did not arrive at relayed address 192.0.2.1:61001 within 3.0 s, \
                    sent 12 times; is the range of relay ports open?";
    assert_eq!(line, expected);
}

/// What the first Allocate to a server asks for.
fn asked_family(server: &str) -> Option<RequestedAddressFamily> {
    let now = Instant::now();
    let (server, client) = (address(server), address("203.0.113.1:1111"));
    let random = [[1; 32], [2; 32], [3; 32], [4; 32]];
    let target = target(server, Transport::Udp);
    let mut exchange = Exchange::new(&target, random, now, Duration::ZERO);
    let mut relay = Relay::new(Flaw::None);
    loop {
        let (side, bytes) = exchange.poll_transmit().expect("it goes on");
        let message = Message::decode(&bytes).expect("the probe writes messages");
        if message.method() == Method::ALLOCATE {
            return message.get().expect("it is a family");
        }
        for (_, answer) in relay.handle(client, &bytes) {
            exchange.handle_input(now, side, &answer);
        }
    }
}

#[test]
fn an_ipv6_server_is_asked_for_ipv6() {
    let ipv6 = RequestedAddressFamily(Some(Family::V6));
    assert_eq!(asked_family("[2001:db8::7]:3478"), Some(ipv6));
    assert_eq!(asked_family("198.51.100.7:3478"), None, "as browsers do");
}

#[test]
fn no_bytes_make_a_probe_succeed_or_panic() {
    let target = target(address("198.51.100.7:3478"), Transport::Udp);
    let now = Instant::now();
    let random = [[1; 32], [2; 32], [3; 32], [4; 32]];
    let mut exchange = Exchange::new(&target, random, now, Duration::ZERO);
    let mut bytes = Vec::new();
    for seed in 0..2_000u32 {
        bytes.clear();
        bytes.extend((0..seed % 64).map(|at| (seed.wrapping_mul(at + 7) >> 3).to_be_bytes()[3]));
        exchange.handle_input(now, Side::A, &bytes);
        exchange.handle_input(now, Side::B, &bytes);
    }
    assert_eq!(exchange.outcome(now), None);
}
