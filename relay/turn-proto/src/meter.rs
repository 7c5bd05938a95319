//! Limits of bandwidth and of packets, for one allocation, one user, and the relay.
//!
//! A meter is the moment until which what has passed would take at the limit's rate (the generic
//! cell rate algorithm): one number for bits and one for packets, so that shards can share a meter
//! without a lock. Each direction has its own.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How far ahead of its rate traffic may be: a key frame of a video comes at once.
const BURST: Duration = Duration::from_millis(500);

/// How much may pass in each direction. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// Bits of payload.
    pub bits_per_second: Option<u64>,
    /// Datagrams.
    pub packets_per_second: Option<u64>,
}

impl Rate {
    const fn is_unlimited(self) -> bool {
        self.bits_per_second.is_none() && self.packets_per_second.is_none()
    }
}

/// Which way something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a client to a peer.
    ToPeer,
    /// From a peer to a client.
    ToClient,
}

/// As many bytes of a stream as count as one packet: what a segment carries on most ways.
const SEGMENT_LEN: usize = 1460;

/// What has passed, both ways.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    to_peer: Meter,
    to_client: Meter,
}

impl Meters {
    /// Lets a datagram pass, unless that is too much. `now` is the time since the ledger's start.
    pub(crate) fn pass(
        &self,
        direction: Direction,
        now: Duration,
        bytes: usize,
        rate: Rate,
    ) -> bool {
        if rate.is_unlimited() {
            return true;
        }
        self.of(direction).pass(now, bytes, rate)
    }

    /// From when on a part of a stream may pass: a time since the ledger's start.
    pub(crate) fn free_from(&self, direction: Direction, rate: Rate) -> Duration {
        let meter = self.of(direction);
        let packets = rate.packets_per_second.map_or(0, |_| meter.packets.load(Ordering::Relaxed));
        let bits = rate.bits_per_second.map_or(0, |_| meter.bits.load(Ordering::Relaxed));
        Duration::from_nanos(packets.max(bits)).saturating_sub(BURST)
    }

    /// Counts a part of a stream that has passed: what is read cannot be dropped any more.
    pub(crate) fn pay(&self, direction: Direction, now: Duration, bytes: usize, rate: Rate) {
        let (meter, now) = (self.of(direction), nanoseconds(now));
        let segments = bytes.div_ceil(SEGMENT_LEN) as u64;
        move_on(&meter.packets, now, segments, rate.packets_per_second);
        move_on(&meter.bits, now, 8 * bytes as u64, rate.bits_per_second);
    }

    const fn of(&self, direction: Direction) -> &Meter {
        match direction {
            Direction::ToPeer => &self.to_peer,
            Direction::ToClient => &self.to_client,
        }
    }
}

/// What has passed, one way: in nanoseconds since the ledger's start.
#[derive(Debug, Default)]
struct Meter {
    bits: AtomicU64,
    packets: AtomicU64,
}

impl Meter {
    fn pass(&self, now: Duration, bytes: usize, rate: Rate) -> bool {
        let now = nanoseconds(now);
        advance(&self.packets, now, 1, rate.packets_per_second)
            && advance(&self.bits, now, 8 * bytes as u64, rate.bits_per_second)
    }
}

/// Moves a meter on by what `amount` takes, unless it is too far ahead.
fn advance(meter: &AtomicU64, now: u64, amount: u64, per_second: Option<u64>) -> bool {
    let Some(per_second) = per_second else { return true };
    let cost = cost(amount, per_second);
    let most = now.saturating_add(nanoseconds(BURST));
    let moved = meter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| {
        (until <= most).then(|| until.max(now).saturating_add(cost))
    });
    moved.is_ok()
}

/// Moves a meter on by what `amount` takes, however far ahead it is.
fn move_on(meter: &AtomicU64, now: u64, amount: u64, per_second: Option<u64>) {
    let Some(per_second) = per_second else { return };
    let cost = cost(amount, per_second);
    let moved = |until: u64| Some(until.max(now).saturating_add(cost));
    let _always_moved = meter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
}

/// How long `amount` takes, in nanoseconds.
fn cost(amount: u64, per_second: u64) -> u64 {
    amount.saturating_mul(1_000_000_000) / per_second.max(1)
}

fn nanoseconds(duration: Duration) -> u64 {
    // Reaches for 584 years.
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many datagrams of 125 bytes pass in ten seconds, when one is tried each millisecond.
    fn passed(rate: Rate) -> u64 {
        let meters = Meters::default();
        let tries = (0..10_000).map(Duration::from_millis);
        let passed = tries.filter(|now| meters.pass(Direction::ToPeer, *now, 125, rate));
        passed.count() as u64
    }

    #[test]
    fn what_passes_is_the_rate_and_a_burst() {
        let bits = Rate { bits_per_second: Some(100_000), packets_per_second: None };
        assert!((1000..=1051).contains(&passed(bits)), "{}", passed(bits));
        let packets = Rate { bits_per_second: None, packets_per_second: Some(50) };
        assert!((500..=526).contains(&passed(packets)), "{}", passed(packets));
        let both = Rate { bits_per_second: Some(100_000), packets_per_second: Some(50) };
        assert_eq!(passed(both), passed(packets));
        assert_eq!(passed(Rate::default()), 10_000);
    }

    #[test]
    fn each_direction_has_its_own() {
        let meters = Meters::default();
        let rate = Rate { bits_per_second: Some(1000), packets_per_second: None };
        let pass = |direction| meters.pass(direction, Duration::ZERO, 1500, rate);
        assert!(pass(Direction::ToPeer) && !pass(Direction::ToPeer));
        assert!(pass(Direction::ToClient));
    }

    #[test]
    fn what_is_longer_than_the_rate_allows_passes_alone_and_is_paid_for() {
        let meters = Meters::default();
        let rate = Rate { bits_per_second: Some(8000), packets_per_second: None };
        let at = |millis| meters.pass(Direction::ToPeer, Duration::from_millis(millis), 2000, rate);
        assert!(at(0));
        assert!(!at(1000));
        assert!(at(1500));
    }
}
