//! Allocations that move with their clients (RFC 8016).
//!
//! A client whose address changes sends a Refresh with its ticket from where it is now, which may be
//! to another shard than the one that has the allocation. That shard asks the other for it
//! ([`Server::poll_move`]), which lets it go ([`Server::depart`]) with all that it is, and the shard
//! that asked takes it over and answers ([`Server::arrive`]). The shell carries these values between
//! shards, and the relayed sockets with them. Within one shard it is the same.

use std::sync::Arc;

use turn_wire::attribute::Lifetime;

use crate::{
    AllocationId, EndReason, FiveTuple, Now, Refusal, RelayedId, Server,
    allocation::Allocation,
    reply::{Reply, Request, Signer},
    request::Wish,
    ticket::{Holder, Ticket},
};

/// What an allocation has that may move.
#[derive(Debug)]
pub(crate) struct Mobility {
    /// Moves it, once.
    pub(crate) ticket: Ticket,
    /// The request that moved it last.
    pub(crate) last: Option<LastMove>,
}

/// A Refresh that moved an allocation: the same once more is a retransmission.
#[derive(Debug)]
pub(crate) struct LastMove {
    transaction: turn_wire::TransactionId,
    granted_seconds: u32,
}

/// A client that has proved who it is wants its allocation where it is now.
#[derive(Debug)]
pub struct Move {
    pub(crate) request: Request,
    pub(crate) signer: Signer,
    pub(crate) from: FiveTuple,
    pub(crate) ticket: Ticket,
    pub(crate) wish: Wish,
}

/// An allocation on its way.
#[derive(Debug)]
pub struct Departed {
    id: AllocationId,
    allocation: Allocation,
}

impl Departed {
    /// What its relayed addresses were called where it was.
    pub fn relayed(&self) -> impl Iterator<Item = RelayedId> {
        let families = self.allocation.relayed.iter();
        families.map(|(family, _)| RelayedId { allocation: self.id, family })
    }
}

/// What comes of a [`Move`].
#[derive(Debug)]
pub struct Arrival {
    wanted: Move,
    departed: Result<Box<Departed>, Refusal>,
}

impl Arrival {
    /// The allocation, unless there is a reason why it does not come.
    #[must_use]
    pub fn departed(&self) -> Option<&Departed> {
        self.departed.as_deref().ok()
    }

    /// Where its client is now.
    #[must_use]
    pub const fn client(&self) -> FiveTuple {
        self.wanted.from
    }
}

impl Server {
    /// Which shard is to be asked for an allocation that is wanted here.
    pub fn poll_move(&mut self) -> Option<(usize, Move)> {
        self.moves.pop_front()
    }

    /// Lets an allocation go: nothing of it is left here but its sockets, which are the shell's.
    pub fn depart(&mut self, wanted: Move) -> Arrival {
        let departed = self.let_go(&wanted).map(Box::new);
        Arrival { wanted, departed }
    }

    fn let_go(&mut self, wanted: &Move) -> Result<Departed, Refusal> {
        // It may have been used meanwhile, or what it stands for have ended.
        let holder = self.ledger.tickets().find(wanted.ticket);
        let holder = holder.filter(|holder| holder.shard == self.number);
        let id = holder.ok_or(Refusal::BadRequest)?.allocation;
        let allocation = self.allocations.get(id).ok_or(Refusal::AllocationMismatch)?;
        wanted.wish.fits(allocation)?;
        self.ledger.tickets().withdraw(wanted.ticket);
        let allocation = self.allocations.remove(id).ok_or(Refusal::AllocationMismatch)?;
        Ok(Departed { id, allocation })
    }

