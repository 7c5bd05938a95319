//! Connect (RFC 6062, section 5.2).

use turn_wire::{
    AttributeType,
    attribute::{Attribute, Family, XorPeerAddress},
};

use super::{Outcome, Signed};
use crate::{
    AllocationId, Command, Now, PeerAddr, Refusal, RelayedId, Server,
    allocation::Allocation,
    connecting::{CONNECT_TIMEOUT, Unanswered},
    peer_connection::State,
};

pub(super) const KNOWN: &[AttributeType] = &[XorPeerAddress::TYPE];

impl Server {
    /// Begins a connection to a peer; the answer comes when it is there, or not.
    pub(super) fn connect(
        &mut self,
        now: Now,
        id: Option<AllocationId>,
        signed: &Signed<'_, '_>,
    ) -> Result<Outcome, Refusal> {
        let (id, allocation) = self.own_allocation(id, signed)?;
        super::refuse_unknown(signed.message)?;
        let bad = Refusal::BadRequest;
        let peer = signed.message.get::<XorPeerAddress>().map_err(|_| bad)?.ok_or(bad)?;
        if allocation.streams.is_none() || peer.0.port() == 0 {
            return Err(bad);
        }
        let peer = PeerAddr(super::same_family(peer, allocation)?.0);
        self.may_connect(allocation, peer)?;
        let relayed = RelayedId { allocation: id, family: Family::of(&peer.0) };
        let held = allocation.relayed.get(relayed.family).map(|relayed| relayed.held);
        let local = self.ledger.local(held.ok_or(Refusal::PeerAddressFamilyMismatch)?);
        let state = State::Connecting(now.instant + CONNECT_TIMEOUT);
        let connection = self.add_connection(id, peer.0, state)?;
        if let Err(refusal) = self.count_new_peer(now, id) {
            self.ledger.connection_table().remove(connection);
            return Err(refusal);
        }
        self.connecting.watch(connection, state);
        let unanswered = Unanswered { request: signed.request, signer: signed.signer };
        self.connecting.unanswered.insert(connection, unanswered);
        self.commands.push_back(Command::Connect { connection, relayed, local, peer });
        Ok(Outcome::Opening)
    }

    /// The one gate, and no way to oneself: a socket that connects to its own address is connected
    /// to itself.
    fn may_connect(&self, allocation: &Allocation, peer: PeerAddr) -> Result<(), Refusal> {
        self.judge_stream_peer(peer)?;
        let mut own = allocation.relayed.iter().map(|(_, relayed)| relayed);
        let is_self = own.any(|relayed| {
            relayed.address.0 == peer.0 || self.ledger.local(relayed.held) == peer.0
        });
        if is_self { Err(Refusal::Forbidden) } else { Ok(()) }
    }

    /// Each Connect counts as a new peer: who scans ports scans one address.
    fn count_new_peer(&mut self, now: Now, id: AllocationId) -> Result<(), Refusal> {
        let limits = self.settings.limits;
        let allocation = self.allocations.get_mut(id).ok_or(Refusal::AllocationMismatch)?;
        allocation.permissions.count_new(1, &limits, now.instant)
    }
}
