//! Lines of the log that somebody outside can cause, by whatever he sends or opens: of each place in
//! the code one a second at most, and it says how many it left out.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// What one place in the code may log, over all workers.
#[derive(Debug)]
pub(crate) struct LogBudget {
    /// The second of the last line, counted from one.
    last: AtomicU64,
    left_out: AtomicU64,
}

impl LogBudget {
    pub(crate) const fn new() -> Self {
        Self { last: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// Whether a line may be logged now: then, how many were not since the last.
    pub(crate) fn take(&self) -> Option<u64> {
        static START: OnceLock<Instant> = OnceLock::new();
        self.take_at(START.get_or_init(Instant::now).elapsed().as_secs() + 1)
    }

    fn take_at(&self, second: u64) -> Option<u64> {
        let last = self.last.load(Ordering::Relaxed);
        let taken = last != second
            && self
                .last
                .compare_exchange(last, second, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if taken {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// Logs like [`tracing::event!`] at a level, once a second at most.
macro_rules! log_rarely {
    ($level:ident, $($line:tt)*) => {{
        static LINES: $crate::log_budget::LogBudget = $crate::log_budget::LogBudget::new();
        if tracing::enabled!(tracing::Level::$level)
            && let Some(left_out) = LINES.take()
        {
            tracing::event!(tracing::Level::$level, left_out, $($line)*);
        }
    }};
}

pub(crate) use log_rarely;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_logs_one_line_a_second_and_says_how_many_it_left_out() {
        let budget = LogBudget::new();
        let lines: Vec<_> =
            [1, 1, 1, 2, 2, 5].into_iter().map(|second| budget.take_at(second)).collect();
        assert_eq!(lines, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
