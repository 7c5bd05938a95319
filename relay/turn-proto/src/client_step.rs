//! How far clients come, for whoever counts it by listener: the server core knows no listeners.

use std::time::Instant;

use turn_wire::{Message, Method, attribute::Software};

use crate::{
    AllocationId, ClientStep, FiveTuple, Refusal, Server, probe_user::is_probe,
    request::is_no_clients,
};

/// Whether a request says that a prober sends it.
pub(crate) fn is_probers(message: &Message<'_>) -> bool {
    message.get() == Ok(Some(Software::PROBE))
}

/// How far a client has come by this request; none, if a prober sends it.
pub(crate) fn of_client(step: ClientStep, message: &Message<'_>) -> Option<ClientStep> {
    (!is_probers(message)).then_some(step)
}

/// The same of a request that is refused since nobody has proved who sent it. A nonce that is too old
/// says nothing of the client, and what is no client's is not counted.
pub(crate) fn of_challenge(
    from: &FiveTuple,
    message: &Message<'_>,
    refusal: Refusal,
) -> Option<ClientStep> {
    let begins = message.method() == Method::ALLOCATE && !is_no_clients(from, message);
    if !begins || refusal != Refusal::Unauthenticated {
        return None;
    }
    let is_signed = message.has_integrity() || message.has_integrity_sha256();
    let step = if is_signed { ClientStep::WrongCredentials } else { ClientStep::Challenged };
    of_client(step, message)
}

impl Server {
    /// How far a client has come by the request that was answered last; once. To be asked with each
    /// answer, and never on a datagram's way.
    pub const fn take_client_step(&mut self) -> Option<ClientStep> {
        self.client_step.take()
    }

    /// Counts an allocation that was made, and its client's network: only who has proved its
    /// credentials leaves a trace there.
    pub(crate) fn count_allocated(&mut self, now: Instant, id: AllocationId) {
        let Some(FiveTuple { client, transport, .. }) = self.client_of(id) else { return };
        self.ledger.networks().allocated(client.0.ip(), transport, now);
        self.client_step = Some(ClientStep::Allocated);
    }

    /// Counts an allocation for which there were no sockets.
    pub(crate) fn count_not_opened(&mut self, id: AllocationId) {
        self.client_step = self.client_of(id).map(|_| ClientStep::Refused);
    }

    /// Whose an allocation is, unless it is a prober's.
    fn client_of(&self, id: AllocationId) -> Option<FiveTuple> {
        let allocation = self.allocations.get(id)?;
        let is_probers = allocation.is_probers || is_probe(&allocation.client);
        (!is_probers).then_some(allocation.five_tuple)
    }
}
