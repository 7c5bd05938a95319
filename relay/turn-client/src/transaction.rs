//! A request that is under way.

use std::time::Instant;

use turn_wire::TransactionId;

use crate::{Operation, Schedule};

/// A request that is under way (RFC 8489, section 6.2). Without `Debug`: it holds a key.
pub(crate) struct Transaction {
    pub(crate) id: TransactionId,
    pub(crate) operation: Operation,
    pub(crate) bytes: Vec<u8>,
    /// What the answer has to be signed with.
    pub(crate) key: Option<[u8; 16]>,
    /// Whether the server has called the nonce stale once already.
    pub(crate) was_stale: bool,
    started: Instant,
    schedule: Schedule,
    /// How many of the schedule's times have passed.
    passed: usize,
    /// How often it was given out.
    sends: usize,
}

/// What the time asks of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Send,
    GiveUp { sends: usize },
}

impl Transaction {
    /// One that has just been sent for the first time.
    pub(crate) const fn new(
        id: TransactionId,
        operation: Operation,
        bytes: Vec<u8>,
        started: Instant,
        schedule: Schedule,
    ) -> Self {
        let (key, was_stale) = (None, false);
        Self { id, operation, bytes, key, was_stale, started, schedule, passed: 1, sends: 1 }
    }

    /// What is to be done now. Times that have passed together, because nobody asked in between, are
    /// one sending: a burst would help nobody.
    pub(crate) fn check(&mut self, now: Instant) -> Due {
        if self.started + self.schedule.give_up <= now {
            return Due::GiveUp { sends: self.sends };
        }
        let sends = self.schedule.sends;
        let passed = sends.iter().filter(|offset| self.started + **offset <= now).count();
        if passed <= self.passed {
            return Due::Nothing;
        }
        self.passed = passed;
        self.sends += 1;
        Due::Send
    }

    /// When it has to be looked at.
    pub(crate) fn next_due(&self) -> Instant {
        let offset = self.schedule.sends.get(self.passed).unwrap_or(&self.schedule.give_up);
        self.started + *offset
    }

    /// For how long an answer is waited for.
    pub(crate) const fn give_up(&self) -> std::time::Duration {
        self.schedule.give_up
    }
}
