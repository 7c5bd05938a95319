//! What all vantages see side by side, and what they say together.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{judgement::Word, plan::Subject, sense::Sense};

/// What all vantages see, over all relays.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What somebody reaches.
    pub(super) answered: BTreeSet<Subject>,
    /// Over what (UDP, TCP).
    pub(super) wires: BTreeSet<&'static str>,
    /// What each vantage sees, by what it takes to see it.
    views: BTreeMap<Sense, BTreeMap<Arc<str>, View>>,
    /// The relays of which somebody sees something good.
    good: BTreeMap<Sense, BTreeSet<Arc<str>>>,
    /// The relays that somebody does not reach who is no relay.
    pub(super) unreached: BTreeSet<Arc<str>>,
    /// Whether a relay is so new that not all have tried it.
    pub(super) is_settling: bool,
}

/// What one vantage sees.
#[derive(Debug)]
struct View {
    relays: BTreeSet<Arc<str>>,
    /// Whether it has failed at all that it has tried, and more than once.
    all_failed: bool,
}

impl Seen {
    pub(super) fn take(
        &mut self,
        sense: Sense,
        relay: &Arc<str>,
        words: impl Iterator<Item = Word>,
    ) {
        let views = self.views.entry(sense).or_default();
        for Word { vantage, reached, .. } in words {
            let new = || View { relays: BTreeSet::new(), all_failed: true };
            let view = views.entry(vantage).or_insert_with(new);
            view.relays.insert(Arc::clone(relay));
            view.all_failed &= reached == Some(false);
            if reached == Some(true) {
                self.good.entry(sense).or_default().insert(Arc::clone(relay));
            }
        }
    }

    fn view(&self, vantage: &Arc<str>, sense: Sense) -> Option<&View> {
        self.views.get(&sense)?.get(vantage)
    }

    /// Whether a vantage reaches none of several relays, although others do.
    pub(super) fn is_broken(&self, vantage: &Arc<str>, sense: Sense) -> bool {
        // Who looks at one relay only cannot be told from a witness of its fault.
        let good = self.good.get(&sense);
        let sees_none = |view: &View| {
            view.all_failed
                && view.relays.len() > 1
                && view.relays.iter().any(|relay| good.is_some_and(|good| good.contains(relay)))
        };
        self.view(vantage, sense).is_some_and(sees_none)
    }

    pub(super) fn broken(&self) -> Vec<Arc<str>> {
        let of = |(sense, views): (&Sense, &BTreeMap<Arc<str>, View>)| {
            let broken = views.keys().filter(|name| self.is_broken(name, *sense));
            broken.cloned().collect::<Vec<_>>()
        };
        let names: BTreeSet<_> = self.views.iter().flat_map(of).collect();
        names.into_iter().collect()
    }

    /// Whether the vantage has been found broken only now that there is one relay more, which may not
    /// have started yet.
    pub(super) fn is_broken_by_news(&self, word: &Word, sense: Sense) -> bool {
        self.is_settling && word.reached == Some(false) && self.is_broken(&word.vantage, sense)
    }

    /// Whether the vantage itself may be at fault, of which one cannot be sure until it has reached
    /// another relay, or none.
    pub(super) fn doubts(&self, word: &Word, sense: Sense) -> bool {
        let is_open = |view: &View| view.relays.len() > 1 && !view.all_failed;
        word.reached == Some(false)
            && !word.is_proved
            && self.view(&word.vantage, sense).is_some_and(is_open)
    }
}
