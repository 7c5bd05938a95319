//! Binding (RFC 8489, section 12): where a client's datagrams come from. Needs no credentials.

use turn_wire::{Message, attribute::XorMappedAddress};

use crate::{
    FiveTuple, Refusal, Server,
    reply::{Reply, Request},
};

impl Server {
    pub(super) fn binding(
        &mut self,
        from: &FiveTuple,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
    ) -> usize {
        let request = Request::of(message);
        if super::refuse_unknown(message).is_err() {
            self.counters.refused(Refusal::UnknownAttribute);
            return reply.unknown_attributes(request, &None, super::unknown(message));
        }
        self.counters.succeeded += 1;
        reply.success(request, &None, |writer| writer.put(&XorMappedAddress(from.client.0)))
    }
}
