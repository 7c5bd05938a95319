//! The time of day, as credentials have it.

use std::time::{SystemTime, UNIX_EPOCH};

use turn_auth::UnixSeconds;

/// Now.
pub(crate) fn unix_now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixSeconds(since.as_secs())
}
