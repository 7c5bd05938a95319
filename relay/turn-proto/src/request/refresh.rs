//! Refresh (RFC 8656, section 8).

use std::time::Duration;

use turn_wire::{
    AttributeType,
    attribute::{Attribute, Family, Lifetime, RequestedAddressFamily},
};

use super::{Outcome, Signed};
use crate::{
    AllocationId, EndReason, Now, Refusal, RelayedId, Server, allocation::Allocation, reply::Reply,
};

pub(super) const KNOWN: &[AttributeType] = &[Lifetime::TYPE, RequestedAddressFamily::TYPE];

/// What a client gets that does not ask, and the least that any gets.
const DEFAULT_LIFETIME_SECONDS: u32 = 600;

/// The most that a client gets.
const MAX_LIFETIME_SECONDS: u32 = 3600;

/// The lifetime that a client gets (RFC 8656, section 7.2): what it asks for, if that is more than
/// the default, and no more than the most.
pub(super) fn granted_lifetime(asked: Option<Lifetime>) -> u32 {
    let asked = asked.map_or(DEFAULT_LIFETIME_SECONDS, |Lifetime(seconds)| seconds);
    asked.clamp(DEFAULT_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS)
}

impl Server {
    pub(super) fn refresh(
        &mut self,
        now: Now,
        id: Option<AllocationId>,
        signed: &Signed<'_, '_>,
        reply: &mut Reply<'_>,
    ) -> Result<Outcome, Refusal> {
        let (id, allocation) = self.own_allocation(id, signed)?;
        super::refuse_unknown(signed.message)?;
        let bad = Refusal::BadRequest;
        let family = match signed.message.get::<RequestedAddressFamily>().map_err(|_| bad)? {
            None => None,
            Some(RequestedAddressFamily(family)) => {
                let found = family.filter(|family| allocation.relayed.get(*family).is_some());
                Some(found.ok_or(Refusal::PeerAddressFamilyMismatch)?)
            }
        };
        let asked = signed.message.get::<Lifetime>().map_err(|_| bad)?;
        if asked != Some(Lifetime(0)) && self.is_idle_while_draining(now, allocation) {
            self.end(id, EndReason::Idle);
            return Err(self.elsewhere(&signed.from));
        }
        let seconds = if asked == Some(Lifetime(0)) {
            self.delete(id, family);
            0
        } else {
            let seconds = granted_lifetime(asked);
            self.prolong(now, id, family, seconds);
            seconds
        };
        Ok(Outcome::Answer(
            reply.success(signed.request, &signed.signer, |writer| writer.put(&Lifetime(seconds))),
        ))
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
