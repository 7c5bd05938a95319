//! Counts of the last hour, in buckets.

use std::{collections::VecDeque, time::Duration};

/// How long a bucket is.
pub(super) const BUCKET: Duration = Duration::from_secs(300);
/// How many are kept beside that which is being filled: an hour.
const KEPT: u64 = 12;

/// A bucket, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket(u64);

impl Bucket {
    /// That which is filled so long after the start.
    pub(super) const fn of(since_start: Duration) -> Self {
        Self(since_start.as_secs() / BUCKET.as_secs())
    }
}

/// What was counted in each bucket.
#[derive(Debug, Clone)]
pub(super) struct Window<const N: usize>(VecDeque<(Bucket, [u64; N])>);

impl<const N: usize> Default for Window<N> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<const N: usize> Window<N> {
    /// Adds to the bucket that is being filled. One to which nothing is added is not known of, unless
    /// nothing is added in so many words.
    pub(super) fn add(&mut self, bucket: Bucket, more: [u64; N]) {
        if self.0.back().is_none_or(|(last, _)| *last < bucket) {
            self.0.push_back((bucket, [0; N]));
        }
        if let Some((_, sums)) = self.0.back_mut() {
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum = sum.saturating_add(more);
            }
        }
        while self.0.front().is_some_and(|(first, _)| first.0 + KEPT < bucket.0) {
            self.0.pop_front();
        }
    }

    /// Whether anything is left that is not too old.
    pub(super) fn is_used(&self, now: Bucket) -> bool {
        self.0.back().is_some_and(|(last, _)| last.0 + KEPT >= now.0)
    }

    /// The sum over that which is being filled and so many before it.
    pub(super) fn sum(&self, now: Bucket, before: u64) -> [u64; N] {
        let mut sums = [0_u64; N];
        for (_, counts) in self.0.iter().filter(|(bucket, _)| bucket.0 + before >= now.0) {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum = sum.saturating_add(*count);
            }
        }
        sums
    }

    /// The latest `count` that are full, the oldest first. None: not all of them are known.
    pub(super) fn full(&self, now: Bucket, count: u64) -> Option<Vec<[u64; N]>> {
        let is_among = |bucket: &Bucket| *bucket < now && bucket.0 + count >= now.0;
        let found: Vec<_> = self
            .0
            .iter()
            .filter(|(bucket, _)| is_among(bucket))
            .map(|(_, counts)| *counts)
            .collect();
        (u64::try_from(found.len()) == Ok(count)).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept_and_what_is_missing_is_not_taken_for_nothing() {
        let mut window = Window::<1>::default();
        for bucket in (0..20).filter(|bucket| *bucket != 17) {
            window.add(Bucket(bucket), [1]);
            window.add(Bucket(bucket), [u64::MAX / 100]);
        }
        assert_eq!(window.0.len(), 12);
        let each = u64::MAX / 100 + 1;
        assert_eq!(window.sum(Bucket(19), 0), [each]);
        assert_eq!(window.sum(Bucket(19), 2), [each * 2]);
        assert_eq!(window.full(Bucket(19), 1), Some(vec![[each]]));
        assert_eq!(window.full(Bucket(19), 2), None);
        assert_eq!(window.full(Bucket(17), 2), Some(vec![[each]; 2]));
        assert!(window.is_used(Bucket(31)) && !window.is_used(Bucket(32)));
    }
}
