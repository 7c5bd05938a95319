//! Refresh (RFC 8656, section 8).

use std::time::Duration;

use turn_auth::Authenticated;
use turn_wire::{
    AttributeType, Message, Method,
    attribute::{Attribute, Family, Lifetime, MobilityTicket, RequestedAddressFamily},
};

use super::{Outcome, Signed};
use crate::{
    AllocationId, EndReason, Now, Refusal, RelayedId, Server,
    allocation::Allocation,
    mobility::Move,
    probe_user::{self, is_probe},
    reply::Reply,
    ticket::{Holder, Ticket},
};

pub(super) const KNOWN: &[AttributeType] = &[Lifetime::TYPE, RequestedAddressFamily::TYPE];

/// What a client gets that does not ask, and the least that any gets.
const DEFAULT_LIFETIME_SECONDS: u32 = 600;

/// The most that a client gets.
const MAX_LIFETIME_SECONDS: u32 = 3600;

/// The lifetime that a client gets (RFC 8656, section 7.2): what it asks for, if that is more than
/// the default, and no more than the most. A prober gets its own, which is shorter.
pub(super) fn granted_lifetime(asked: Option<Lifetime>, client: &Authenticated) -> u32 {
    if is_probe(client) {
        return probe_user::LIFETIME_SECONDS;
    }
    let asked = asked.map_or(DEFAULT_LIFETIME_SECONDS, |Lifetime(seconds)| seconds);
    asked.clamp(DEFAULT_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS)
}

/// What a Refresh asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// For which relayed address; for all, if it does not say.
    family: Option<Family>,
    /// What it gets. Zero to end it.
    pub(crate) seconds: u32,
}

impl Wish {
    fn of(signed: &Signed<'_, '_>) -> Result<Self, Refusal> {
        let (bad, message) = (Refusal::BadRequest, signed.message);
        let family = match message.get::<RequestedAddressFamily>().map_err(|_| bad)? {
            None => None,
            Some(RequestedAddressFamily(family)) => {
                Some(family.ok_or(Refusal::PeerAddressFamilyMismatch)?)
            }
        };
        let seconds = match message.get::<Lifetime>().map_err(|_| bad)? {
            Some(Lifetime(0)) => 0,
            asked => granted_lifetime(asked, &signed.proof.client),
        };
        Ok(Self { family, seconds })
    }

    /// Whether the allocation has what it is about.
    pub(crate) fn fits(self, allocation: &Allocation) -> Result<(), Refusal> {
        match self.family {
            Some(family) if allocation.relayed.get(family).is_none() => {
                Err(Refusal::PeerAddressFamilyMismatch)
            }
            _ => Ok(()),
        }
    }
}

impl Server {
    pub(super) fn refresh(
        &mut self,
        now: Now,
        id: Option<AllocationId>,
        signed: &Signed<'_, '_>,
        reply: &mut Reply<'_>,
    ) -> Result<Outcome, Refusal> {
        let bad = Refusal::BadRequest;
        if let Some(ticket) = signed.message.get::<MobilityTicket<'_>>().map_err(|_| bad)? {
            return self.refresh_elsewhere(id, signed, ticket, reply);
        }
        let (id, allocation) = self.own_allocation(id, signed)?;
        super::refuse_unknown(signed.message)?;
        let wish = Wish::of(signed)?;
        wish.fits(allocation)?;
        if wish.seconds != 0 && self.is_idle_while_draining(now, allocation) {
            self.end(id, EndReason::Idle);
            return Err(self.elsewhere(&signed.from));
        }
        self.fulfil(now, id, wish);
        let lifetime = Lifetime(wish.seconds);
        Ok(Outcome::Answer(
            reply.success(signed.request, &signed.signer, |writer| writer.put(&lifetime)),
        ))
    }

    /// Moves an allocation to the five-tuple that its client has now, and refreshes it (RFC 8016,
    /// section 3.2.2).
    fn refresh_elsewhere(
        &mut self,
        id: Option<AllocationId>,
        signed: &Signed<'_, '_>,
        ticket: MobilityTicket<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Outcome, Refusal> {
        let bad = Refusal::BadRequest;
        super::refuse_unknown(signed.message)?;
        if !self.settings.mobility {
            return Err(Refusal::MobilityForbidden);
        }
        if self.own_allocation(id, signed).is_ok()
            && let Some(len) = self.repeat_move(id, signed.request, &signed.signer, reply)
        {
            return Ok(Outcome::Answer(len));
        }
        let ticket = Ticket::of(ticket).ok_or(bad)?;
        let holder = self.ledger.tickets().find(ticket).ok_or(bad)?;
        if holder.client.user != signed.proof.client.user {
            return Err(Refusal::WrongCredentials);
        }
        if let Some(id) = id {
            // It has not moved; or it would have to share the five-tuple.
            let is_here = (holder.shard, holder.allocation) == (self.number, id);
            return Err(if is_here { bad } else { Refusal::AllocationMismatch });
        }
        let wish = Wish::of(signed)?;
        let (request, signer, from) = (signed.request, signed.signer, signed.from);
        self.moves.push_back((holder.shard, Move { request, signer, from, ticket, wish }));
        Ok(Outcome::Moving)
    }

    /// Whose allocation a Refresh wants to move.
    pub(super) fn holder_of_ticket(&self, message: &Message<'_>) -> Option<Holder> {
        if message.method() != Method::REFRESH {
            return None;
        }
        let ticket = message.get::<MobilityTicket<'_>>().ok().flatten()?;
        self.ledger.tickets().find(Ticket::of(ticket)?)
    }

    /// Whether the relay waits for this allocation alone, so to speak: nobody has used it for long.
    fn is_idle_while_draining(&self, now: Now, allocation: &Allocation) -> bool {
        let since_start = self.ledger.since_start(now.instant);
        let streams = allocation.streams.as_ref();
        let silent = streams
            .map_or(Duration::MAX, |streams| since_start.saturating_sub(streams.owner.active_at()))
            .min(now.instant.saturating_duration_since(allocation.active_at));
        self.draining && self.settings.drain_idle.is_some_and(|most| silent > most)
    }

    /// Does what a Refresh asks for.
    pub(crate) fn fulfil(&mut self, now: Now, id: AllocationId, wish: Wish) {
        match wish.seconds {
            0 => self.delete(id, wish.family),
            seconds => self.prolong(now, id, wish.family, seconds),
        }
    }

    /// Ends the relayed address of one family, or all of the allocation.
    fn delete(&mut self, id: AllocationId, family: Option<Family>) {
        match family {
            Some(family) => {
                self.end_relayed(RelayedId { allocation: id, family }, EndReason::Deleted);
            }
            None => self.end(id, EndReason::Deleted),
        }
    }

    fn prolong(&mut self, now: Now, id: AllocationId, family: Option<Family>, seconds: u32) {
        let expires_at = now.instant + Duration::from_secs(seconds.into());
        let Some(allocation) = self.allocations.get_mut(id) else { return };
        match family {
            Some(family) => {
                let relayed = allocation.relayed.get_mut(family);
                relayed.into_iter().for_each(|relayed| relayed.expires_at = expires_at);
            }
            None => {
                allocation.relayed.iter_mut().for_each(|relayed| relayed.expires_at = expires_at)
            }
        }
        if let Some(next) = allocation.relayed.next_expiry() {
            self.arm(id, next);
        }
    }
}
