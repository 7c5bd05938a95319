//! ChannelBind (RFC 8656, section 12).

use turn_wire::{
    AttributeType,
    attribute::{Attribute, Channel, XorPeerAddress},
};

use super::{Outcome, Signed};
use crate::{AllocationId, Now, Refusal, Server, reply::Reply};

pub(super) const KNOWN: &[AttributeType] = &[Channel::TYPE, XorPeerAddress::TYPE];

impl Server {
    /// Binds a channel, which installs a permission too.
    pub(super) fn channel_bind(
        &mut self,
        now: Now,
        id: Option<AllocationId>,
        signed: &Signed<'_, '_>,
        reply: &mut Reply<'_>,
    ) -> Result<Outcome, Refusal> {
        let (id, allocation) = self.own_allocation(id, signed)?;
        super::refuse_unknown(signed.message)?;
        let bad = Refusal::BadRequest;
        let Channel(number) = signed.message.get::<Channel>().map_err(|_| bad)?.ok_or(bad)?;
        let peer = signed.message.get::<XorPeerAddress>().map_err(|_| bad)?.ok_or(bad)?;
        let peer = super::same_family(peer, allocation)?;
        if peer.0.port() == 0 || allocation.streams.is_some() {
            return Err(bad);
        }
        let reach = self.gate(allocation).reach(peer.0.ip())?;
        let limits = self.settings.limits;
        let allocation = self.allocations.get_mut(id).ok_or(Refusal::AllocationMismatch)?;
        let peer_ip = peer.0.ip();
        allocation.permissions.make_room(&[peer_ip], &limits, now.instant)?;
        allocation.channels.bind(number, peer.0, limits.channels_per_allocation, now.instant)?;
        allocation.permissions.install(peer_ip, reach, now.instant);
        Ok(Outcome::Answer(reply.success(signed.request, &signed.signer, |writer| writer)))
    }
}
