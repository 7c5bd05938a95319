//! What is known of a fleet, for who acts on it.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    diagnosis::{Finding, Reason},
    plan::Subject,
    sign::Sign,
};

/// What is known of a fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Of each relay.
    pub relays: BTreeMap<Arc<str>, RelayVerdict>,
    /// The vantages that reach nothing over UDP, over TCP or of the relay ports, while others do: what
    /// they say of that is not counted.
    pub broken: Vec<Arc<str>>,
    /// Whether every relay turned unreachable, so that whoever probes is the suspect; and whether
    /// nothing at all was answered.
    pub suspicion: Option<Suspicion>,
    /// What is amiss although it takes no relay out, each once and in order.
    pub signs: Vec<Sign>,
}

/// Why whoever probes is the suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// Nothing is answered at all, from nowhere.
    NothingAnswers,
    /// No relay is wholly reached, and some things are answered.
    NoneIsWhole,
}

/// What is known of a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayVerdict {
    /// Whether all of it is reached; none as long as nobody knows.
    pub reached: Option<bool>,
    /// Whether clients may be sent to it.
    pub admitted: bool,
    /// What is wrong with it, the worst first.
    pub finding: Option<Finding>,
    /// Whether it has no room for more clients.
    pub full: bool,
    /// Of each listener at each address.
    pub subjects: Vec<SubjectVerdict>,
}

/// What is known of a listener at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectVerdict {
    /// Which one.
    pub subject: Subject,
    /// Whether it is reached, and the relay ports behind it.
    pub reached: Option<bool>,
    /// What is wrong with it.
    pub finding: Option<Finding>,
    /// Who reaches it.
    pub reached_from: Vec<Arc<str>>,
    /// Who does not.
    pub not_reached_from: Vec<Arc<str>>,
}

impl Verdict {
    /// The worst finding of the relays of which this is known.
    #[must_use]
    pub fn worst(&self, reached: Option<bool>) -> Option<&Finding> {
        let relays = self.relays.values().filter(|relay| relay.reached == reached);
        relays.filter_map(|relay| relay.finding.as_ref()).min_by_key(|finding| finding.reason)
    }

    /// Of a listener at an address.
    #[must_use]
    pub fn of(&self, subject: &Subject) -> Option<&SubjectVerdict> {
        let relay = self.relays.get(&subject.relay)?;
        relay.subjects.iter().find(|one| one.subject == *subject)
    }

    /// The reason of a relay's finding.
    #[must_use]
    pub fn reason(&self, relay: &str) -> Option<Reason> {
        self.relays.get(relay)?.finding.as_ref().map(|finding| finding.reason)
    }
}
