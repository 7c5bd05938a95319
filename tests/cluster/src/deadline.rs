//! Waiting for a condition, with an end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::processes::Ended;

/// How long to sleep between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Looks at a condition until it yields a value, or `limit` has passed.
///
/// `look` returns `Ok(None)` for *not yet*. An error of it is not the end: it is kept, and is the
/// cause of the error at the deadline, because a server that is still starting refuses connections.
/// Only the end of a program that was to go on ends the wait at once: there is nothing to wait for.
///
/// # Errors
/// When `limit` has passed, or a program that was waited for has ended; the message names `what`.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let outcome = look();
        if let Ok(Some(value)) = outcome {
            return Ok(value);
        }
        let ended = outcome.as_ref().is_err_and(|error| error.is::<Ended>());
        if ended || Instant::now() >= deadline {
            let message = format!("waited for {what}, at most {} s", limit.as_secs());
            return match outcome {
                Err(error) => Err(error).context(message),
                Ok(_) => bail!(message),
            };
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// The same for a condition without a value.
///
/// # Errors
/// As [`until`].
pub fn until_true(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(what, limit, || Ok(look()?.then_some(())))
}
