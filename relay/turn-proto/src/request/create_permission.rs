//! CreatePermission (RFC 8656, section 10).

use std::net::IpAddr;

use arrayvec::ArrayVec;
use turn_wire::{
    AttributeType,
    attribute::{Attribute, XorPeerAddress},
};

use super::{Outcome, Signed};
use crate::{AllocationId, Now, Reach, Refusal, Server, reply::Reply};

pub(super) const KNOWN: &[AttributeType] = &[XorPeerAddress::TYPE];

/// How many peers one request may name.
const MAX_PEERS: usize = 64;

impl Server {
    /// All of the peers get a permission, or none of them.
    pub(super) fn create_permission(
        &mut self,
        now: Now,
        id: Option<AllocationId>,
        signed: &Signed<'_, '_>,
        reply: &mut Reply<'_>,
    ) -> Result<Outcome, Refusal> {
        let (id, allocation) = self.own_allocation(id, signed)?;
        super::refuse_unknown(signed.message)?;
        let mut peers: ArrayVec<(IpAddr, Reach), MAX_PEERS> = ArrayVec::new();
        for peer in signed.message.all::<XorPeerAddress>() {
            let peer = super::same_family(peer.map_err(|_| Refusal::BadRequest)?, allocation)?;
            let reach = self.gate(allocation).reach(peer.0.ip())?;
            // The candidates of one host are one peer here.
            if peers.iter().any(|(known, _)| *known == peer.0.ip()) {
                continue;
            }
            peers.try_push((peer.0.ip(), reach)).map_err(|_| Refusal::InsufficientCapacity)?;
        }
        if peers.is_empty() {
            return Err(Refusal::BadRequest);
        }
        let limits = self.settings.limits;
        let allocation = self.allocations.get_mut(id).ok_or(Refusal::AllocationMismatch)?;
        let addresses: ArrayVec<IpAddr, MAX_PEERS> = peers.iter().map(|(peer, _)| *peer).collect();
        allocation.permissions.make_room(&addresses, &limits, now.instant)?;
        for (peer, reach) in peers {
            allocation.permissions.install(peer, reach, now.instant);
        }
        Ok(Outcome::Answer(reply.success(signed.request, &signed.signer, |writer| writer)))
    }
}
