//! The search for the highest rate that passes.

/// The first step upwards is a doubling; a bisection follows.
const STEP: f64 = 2.0;

/// Below this rate nothing is looked for: a server that fails there does not work.
const FLOOR: f64 = 500.0;

/// How often a rate may fail before it counts as too high. The machine has other things to do, and
/// what disturbs one trial rarely disturbs the next.
const TRIALS: u32 = 2;

/// A search by doubling, then by bisection.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    passed: Option<f64>,
    failed: Option<f64>,
    next: f64,
    failures: u32,
    ceiling: f64,
    precision: f64,
}

impl Search {
    /// Starts at `start`, never tries more than `ceiling`, and ends when the best rate that passed
    /// and the least that failed are `precision` apart, as a fraction.
    pub(crate) fn new(start: f64, ceiling: f64, precision: f64) -> Self {
        let next = start.min(ceiling);
        Self { passed: None, failed: None, next, failures: 0, ceiling, precision }
    }

    /// The next rate to try, until there is nothing more to find out.
    pub(crate) fn next(&self) -> Option<f64> {
        let done = match (self.passed, self.failed) {
            (Some(passed), Some(failed)) => failed <= passed * (1.0 + self.precision),
            (Some(passed), None) => passed >= self.ceiling,
            (None, Some(failed)) => failed <= FLOOR,
            (None, None) => false,
        };
        (!done).then_some(self.next)
    }

    /// Says how the trial at the rate of [`Search::next`] went.
    pub(crate) fn record(&mut self, passed: bool) {
        if passed {
            self.passed = Some(self.next);
        } else {
            self.failures += 1;
            if self.failures < TRIALS {
                return;
            }
            self.failed = Some(self.next);
        }
        self.failures = 0;
        self.next = match (self.passed, self.failed) {
            (Some(passed), Some(failed)) => f64::midpoint(passed, failed),
            (Some(passed), None) => (passed * STEP).min(self.ceiling),
            (None, Some(failed)) => failed / STEP,
            (None, None) => self.next,
        };
    }

    /// Whether even the highest rate that may be tried has passed.
    pub(crate) fn hit_ceiling(&self) -> bool {
        self.passed.is_some_and(|passed| passed >= self.ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(limit: f64, ceiling: f64) -> (Option<f64>, usize, bool) {
        let mut search = Search::new(20_000.0, ceiling, 0.03);
        let mut trials = 0;
        while let Some(rate) = search.next() {
            search.record(rate <= limit);
            trials += 1;
            assert!(trials < 60, "the search does not end");
        }
        (search.passed, trials, search.hit_ceiling())
    }

    #[test]
    fn the_limit_is_found_within_the_precision_from_below() {
        for limit in [700.0, 1_000.0, 19_999.0, 20_000.0, 57_300.0, 431_000.0] {
            let (found, ..) = find(limit, 1e6);
            let found = found.expect("something passes");
            assert!(found <= limit && limit <= found * 1.03, "{found} for {limit}");
        }
    }

    #[test]
    fn a_server_that_never_passes_ends_the_search() {
        assert_eq!(find(0.0, 1e6).0, None);
    }

    #[test]
    fn a_generator_that_is_the_limit_is_told() {
        let (found, trials, hit_ceiling) = find(1e9, 100_000.0);
        assert_eq!((found, hit_ceiling), (Some(100_000.0), true));
        assert!(trials < 6);
    }

    #[test]
    fn one_disturbed_trial_is_repeated() {
        let mut search = Search::new(1_000.0, 1e6, 0.03);
        search.record(false);
        assert_eq!(search.next(), Some(1_000.0));
        search.record(true);
        assert_eq!(search.next(), Some(2_000.0));
    }
}
