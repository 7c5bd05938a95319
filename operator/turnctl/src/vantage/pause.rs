//! How long to wait until the operator is asked again after an error: longer each time, and not all
//! agents at once.

use std::time::Duration;

/// Waits that double, up to a limit.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) const fn succeed(&mut self) {
        self.failures = 0;
    }

    /// The next wait: a random part of the last half of it counts.
    pub(super) fn fail(&mut self, first: Duration, longest: Duration) -> Duration {
        let full = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        jittered(full)
    }
}

/// Between half of it and all.
pub(super) fn jittered(full: Duration) -> Duration {
    // Without randomness all of it.
    let part = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    full.mul_f64(0.5 + part / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew_after_a_success() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(30));
        let mut backoff = Backoff::default();
        for full in [1, 2, 4, 8, 16, 30, 30] {
            let (wait, full) = (backoff.fail(first, longest), Duration::from_secs(full));
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        }
        backoff.succeed();
        assert!(backoff.fail(first, longest) <= first);
    }
}
