//! A fleet that is observed, and what is known of it: what those share who probe it, who ask its relays,
//! and who take what agents say.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;
use turn_probe::{
    agent::Answer,
    survey::{Survey, Verdict},
};

use super::facts::{Facts, SKEW_SECONDS};

/// Told the uid of a `TurnServer` of which something else is known than before.
pub type OnChange = Arc<dyn Fn(&str) + Send + Sync>;

/// A fleet that is observed.
pub(super) struct ObservedFleet {
    pub(super) uid: String,
    state: Mutex<State>,
    /// The fleet is another one than before, or something was heard from outside.
    pub(super) news: Notify,
}

pub(super) struct State {
    pub(super) facts: Facts,
    /// The certificate that relays may still have.
    pub(super) former_certificate: Option<String>,
    pub(super) survey: Survey,
    pub(super) verdict: Verdict,
    /// By relay, how far its clock was off when it was heard last, in seconds.
    pub(super) skews: HashMap<Arc<str>, u64>,
}

impl ObservedFleet {
    /// Of which nothing is known yet.
    pub(super) fn new(uid: &str, facts: Facts) -> Self {
        let state = State {
            survey: Survey::new(facts.fleet.clone(), Instant::now()),
            facts,
            former_certificate: None,
            verdict: Verdict::default(),
            skews: HashMap::new(),
        };
        Self { uid: uid.to_owned(), state: Mutex::new(state), news: Notify::new() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether an answer was asked for, and can be.
    pub(super) fn take(&mut self, vantage: &Arc<str>, answer: &Answer, now: Instant) -> bool {
        let Some((subject, round)) = answer.id.parts() else { return false };
        self.survey.record(vantage, &subject, round, &answer.observation, now).is_ok()
    }

    pub(super) fn set(&mut self, mut facts: Facts) {
        if facts.certificate != self.facts.certificate {
            self.former_certificate = self.facts.certificate.clone();
        }
        facts.fleet.skewed = self.skewed();
        self.survey.set(facts.fleet.clone(), Instant::now());
        self.facts = facts;
    }

    fn skewed(&self) -> BTreeSet<Arc<str>> {
        let skewed = self.skews.iter().filter(|(_, skew)| **skew > SKEW_SECONDS);
        skewed.map(|(relay, _)| Arc::clone(relay)).collect()
    }
}
