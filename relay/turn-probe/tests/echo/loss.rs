//! How rarely a probe fails where datagrams get lost by chance: what the simulation of fleets
//! (`tests/fleet`) takes for granted.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use turn_probe::{Datagrams, Exchange, Side, Stage, Target, Transport, plan::LIMIT};

use crate::{
    diagnosis::target,
    relay::{Flaw, Relay},
};

const PROBES: u64 = 5_000;
const LOST_PERCENT: u32 = 5;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// How a probe ends of which every datagram, to the relay and back, gets lost with this chance.
fn probe(seed: u64) -> Result<Datagrams, Stage> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut arrives = move || rng.random_range(0..100) >= LOST_PERCENT;
    let outside = address("203.0.113.1:3333");
    let clients = [address("203.0.113.1:1111"), address("203.0.113.1:2222")];
    let side = |client: SocketAddr| if client == clients[0] { Side::A } else { Side::B };
    let target = target(address("198.51.100.7:3478"), Transport::Udp);
    let target = Target { last: Stage::PeerEcho, limit: LIMIT, ..target };
    let mut relay = Relay::new(Flaw::None);
    let mut now = Instant::now();
    let mut exchange =
        Exchange::new(&target, [[1; 32], [2; 32], [3; 32], [4; 32]], now, Duration::ZERO);
    loop {
        while let Some((from, message)) = exchange.poll_transmit() {
            now += Duration::from_millis(5);
            if !arrives() {
                continue;
            }
            let client = clients[from as usize];
            let out = relay.sent_out(client, &message).filter(|(_, to, _)| *to == outside);
            if let Some((relayed, _, payload)) = out.filter(|_| arrives()) {
                exchange.handle_outside(now, relayed, &payload);
            }
            for (to, message) in relay.handle(client, &message) {
                if arrives() {
                    exchange.handle_input(now, side(to), &message);
                }
            }
        }
        while let Some((relayed, payload)) = exchange.poll_outside() {
            let through = relay.handle_peer(outside, relayed, &payload).filter(|_| arrives());
            if let Some((to, message)) = through.filter(|_| arrives()) {
                exchange.handle_input(now, side(to), &message);
            }
        }
        if let Some(outcome) = exchange.outcome(now) {
            let counted = outcome.map(|report| report.datagrams.unwrap_or_default());
            return counted.map_err(|failure| failure.stage);
        }
        now = now.max(exchange.poll_timeout());
        exchange.handle_timeout(now);
    }
}

#[test]
fn five_of_a_hundred_datagrams_lost_hardly_ever_fail_a_probe() {
    let mut failed = BTreeMap::<Stage, usize>::new();
    let mut all = Datagrams::default();
    for seed in 0..PROBES {
        match probe(seed) {
            Ok(Datagrams { sent, returned }) => {
                all.sent += sent;
                all.returned += returned;
            }
            Err(stage) => {
                println!("seed {seed}: {stage}");
                *failed.entry(stage).or_default() += 1;
            }
        }
    }
    // Of a round trip, either way may be lost; and a payload goes back only once it has arrived.
    let lost = (all.sent - all.returned) * 100 / all.sent;
    println!("{lost} of 100 of {} datagrams were lost", all.sent);
    assert!((LOST_PERCENT..=2 * LOST_PERCENT).contains(&lost), "{lost} of 100");
    let count: usize = failed.values().sum();
    println!("{count} of {PROBES} probes over UDP failed: {failed:?}");
    assert!(count <= 10, "{count} of {PROBES}");
}
