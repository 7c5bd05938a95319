//! What the vantages say of one thing together.

use std::{sync::Arc, time::Instant};

use super::{Survey, seen::Seen};
use crate::{judgement::Word, observation::Fault, plan::Relay, sense::Sense};

/// What the vantages say together.
pub(super) struct Vote {
    pub(super) reached: Option<bool>,
    /// What the worst of those sees that do not reach it.
    pub(super) fault: Option<Fault>,
    pub(super) reached_at: Option<Instant>,
    pub(super) failing_since: Option<Instant>,
    pub(super) is_proved: bool,
    pub(super) for_it: Vec<Arc<str>>,
    pub(super) against: Vec<Arc<str>>,
    /// Whether somebody does not reach it who may be at fault itself.
    pub(super) is_in_doubt: bool,
    /// Who shares the node and does not reach it, where nobody else has tried.
    pub(super) only_beside: Vec<Arc<str>>,
}

impl Survey {
    /// Counts what the vantages say. Who shares the relay's node goes through no firewall in front of
    /// it: its good word counts only where there is no other, and its bad one never (a node need not
    /// reach itself through its public address). And where a relay that is itself not reached speaks
    /// against another, and somebody else for it, what closes the first is what it sees.
    pub(super) fn vote(&self, relay: &Relay, words: Vec<Word>, sense: Sense, seen: &Seen) -> Vote {
        let is_broken_by_news = words.iter().any(|word| seen.is_broken_by_news(word, sense));
        let words = words
            .into_iter()
            .filter(|word| word.reached.is_some() && !seen.is_broken(&word.vantage, sense));
        let (beside, mut others): (Vec<_>, Vec<_>) =
            words.partition(|word| self.shares_node(&word.vantage, relay));
        let is_unreached = |name: &Arc<str>| seen.unreached.contains(name);
        let is_denied = |word: &Word| word.reached == Some(false) && is_unreached(&word.vantage);
        let denied = others.iter().filter(|word| is_denied(word));
        let since = denied.filter_map(|word| word.failing_since).min();
        // Who has said nothing since then vouches for nothing.
        let is_reached = others.iter().any(|word| {
            !is_unreached(&word.vantage) && word.reached_at.is_some() && word.reached_at >= since
        });
        if is_reached {
            others.retain(|word| !is_denied(word));
        }
        let (doubtful, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|word| seen.doubts(word, sense));
        let needed = self.fleet.min_vantages.min(others.len()).max(1);
        let only_beside = others.is_empty() && doubtful.is_empty();
        let (good, bad): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|word| word.reached == Some(true));
        let mut for_it: Vec<_> = good.iter().map(|word| Arc::clone(&word.vantage)).collect();
        let reached = if bad.len() >= needed {
            Some(false)
        } else if good.len() >= needed {
            Some(true)
        } else {
            beside.iter().any(|word| only_beside && word.reached == Some(true)).then_some(true)
        };
        let (good_beside, bad_beside): (Vec<_>, Vec<_>) =
            beside.into_iter().partition(|word| word.reached == Some(true));
        let is_no_proof = only_beside && good_beside.is_empty();
        let lost = bad_beside.into_iter().filter(|word| is_no_proof && word.is_lost_on_the_way());
        let only_beside = lost.map(|word| word.vantage).collect();
        for_it.extend(good_beside.into_iter().map(|word| word.vantage));
        let fault = bad.iter().filter_map(|word| word.fault).max();
        let reached_at = good.iter().filter_map(|word| word.reached_at).max();
        let failing_since = bad.iter().filter_map(|word| word.failing_since).min();
        let is_proved = bad.iter().any(|word| word.is_proved);
        let is_in_doubt = !doubtful.is_empty() || is_broken_by_news;
        let against = bad.into_iter().chain(doubtful).map(|word| word.vantage).collect();
        Vote {
            reached,
            fault,
            reached_at,
            failing_since,
            is_proved,
            for_it,
            against,
            is_in_doubt,
            only_beside,
        }
    }
}
