//! Tickets of allocations that may move with their clients (RFC 8016): what the shards of a relay
//! know of them in common.
//!
//! A ticket says nothing: it is a random number that stands for an allocation in one table. So it
//! cannot be read or forged, it is good once, and it ends with what it stands for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rand::{CryptoRng, RngExt};
use turn_auth::Authenticated;
use turn_wire::attribute::MobilityTicket;

use crate::AllocationId;

/// Nobody guesses one of 2¹²⁸, however many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket([u8; 16]);

impl Ticket {
    /// `None` when the client's is none of ours.
    pub(crate) fn of(attribute: MobilityTicket<'_>) -> Option<Self> {
        attribute.0.try_into().ok().map(Self)
    }

    pub(crate) const fn attribute(&self) -> MobilityTicket<'_> {
        MobilityTicket(&self.0)
    }
}

/// What a ticket stands for.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) shard: usize,
    pub(crate) allocation: AllocationId,
    /// Who alone may use it.
    pub(crate) client: Arc<Authenticated>,
}

/// The tickets that are good.
#[derive(Debug)]
pub(crate) struct Tickets {
    holders: Mutex<HashMap<Ticket, Holder, FixedState>>,
}

impl Tickets {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self { holders: Mutex::new(HashMap::with_hasher(hasher)) }
    }

    pub(crate) fn issue(&self, holder: Holder, rng: &mut impl CryptoRng) -> Ticket {
        let ticket = Ticket(rng.random());
        self.holders().insert(ticket, holder);
        ticket
    }

    pub(crate) fn find(&self, ticket: Ticket) -> Option<Holder> {
        self.holders().get(&ticket).cloned()
    }

    pub(crate) fn withdraw(&self, ticket: Ticket) {
        self.holders().remove(&ticket);
    }

    pub(crate) fn len(&self) -> usize {
        self.holders().len()
    }

    fn holders(&self) -> MutexGuard<'_, HashMap<Ticket, Holder, FixedState>> {
        // Nothing panics while the lock is held; were it so, the table would still be whole.
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
