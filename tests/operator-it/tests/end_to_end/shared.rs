//! The cluster that the tests share: booted by the first that needs it, stopped after the last.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use cluster::{Cluster, Options};

/// A boot that failed is not tried again by each test: it would cost minutes each time.
enum State {
    NotBooted,
    Running(Box<Cluster>),
    Failed,
}

static SHARED: Mutex<State> = Mutex::new(State::NotBooted);

fn lock() -> MutexGuard<'static, State> {
    // A test that failed leaves the cluster as it is; the next one takes it.
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test on the cluster, which is booted if no test has done so yet.
///
/// # Errors
/// When the cluster does not boot, or the test's own.
pub(crate) fn with_cluster(test: impl FnOnce(&Cluster) -> Result<()>) -> Result<()> {
    let mut state = lock();
    if matches!(*state, State::NotBooted) {
        *state = State::Failed;
        let cluster = Cluster::given_or_start(&Options::default()).context("boot")?;
        *state = State::Running(Box::new(cluster));
    }
    match &*state {
        State::Running(cluster) => test(cluster),
        State::NotBooted | State::Failed => bail!("the cluster did not boot: see the first test"),
    }
}

/// Ends the cluster; keeps its logs when a test has failed.
///
/// # Errors
/// When something of the cluster does not end.
pub(crate) fn stop(failed: bool) -> Result<()> {
    match std::mem::replace(&mut *lock(), State::NotBooted) {
        State::Running(cluster) => {
            if failed {
                cluster.keep_logs();
            }
            cluster.stop()
        }
        State::NotBooted | State::Failed => Ok(()),
    }
}
