//! What the relay was seen to do: what goes in comes out, or is dropped for a reason that is counted.

use turn_proto::{Counters, DropReason, Traffic};

use crate::oracle::Broken;

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    pub(crate) to_peers: Traffic,
    pub(crate) to_clients: Traffic,
    drops: [u64; DropReason::ALL.len()],
}

impl Tally {
    pub(crate) fn dropped(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Whether the server has counted the same.
    pub(crate) fn agrees_with(&self, counters: &Counters) -> Result<(), Broken> {
        let answered = counters.succeeded + counters.refusals.iter().sum::<u64>();
        let counted = (answered, counters.to_peers, counters.to_clients);
        let seen = (self.answered, self.to_peers, self.to_clients);
        if counted != seen {
            return Err(format!("counted {counted:?} and seen {seen:?}"));
        }
        for reason in DropReason::ALL {
            let counted = counters.drops[reason as usize];
            let seen = self.drops[reason as usize];
            if counted != seen {
                return Err(format!("{counted} {} counted and {seen} seen", reason.label()));
            }
        }
        Ok(())
    }
}
