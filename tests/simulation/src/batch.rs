//! Many runs, on as many threads as there are processors.

use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{Summary, run};

/// Runs seeds, and sums up what happened.
///
/// # Errors
/// What was broken, by the first seed that was found to break something.
pub fn run_all(seeds: Range<u64>) -> Result<Summary, String> {
    let next = AtomicU64::new(seeds.start);
    let found = Mutex::new(Ok(Summary::default()));
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = run(seed);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut *found, outcome) {
                (Ok(sum), Ok(summary)) => sum.add(&summary),
                (Ok(_), Err(broken)) => {
                    *found = Err(broken);
                    // Nobody has to go on.
                    next.store(seeds.end, Ordering::Relaxed);
                }
                (Err(_), _) => return,
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(worker);
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}
