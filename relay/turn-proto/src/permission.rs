//! Permissions (RFC 8656, section 9): which IP addresses an allocation talks with.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::{Limits, PeerPolicy, Reach, Refusal};

/// How long a permission holds, unless renewed.
pub(crate) const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy)]
struct Permission {
    expires_at: Instant,
    reach: Reach,
}

/// The permissions of one allocation.
#[derive(Debug)]
pub(crate) struct Permissions {
    by_peer: HashMap<IpAddr, Permission, FixedState>,
    /// Until when the new peers of late would take at the rate that is allowed.
    new_until: Option<Instant>,
}

/// How many seconds' worth of new peers may come at once: a call starts with all its candidates.
const NEW_PEERS_BURST: u32 = 2;

impl Permissions {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self { by_peer: HashMap::with_hasher(hasher), new_until: None }
    }

    /// What may be reached at a peer's IP address now; `None` without a permission.
    pub(crate) fn reach(&self, peer: IpAddr, now: Instant) -> Option<Reach> {
        self.by_peer.get(&peer).filter(|found| now <= found.expires_at).map(|found| found.reach)
    }

    /// Makes room for peers that are not there yet: not too many at all, and not too many at once.
    /// Ended permissions make room.
    pub(crate) fn make_room(
        &mut self,
        peers: &[IpAddr],
        limits: &Limits,
        now: Instant,
    ) -> Result<(), Refusal> {
        let full = Refusal::InsufficientCapacity;
        let is_there =
            |peer: &IpAddr| self.by_peer.get(peer).is_some_and(|found| now <= found.expires_at);
        let new = peers.iter().filter(|peer| !is_there(peer)).count();
        let limit = usize::from(limits.permissions_per_allocation);
        if self.by_peer.len() + new > limit {
            self.by_peer.retain(|_, permission| now <= permission.expires_at);
        }
        if self.by_peer.len() + new > limit {
            return Err(full);
        }
        self.count_new(u32::try_from(new).unwrap_or(u32::MAX), limits, now)
    }

    /// Counts peers that the client has not talked with, unless those are too many at once.
    pub(crate) fn count_new(
        &mut self,
        new: u32,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), Refusal> {
        let each = Duration::from_secs(1) / u32::from(limits.new_peers_per_second).max(1);
        let until = self.new_until.unwrap_or(now).max(now) + each * new;
        if new > 0 && until > now + Duration::from_secs(1) * NEW_PEERS_BURST {
            return Err(Refusal::InsufficientCapacity);
        }
        self.new_until = Some(until);
        Ok(())
    }

    /// Installs or renews a permission.
    pub(crate) fn install(&mut self, peer: IpAddr, reach: Reach, now: Instant) {
        let permission = Permission { expires_at: now + PERMISSION_LIFETIME, reach };
        self.by_peer.insert(peer, permission);
    }

    /// Takes back what the peer gate denies from now on.
    pub(crate) fn judge_again(&mut self, gate: impl Fn(IpAddr) -> Result<Reach, Refusal>) {
        self.by_peer.retain(|peer, permission| {
            gate(*peer).is_ok_and(|reach| {
                permission.reach = reach;
                true
            })
        });
    }
}

/// The policy's word on a peer, as the answer to a request.
pub(crate) fn permit(policy: &PeerPolicy, peer: IpAddr) -> Result<Reach, Refusal> {
    policy.reach(peer).map_err(|_denied| Refusal::Forbidden)
}
