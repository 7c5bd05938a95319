//! How many replies somebody unknown gets, so that the relay is no good to those who forge sources.

use std::{
    hash::BuildHasher,
    net::IpAddr,
    time::{Duration, Instant},
};

use foldhash::quality::FixedState;

/// Buckets. Prefixes share them by hash: what an attacker can fill is this and no more.
const BUCKETS: usize = 8192;

/// A token bucket for each source prefix: /24 of IPv4, /56 of IPv6.
#[derive(Debug)]
pub(crate) struct ReplyBudget {
    hasher: FixedState,
    buckets: Box<[Bucket]>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f32,
    filled_at: Instant,
}

impl ReplyBudget {
    pub(crate) fn new(seed: u64, now: Instant) -> Self {
        let bucket = Bucket { tokens: f32::INFINITY, filled_at: now };
        Self {
            hasher: FixedState::with_seed(seed),
            buckets: vec![bucket; BUCKETS].into_boxed_slice(),
        }
    }

    /// Takes one reply from the share of a prefix, which is `per_second`, and as much at once.
    pub(crate) fn take(&mut self, source: IpAddr, per_second: u32, now: Instant) -> bool {
        let slot = self.hasher.hash_one(prefix(source)) % BUCKETS as u64;
        let Some(bucket) = usize::try_from(slot).ok().and_then(|slot| self.buckets.get_mut(slot))
        else {
            return false;
        };
        let rate = per_second as f32;
        let since: Duration = now.saturating_duration_since(bucket.filled_at);
        bucket.tokens = (bucket.tokens + since.as_secs_f32() * rate).min(rate);
        bucket.filled_at = now;
        let enough = bucket.tokens >= 1.0;
        if enough {
            bucket.tokens -= 1.0;
        }
        enough
    }
}

fn prefix(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(v4) => u64::from(u32::from(v4) >> 8),
        // The top bit keeps the two families apart.
        IpAddr::V6(v6) => {
            let top = u128::from(v6) >> 72;
            u64::try_from(top).unwrap_or(0) | 1 << 63
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_gets_its_share_and_another_is_not_touched() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do for a test's start")]
        let start = Instant::now();
        let mut budget = ReplyBudget::new(1, start);
        let mut take =
            |source: &str, now| budget.take(source.parse().expect("an address"), 10, now);
        let granted = (0..100).filter(|n| take(&format!("192.0.2.{n}"), start)).count();
        assert_eq!(granted, 10);
        assert!(take("198.51.100.1", start));
        assert!(take("2001:db8::1", start));
        let later = start + Duration::from_millis(500);
        let granted = (0..100).filter(|n| take(&format!("192.0.2.{n}"), later)).count();
        assert_eq!(granted, 5);
    }
}
