//! What clients do: told by the relays, and a reason to look closer.

use std::{sync::Arc, time::Instant};

use super::{Refused, Survey};
use crate::{clients::ClientCounts, plan::Subject};

impl Survey {
    /// Takes what a relay tells of its clients.
    ///
    /// # Errors
    /// When there is no such relay, or none counts that. Nothing is taken of it then.
    pub fn record_clients(
        &mut self,
        relay: &Arc<str>,
        counts: &ClientCounts,
        now: Instant,
    ) -> Result<(), Refused> {
        if !self.fleet.relays.iter().any(|known| known.name == *relay) {
            return Err(Refused::NotAwaited);
        }
        if !counts.is_plausible() {
            return Err(Refused::Implausible);
        }
        // To one that is let out, or full, clients are not sent: its silence says nothing.
        let is_full = self.full.get(relay).copied().unwrap_or_default();
        if self.admitted.contains(relay) && !is_full {
            self.clients.record(relay, counts, &self.fleet.listeners, now);
        } else {
            self.clients.forget(relay);
        }
        Ok(())
    }

    /// Has probed at once where clients do something new.
    pub(super) fn review_clients(&mut self, now: Instant) {
        for (name, (listener, transport)) in self.clients.review(&self.fleet.listeners, now) {
            let relay = self.fleet.relays.iter().find(|relay| relay.name == name).cloned();
            let Some(relay) = relay else { continue };
            let is_it = |of: &Subject| of.listener == listener && of.transport == transport;
            let subjects: Vec<_> = self.subjects_of(&relay).filter(is_it).collect();
            for subject in &subjects {
                self.plan.hasten_all(subject, now);
            }
        }
    }
}
