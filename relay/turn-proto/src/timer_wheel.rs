//! Timers that cost the same however many there are.
//!
//! One wheel of one-second slots that is longer than the longest lifetime. A timer is never moved:
//! when it fires, its owner says whether it is really due, and is put back if not. So a refresh
//! costs nothing, and firing late, never early, comes by rounding up.

use std::time::{Duration, Instant};

/// Above the 3600 s that a lifetime has at most.
const SLOTS: usize = 4096;

/// A wheel of timers, each a number that its owner knows.
#[derive(Debug)]
pub(crate) struct TimerWheel {
    start: Instant,
    /// The last tick (whole seconds since `start`) whose slot has been emptied.
    ticked: u64,
    slots: Box<[Vec<u32>]>,
    pending: usize,
}

/// A moment that the wheel can fire at: whole seconds since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

impl TimerWheel {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, ticked: 0, slots: (0..SLOTS).map(|_| Vec::new()).collect(), pending: 0 }
    }

    /// The first tick at which `due` is over.
    pub(crate) fn tick_after(&self, due: Instant) -> Tick {
        let since = due.saturating_duration_since(self.start);
        let tick = since.as_secs() + u64::from(since.subsec_nanos() > 0);
        // Further ahead than the wheel is long: fires early for the wheel, and is put back.
        Tick(tick.clamp(self.ticked + 1, self.ticked + SLOTS as u64 - 1))
    }

    pub(crate) fn insert(&mut self, owner: u32, tick: Tick) {
        self.slots[slot(tick.0)].push(owner);
        self.pending += 1;
    }

    /// Takes the timers of the next tick that is over, with that tick.
    pub(crate) fn advance(&mut self, now: Instant) -> Option<(Tick, Vec<u32>)> {
        let now = now.saturating_duration_since(self.start).as_secs();
        if self.pending == 0 {
            self.ticked = self.ticked.max(now);
        }
        while self.ticked < now {
            self.ticked += 1;
            let due = &mut self.slots[slot(self.ticked)];
            if !due.is_empty() {
                let owners = std::mem::take(due);
                self.pending -= owners.len();
                return Some((Tick(self.ticked), owners));
            }
        }
        None
    }

    /// When [`TimerWheel::advance`] is worth a call: the next tick, if there is any timer.
    pub(crate) fn next(&self) -> Option<Instant> {
        (self.pending > 0).then(|| self.start + Duration::from_secs(self.ticked + 1))
    }
}

/// Which slot a tick has.
fn slot(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel() -> (TimerWheel, Instant) {
        #[expect(clippy::disallowed_methods, reason = "any instant will do for a test's start")]
        let start = Instant::now();
        (TimerWheel::new(start), start)
    }

    #[test]
    fn a_timer_fires_at_the_first_tick_after_its_time_and_never_before() {
        for millis in [1, 999, 1000, 1001, 600_000, 3_600_000] {
            let (mut wheel, start) = wheel();
            let due = start + Duration::from_millis(millis);
            wheel.insert(7, wheel.tick_after(due));
            let fired = (0..).map(|second| start + Duration::from_secs(second)).find(|now| {
                let fired = wheel.advance(*now);
                fired.is_some_and(|(_, owners)| owners == [7])
            });
            let late = fired.map(|fired| fired.duration_since(due));
            assert!(
                late.is_some_and(|late| late < Duration::from_secs(1)),
                "{millis} ms: {late:?}"
            );
            assert_eq!(wheel.next(), None);
        }
    }

    #[test]
    fn a_timer_beyond_the_wheel_fires_within_it() {
        let (mut wheel, start) = wheel();
        wheel.insert(1, wheel.tick_after(start + Duration::from_secs(1_000_000)));
        assert!(wheel.advance(start + Duration::from_secs(SLOTS as u64)).is_some());
    }

    #[test]
    fn an_idle_wheel_does_not_walk_through_the_time_it_slept() {
        let (mut wheel, start) = wheel();
        let now = start + Duration::from_secs(1_000_000_000);
        assert_eq!(wheel.advance(now), None);
        wheel.insert(1, wheel.tick_after(now + Duration::from_secs(1)));
        assert_eq!(wheel.next(), Some(now + Duration::from_secs(1)));
    }
}
