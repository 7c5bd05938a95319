//! What a prober may do: all of it in one place.
//!
//! A relay is probed by the operator and by the agents of the fleet, with credentials that lie in more
//! places than the relay's own do. So a prober gets what a probe needs and nothing that is worth
//! having: a prober is no open relay, whatever the settings allow to others.

use std::net::IpAddr;

use turn_auth::{Authenticated, Origin};

use crate::{
    FiveTuple, Ledger, Limits, PeerPolicy, Rate, Reach, Refusal, allocation::Allocation,
    permission::permit,
};

/// Allocations of one prober at the same time, whatever others may have: four probes, of two each.
pub(crate) const MAX_ALLOCATIONS_PER_USER: u32 = 8;

/// Allocations of all probers at the same time, over all shards.
pub(crate) const MAX_ALLOCATIONS: u32 = 64;

/// How long an allocation lives, and what a refresh adds to it, whatever is asked for: what a prober
/// that died has left behind is soon gone.
pub(crate) const LIFETIME_SECONDS: u32 = 60;

/// What one allocation relays, in each direction, at most: a probe sends a payload of at most 1,200
/// bytes four times a second.
const MAX_RATE: Rate = Rate { bits_per_second: Some(256_000), packets_per_second: Some(100) };

/// Whether a client is a prober.
pub(crate) fn is_probe(client: &Authenticated) -> bool {
    client.origin == Origin::Probe
}

/// What one allocation of a client relays.
pub(crate) fn allocation_rate(client: &Authenticated, limits: &Limits) -> Rate {
    if is_probe(client) {
        narrowest(limits.allocation_rate, MAX_RATE)
    } else {
        limits.allocation_rate
    }
}

fn narrowest(one: Rate, other: Rate) -> Rate {
    let least = |one: Option<u64>, other| one.into_iter().chain(other).min();
    Rate {
        bits_per_second: least(one.bits_per_second, other.bits_per_second),
        packets_per_second: least(one.packets_per_second, other.packets_per_second),
    }
}

/// The peer gate of one allocation: the policy, or, for a prober, what is left of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gate<'a> {
    policy: &'a PeerPolicy,
    ledger: &'a Ledger,
    /// Where the client comes from, if it is a prober.
    prober: Option<IpAddr>,
}

impl<'a> Gate<'a> {
    pub(crate) fn of(policy: &'a PeerPolicy, ledger: &'a Ledger, allocation: &Allocation) -> Self {
        let FiveTuple { client, .. } = allocation.five_tuple;
        let prober = is_probe(&allocation.client).then(|| client.0.ip());
        Self { policy, ledger, prober }
    }

    /// What may be reached at a peer's IP address.
    pub(crate) fn reach(self, peer: IpAddr) -> Result<Reach, Refusal> {
        match self.prober {
            None => permit(self.policy, peer),
            Some(prober) => self.reach_of_prober(prober, peer),
        }
    }

    /// A prober reaches what it is itself, and the relayed addresses of this relay: the second half of
    /// its own probe. It has shown by its nonce that it receives where it comes from, so it learns
    /// nothing there that it could not learn without a relay.
    fn reach_of_prober(self, prober: IpAddr, peer: IpAddr) -> Result<Reach, Refusal> {
        let is_own = self.policy.own.contains(&peer) || self.ledger.is_own(peer);
        match (is_own, prober == peer) {
            // A relay that probes itself: as it does without a credential of its own.
            (true, true) if self.policy.reach(peer) == Ok(Reach::ButListeners) => {
                Ok(Reach::ButListeners)
            }
            (true, _) => Ok(Reach::OwnRelayPorts),
            (false, true) => Ok(Reach::AnyPort),
            (false, false) => Err(Refusal::Forbidden),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrower_of_two_rates_holds() {
        let rate = |bits, packets| Rate { bits_per_second: bits, packets_per_second: packets };
        assert_eq!(narrowest(Rate::default(), MAX_RATE), MAX_RATE);
        assert_eq!(narrowest(rate(Some(1_000_000), None), MAX_RATE), MAX_RATE);
        let slow = rate(Some(8_000), Some(9));
        assert_eq!(narrowest(slow, MAX_RATE), slow);
    }
}