    /// Takes over an allocation and answers its client: what it is called here, if it came, and how
    /// many bytes of `out` the answer has.
    pub fn arrive(
        &mut self,
        now: Now,
        arrival: Arrival,
        out: &mut [u8],
    ) -> (Option<AllocationId>, usize) {
        let Arrival { wanted, departed } = arrival;
        let mut reply = Reply { out };
        let departed = match departed {
            Ok(departed) => departed,
            Err(refusal) => {
                let id = self.allocations.find(&wanted.from);
                let again = self.repeat_move(id, wanted.request, &wanted.signer, &mut reply);
                return (None, again.unwrap_or_else(|| self.refuse_move(&wanted, refusal, reply)));
            }
        };
        let id = self.take_in(&wanted, departed.allocation);
        if self.allocations.get(id).is_some_and(|found| found.is_adrift) {
            let refusal = Refusal::AllocationMismatch;
            return (Some(id), self.refuse_move(&wanted, refusal, reply));
        }
        self.counters.moved += 1;
        self.counters.succeeded += 1;
        self.fulfil(now, id, wanted.wish);
        let (allocation, seconds) = (self.allocations.get(id), wanted.wish.seconds);
        let len = move_success(allocation, seconds, wanted.request, &wanted.signer, &mut reply);
        (Some(id), len)
    }

    /// An allocation that came could not be given sockets here.
    pub fn handle_stranded(&mut self, id: AllocationId) {
        self.end(id, EndReason::NotOpened);
    }

    /// The allocation is this shard's from now on, with a ticket for the next time.
    fn take_in(&mut self, wanted: &Move, mut allocation: Allocation) -> AllocationId {
        allocation.five_tuple = wanted.from;
        // The client has asked for another one here meanwhile: this one has no place.
        allocation.is_adrift = self.allocations.find(&wanted.from).is_some();
        let client = Arc::clone(&allocation.client);
        let expires_at = allocation.relayed.next_expiry();
        let id = self.allocations.insert(allocation);
        let transaction = wanted.request.transaction;
        let last = Some(LastMove { transaction, granted_seconds: wanted.wish.seconds });
        self.give_ticket(id, client, last);
        expires_at.into_iter().for_each(|expires_at| self.arm(id, expires_at));
        id
    }

    fn refuse_move(&mut self, wanted: &Move, refusal: Refusal, mut reply: Reply<'_>) -> usize {
        self.counters.refused(refusal);
        reply.refuse(wanted.request, refusal, &wanted.signer)
    }

    /// The answer to the Refresh that moved an allocation here, when it comes once more.
    pub(crate) fn repeat_move(
        &self,
        id: Option<AllocationId>,
        request: Request,
        signer: &Signer,
        reply: &mut Reply<'_>,
    ) -> Option<usize> {
        let allocation = self.allocations.get(id?)?;
        let last = allocation.mobility.as_ref()?.last.as_ref()?;
        let is_same = last.transaction == request.transaction;
        let seconds = last.granted_seconds;
        is_same.then(|| move_success(Some(allocation), seconds, request, signer, reply))
    }

    /// Lets an allocation move from now on.
    pub(crate) fn give_ticket(
        &mut self,
        id: AllocationId,
        client: Arc<turn_auth::Authenticated>,
        last: Option<LastMove>,
    ) {
        let holder = Holder { shard: self.number, allocation: id, client };
        let ticket = self.ledger.tickets().issue(holder, &mut self.rng);
        if let Some(allocation) = self.allocations.get_mut(id) {
            allocation.mobility = Some(Mobility { ticket, last });
        }
    }

    /// The client cannot be reached any more where it was. Whether its allocation waits for it to
    /// come back from elsewhere.
    pub(crate) fn waits_for_client(&mut self, id: AllocationId) -> bool {
        let is_mobile = |found: &Allocation| found.mobility.is_some();
        let waits = self.settings.mobility && self.allocations.get(id).is_some_and(is_mobile);
        if waits {
            self.allocations.cast_adrift(id);
        }
        waits
    }
}

/// Writes the success of a Refresh that moved an allocation. Without a ticket if it has ended.
fn move_success(
    allocation: Option<&Allocation>,
    seconds: u32,
    request: Request,
    signer: &Signer,
    reply: &mut Reply<'_>,
) -> usize {
    let mobility = allocation.and_then(|found| found.mobility.as_ref());
    let ticket = mobility.map(|mobility| mobility.ticket.attribute());
    reply
        .success(request, signer, |writer| writer.put(&Lifetime(seconds)).put_some(ticket.as_ref()))
}
