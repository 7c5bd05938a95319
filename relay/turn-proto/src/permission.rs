//! Permissions (RFC 8656, section 9): which IP addresses an allocation talks with.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::{PeerPolicy, Reach, Refusal};

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
}

impl Permissions {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self { by_peer: HashMap::with_hasher(hasher) }
    }

    /// What may be reached at a peer's IP address now; `None` without a permission.
    pub(crate) fn reach(&self, peer: IpAddr, now: Instant) -> Option<Reach> {
        self.by_peer.get(&peer).filter(|found| now <= found.expires_at).map(|found| found.reach)
    }

    /// Whether `more` peers that are not there yet would be too many. Ended permissions make room.
    pub(crate) fn has_room(&mut self, peers: &[IpAddr], limit: u16, now: Instant) -> bool {
        let new = peers.iter().filter(|peer| !self.by_peer.contains_key(*peer)).count();
        if self.by_peer.len() + new > usize::from(limit) {
            self.by_peer.retain(|_, permission| now <= permission.expires_at);
        }
        self.by_peer.len() + new <= usize::from(limit)
    }

    /// Installs or renews a permission.
    pub(crate) fn install(&mut self, peer: IpAddr, reach: Reach, now: Instant) {
        let permission = Permission { expires_at: now + PERMISSION_LIFETIME, reach };
        self.by_peer.insert(peer, permission);
    }

    /// Takes back what a new policy denies.
    pub(crate) fn judge_again(&mut self, policy: &PeerPolicy) {
        self.by_peer.retain(|peer, permission| {
            policy.reach(*peer).is_ok_and(|reach| {
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
