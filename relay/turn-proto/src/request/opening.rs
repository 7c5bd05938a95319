//! The second half of Allocate: the relayed sockets are there, or they are not.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use rand::RngExt;
use turn_wire::attribute::ReservationToken;

use super::allocate::success;
use crate::{
    AllocationId, Command, DropReason, EndReason, Now, OpenError, Refusal, RelayedAddr, RelayedId,
    Server, Verdict,
    allocation::Allocation,
    ledger::HeldPort,
    port_allocator::Parity,
    relayed_address::{Relayed, RelayedTransport, State},
    reply::{Reply, Request, Signer},
};

/// How many ports are tried when other programs have taken them.
const MAX_ATTEMPTS: u32 = 16;

impl Server {
    /// Says what came of [`Command::Open`] or [`Command::Listen`]: the client gets its answer, or another socket is to be
    /// opened.
    pub fn handle_opened(
        &mut self,
        now: Now,
        id: RelayedId,
        opened: Result<(), OpenError>,
        out: &mut [u8],
    ) -> Verdict {
        match opened {
            Ok(()) => self.is_open(id),
            Err(OpenError::PortTaken) if self.try_another_port(id) => return Verdict::Opening,
            Err(OpenError::PortTaken | OpenError::Unavailable) => self.is_not_to_be_had(id),
        }
        let Some(allocation) = self.allocations.get(id.allocation) else {
            return Verdict::Drop(DropReason::NoAllocation);
        };
        if allocation.relayed.is_opening() {
            return Verdict::Opening;
        }
        self.answer_allocate(now, id.allocation, Reply { out })
    }

    fn answer_allocate(&mut self, now: Now, id: AllocationId, mut reply: Reply<'_>) -> Verdict {
        self.reserve_next(now.instant, id);
        let Some(allocation) = self.allocations.get(id) else {
            return Verdict::Drop(DropReason::NoAllocation);
        };
        let (request, signer) = (request(allocation), signer(allocation));
        if let Some(expires_at) = allocation.relayed.next_expiry() {
            let len = success(allocation, request, &signer, &mut reply);
            self.counters.allocated += 1;
            self.counters.succeeded += 1;
            self.count_allocated(now.instant, id);
            self.arm(id, expires_at);
            return Verdict::Respond { len };
        }
        let refusal = Refusal::InsufficientCapacity;
        self.count_not_opened(id);
        self.end(id, EndReason::NotOpened);
        self.counters.refused(refusal);
        Verdict::Respond { len: reply.refuse(request, refusal, &signer) }
    }

    /// A relayed address that has its port, but no socket yet.
    pub(super) fn relayed_address(
        &self,
        held: HeldPort,
        parity: Parity,
        expires_at: Instant,
    ) -> Relayed {
        let external = self.ledger.addresses()[held.address].external;
        Relayed {
            held,
            next: (parity == Parity::Pair).then(|| held.next()),
            parity,
            address: RelayedAddr(SocketAddr::new(external, held.port)),
            state: State::Opening { attempts: 1 },
            expires_at,
        }
    }

    /// Asks for the sockets of an allocation that has been made.
    pub(super) fn ask_to_open(&mut self, id: AllocationId) {
        let Some(allocation) = self.allocations.get(id) else { return };
        for (family, relayed) in allocation.relayed.iter() {
            let local = self.ledger.local(relayed.held);
            let relayed = RelayedId { allocation: id, family };
            self.commands.push_back(open(allocation.transport(), relayed, local));
        }
    }

    fn is_open(&mut self, id: RelayedId) {
        let Some(allocation) = self.allocations.get_mut(id.allocation) else { return };
        let transport = allocation.transport();
        let Some(relayed) = allocation.relayed.get_mut(id.family) else { return };
        relayed.state = State::Open;
        self.ledger.set_live(relayed.held, transport, true);
    }

    /// The allocation goes on with the other family, if it has one.
    fn is_not_to_be_had(&mut self, id: RelayedId) {
        let Some(allocation) = self.allocations.get_mut(id.allocation) else { return };
        let Some(relayed) = allocation.relayed.slot(id.family).take() else { return };
        allocation.missing = Some((id.family, Refusal::InsufficientCapacity));
        let client = Arc::clone(&allocation.client);
        self.give_back(&relayed, &client.user);
    }

    fn try_another_port(&mut self, id: RelayedId) -> bool {
        let Some(allocation) = self.allocations.get(id.allocation) else { return false };
        let Some(relayed) = allocation.relayed.get(id.family) else { return false };
        let State::Opening { attempts } = relayed.state else { return false };
        let (held, parity, expires_at) = (relayed.held, relayed.parity, relayed.expires_at);
        if attempts >= MAX_ATTEMPTS {
            return false;
        }
        let Some(other) = self.ledger.take_port(held.address, parity, &mut self.rng) else {
            return false;
        };
        // Only now, or the same port might be drawn again.
        self.ledger.give_back(held);
        if parity == Parity::Pair {
            self.ledger.give_back(held.next());
        }
        let mut made = self.relayed_address(other, parity, expires_at);
        made.state = State::Opening { attempts: attempts + 1 };
        let local = self.ledger.local(other);
        if let Some(allocation) = self.allocations.get_mut(id.allocation) {
            *allocation.relayed.slot(id.family) = Some(made);
            self.commands.push_back(open(allocation.transport(), id, local));
        }
        true
    }

    /// Keeps the next higher port for whoever brings the token that the client is given.
    fn reserve_next(&mut self, now: Instant, id: AllocationId) {
        let Some(allocation) = self.allocations.get_mut(id) else { return };
        let next = allocation.relayed.iter_mut().find_map(|relayed| relayed.next.take());
        let Some(next) = next else { return };
        let token: [u8; 8] = self.rng.random();
        allocation.reservation = Some(ReservationToken(token));
        self.ledger.reserve(token, next, &allocation.client.user);
        self.reservations.push_back((now + crate::server::RESERVATION_LIFETIME, token));
    }
}

const fn open(transport: RelayedTransport, relayed: RelayedId, local: SocketAddr) -> Command {
    match transport {
        RelayedTransport::Udp => Command::Open { relayed, local },
        RelayedTransport::Tcp => Command::Listen { relayed, local },
    }
}

/// The Allocate that an allocation was made by.
fn request(allocation: &Allocation) -> Request {
    Request {
        method: turn_wire::Method::ALLOCATE,
        transaction: allocation.transaction,
        fingerprint: allocation.fingerprint,
    }
}

fn signer(allocation: &Allocation) -> Signer {
    Some((allocation.signature, allocation.client.key))
}
