//! ConnectionBind (RFC 6062, section 5.4).

use std::sync::Arc;

use turn_wire::{
    AttributeType, Message, Method,
    attribute::{Attribute, ConnectionId},
};

use super::{Outcome, Signed};
use crate::{
    AllocationId, FiveTuple, PeerConnectionId, Refusal, Server, peer_connection::Owner,
    reply::Reply, stream_path::Bound,
};

pub(super) const KNOWN: &[AttributeType] = &[ConnectionId::TYPE];

impl Server {
    /// Makes the connection that the request came on the other half of one to a peer, which may have
    /// been made for a client of another shard.
    pub(super) fn connection_bind(
        &mut self,
        id: Option<AllocationId>,
        signed: &Signed<'_, '_>,
        reply: &mut Reply<'_>,
    ) -> Result<Outcome, Refusal> {
        super::refuse_unknown(signed.message)?;
        // A connection that controls an allocation carries messages, and goes on doing so.
        if !signed.from.transport.is_stream() || id.is_some() {
            return Err(Refusal::BadRequest);
        }
        let connection = connection_id(signed.message).ok_or(Refusal::BadRequest)?;
        let table = self.ledger.connection_table();
        let (peer, owner) = table.claim(connection, &signed.proof.client.user)?;
        self.bound.insert(connection, Bound { peer, owner });
        self.counters.connections_bound += 1;
        let len = reply.success(signed.request, &signed.signer, |writer| writer);
        Ok(Outcome::Bind { connection, len })
    }

    /// Whose connection a ConnectionBind is about.
    pub(super) fn owner_to_bind(
        &self,
        from: &FiveTuple,
        message: &Message<'_>,
    ) -> Option<Arc<Owner>> {
        if message.method() != Method::CONNECTION_BIND || !from.transport.is_stream() {
            return None;
        }
        self.ledger.connection_table().owner(connection_id(message)?)
    }
}

fn connection_id(message: &Message<'_>) -> Option<PeerConnectionId> {
    message.get::<ConnectionId>().ok().flatten().map(PeerConnectionId::from)
}
