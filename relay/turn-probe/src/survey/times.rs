//! When listeners were reached, side by side.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use super::vote::Vote;
use crate::{Transport, plan::Subject};

/// When things were reached, and since when they are not.
#[derive(Debug, Default)]
pub(super) struct Times {
    pub(super) failing_since: BTreeMap<Subject, Instant>,
    /// What somebody does not reach who has reached others since.
    proved: BTreeSet<Subject>,
    /// By the listener's name and transport: when it was reached last, at which relay.
    reached_at: BTreeMap<(Arc<str>, Transport), BTreeMap<Arc<str>, Instant>>,
}

impl Times {
    pub(super) fn note(&mut self, subject: &Subject, listener: &Vote, range: &Vote) {
        let both = [listener, range];
        if let Some(since) = both.iter().filter_map(|vote| vote.failing_since).min() {
            self.failing_since.insert(subject.clone(), since);
        }
        if both.iter().any(|vote| vote.is_proved) {
            self.proved.insert(subject.clone());
        }
        if let (Some(listener), Some(range)) = (listener.reached_at, range.reached_at) {
            let key = (Arc::clone(&subject.listener), subject.transport);
            let relays = self.reached_at.entry(key).or_default();
            relays.insert(Arc::clone(&subject.relay), listener.min(range));
        }
    }

    /// Whether the same listener was reached at another relay, since this one is not; or others were by
    /// who does not reach this one.
    pub(super) fn is_told_apart(&self, subject: &Subject, since: Instant) -> bool {
        let key = (Arc::clone(&subject.listener), subject.transport);
        let mut relays = self.reached_at.get(&key).into_iter().flatten();
        self.proved.contains(subject)
            || relays.any(|(relay, at)| *relay != subject.relay && *at >= since)
    }
}
