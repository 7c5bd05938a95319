//! How often each caller may ask.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Place, callers::Caller};

/// How many callers are remembered. Only those are that have proved who they are.
const MOST: usize = 10_000;

/// Of which `TurnServer`, and who.
type Key = (Place, Caller);

/// A bucket for each caller: a second's worth of requests, which fills again as time goes by.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<HashMap<Key, Bucket>>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// When it would be full.
    full_at: Instant,
}

impl Limits {
    /// Takes one request, or says how long to wait for the next.
    pub(super) fn take(&self, key: &Key, per_second: u32, now: Instant) -> Result<(), Duration> {
        let each = Duration::from_secs(1) / per_second.max(1);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = buckets.get(key).map_or(now, |bucket| bucket.full_at.max(now)) + each;
        let debt = full_at.saturating_duration_since(now);
        if debt > Duration::from_secs(1).max(each) {
            return Err(debt.saturating_sub(Duration::from_secs(1)));
        }
        if buckets.len() >= MOST {
            buckets.retain(|_, bucket| bucket.full_at > now);
        }
        if buckets.len() < MOST || buckets.contains_key(key) {
            buckets.insert(key.clone(), Bucket { full_at });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_at_once_and_then_as_time_goes_by() {
        let limits = Limits::default();
        let place = ("media".to_owned(), "edge".to_owned());
        let key = |name: &str| (place.clone(), Caller::Key(name.to_owned()));
        let now = Instant::now();
        let mut taken = 0;
        while limits.take(&key("a"), 100, now).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 100);
        assert!(limits.take(&key("b"), 100, now).is_ok(), "another caller");
        let later = now + Duration::from_millis(25);
        assert!(limits.take(&key("a"), 100, later).is_ok());
        assert!(limits.take(&key("a"), 100, later).is_ok());
        assert!(limits.take(&key("a"), 100, later).is_err());
    }
}
