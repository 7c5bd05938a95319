//! Allocate (RFC 8656, section 7).

use std::{net::SocketAddr, time::Duration};

use turn_wire::{
    AttributeType, Message,
    attribute::{
        Attribute, DontFragment, EvenPort, Family, Lifetime, RequestedAddressFamily,
        RequestedTransport, ReservationToken, XorMappedAddress, XorRelayedAddress,
    },
};

use super::{Outcome, Signed, refresh::granted_lifetime};
use crate::{
    AllocationId, Command, DropReason, EndReason, Now, OpenError, Refusal, RelayedAddr, Server,
    Traffic, Verdict,
    allocation::{Allocation, State},
    channel_binding::ChannelBindings,
    permission::Permissions,
    port_allocator::Parity,
    reply::{Reply, Request, Signer},
};

pub(super) const KNOWN: &[AttributeType] = &[
    RequestedTransport::TYPE,
    RequestedAddressFamily::TYPE,
    DontFragment::TYPE,
    Lifetime::TYPE,
    EvenPort::TYPE,
    ReservationToken::TYPE,
];

/// How many ports are tried when other programs have taken them.
const MAX_ATTEMPTS: u32 = 16;

/// What the client asks for, once it is known to be something.
struct Wish {
    address: usize,
    parity: Parity,
    lifetime_seconds: u32,
}

impl Server {
    pub(super) fn allocate(
        &mut self,
        now: Now,
        id: Option<AllocationId>,
        signed: &Signed<'_, '_>,
        reply: &mut Reply<'_>,
    ) -> Result<Outcome, Refusal> {
        if let Some(allocation) = id.and_then(|id| self.allocations.get(id)) {
            return repeat(allocation, signed, reply);
        }
        super::refuse_unknown(signed.message)?;
        let wish = self.wish(signed.message)?;
        if self.draining {
            return Err(Refusal::InsufficientCapacity);
        }
        self.ledger.charge(&signed.proof.user, &self.settings.limits)?;
        let opened = self.open(now, signed, &wish);
        if opened.is_err() {
            self.ledger.discharge(&signed.proof.user);
        }
        opened.map(|()| Outcome::Opening)
    }

    fn wish(&self, message: &Message<'_>) -> Result<Wish, Refusal> {
        let bad = Refusal::BadRequest;
        let transport = message.get::<RequestedTransport>().map_err(|_| bad)?.ok_or(bad)?;
        if transport != RequestedTransport::UDP {
            return Err(Refusal::UnsupportedTransportProtocol);
        }
        let lifetime = message.get::<Lifetime>().map_err(|_| bad)?;
        let family = match message.get::<RequestedAddressFamily>().map_err(|_| bad)? {
            // Without a word it is IPv4, whatever the client came over.
            None => Family::V4,
            Some(RequestedAddressFamily(family)) => {
                family.ok_or(Refusal::AddressFamilyNotSupported)?
            }
        };
        let address = self
            .ledger
            .addresses()
            .iter()
            .position(|address| address.local.is_ipv4() == (family == Family::V4))
            .ok_or(Refusal::AddressFamilyNotSupported)?;
        Ok(Wish { address, parity: parity(message)?, lifetime_seconds: granted_lifetime(lifetime) })
    }

    fn open(&mut self, now: Now, signed: &Signed<'_, '_>, wish: &Wish) -> Result<(), Refusal> {
        let held = self
            .ledger
            .take_port(wish.address, wish.parity, &mut self.rng)
            .ok_or(Refusal::InsufficientCapacity)?;
        let address = self.ledger.addresses()[held.address];
        let expires_at = now.instant + Duration::from_secs(wish.lifetime_seconds.into());
        let id = self.allocations.insert(Allocation {
            five_tuple: signed.from,
            user: signed.proof.user.clone(),
            username: signed.proof.username.clone(),
            key: signed.proof.key,
            origin: signed.proof.origin,
            signature: signed.proof.signature,
            transaction: signed.request.transaction,
            fingerprint: signed.request.fingerprint,
            granted_seconds: wish.lifetime_seconds,
            held,
            parity: wish.parity,
            relayed: RelayedAddr(SocketAddr::new(address.external, held.port)),
            state: State::Opening { attempts: 1 },
            created_at: now.instant,
            expires_at,
            permissions: Permissions::new(self.hasher.clone()),
            channels: ChannelBindings::new(self.hasher.clone()),
            to_peers: Traffic::default(),
            to_client: Traffic::default(),
        });
        let local = SocketAddr::new(address.local, held.port);
        self.commands.push_back(Command::Open { allocation: id, local });
        Ok(())
    }

    /// Says what came of [`Command::Open`]: the client gets its answer, or another port is tried.
    pub fn handle_opened(
        &mut self,
        id: AllocationId,
        opened: Result<(), OpenError>,
        out: &mut [u8],
    ) -> Verdict {
        let Some(allocation) = self.allocations.get_mut(id) else {
            return Verdict::Drop(DropReason::NoAllocation);
        };
        let request = request(allocation);
        let signer = signer(allocation);
        let mut reply = Reply { out };
        match opened {
            Ok(()) => {
                allocation.state = State::Open;
                let expires_at = allocation.expires_at;
                let len = success(allocation, request, &signer, &mut reply);
                self.ledger.set_live(allocation.held, true);
                self.counters.allocated += 1;
                self.counters.succeeded += 1;
                self.arm(id, expires_at);
                Verdict::Respond { len }
            }
            Err(OpenError::PortTaken) if self.try_another_port(id) => Verdict::Opening,
            Err(OpenError::PortTaken | OpenError::Unavailable) => {
                self.end(id, EndReason::NotOpened);
                let refusal = Refusal::InsufficientCapacity;
                self.counters.refused(refusal);
                Verdict::Respond { len: reply.refuse(request, refusal, &signer) }
            }
        }
    }

    fn try_another_port(&mut self, id: AllocationId) -> bool {
        let Some(allocation) = self.allocations.get_mut(id) else { return false };
        let State::Opening { attempts } = allocation.state else { return false };
        let (address, parity) = (allocation.held.address, allocation.parity);
        if attempts >= MAX_ATTEMPTS {
            return false;
        }
        let Some(held) = self.ledger.take_port(address, parity, &mut self.rng) else {
            return false;
        };
        // Only now, or the same port might be drawn again.
        self.ledger.give_back(allocation.held);
        allocation.held = held;
        allocation.relayed.0.set_port(held.port);
        allocation.state = State::Opening { attempts: attempts + 1 };
        let local = SocketAddr::new(self.ledger.addresses()[address].local, held.port);
        self.commands.push_back(Command::Open { allocation: id, local });
        true
    }
}

/// Which ports will do (RFC 8656, section 7.2). The next higher port is not kept for anybody, and so
/// no token is ever one of ours: both wishes cannot be met, which is 508.
fn parity(message: &Message<'_>) -> Result<Parity, Refusal> {
    let bad = Refusal::BadRequest;
    let even = message.get::<EvenPort>().map_err(|_| bad)?;
    if message.get::<ReservationToken>().map_err(|_| bad)?.is_some() {
        // The two contradict each other.
        return Err(if even.is_some() { bad } else { Refusal::InsufficientCapacity });
    }
    match even {
        None => Ok(Parity::Any),
        Some(EvenPort { reserve: false }) => Ok(Parity::Even),
        Some(EvenPort { reserve: true }) => Err(Refusal::InsufficientCapacity),
    }
}

/// An Allocate on a five-tuple that has an allocation: the same one again gets the same answer, a
/// different one 437 (RFC 8656, section 7.2).
fn repeat(
    allocation: &Allocation,
    signed: &Signed<'_, '_>,
    reply: &mut Reply<'_>,
) -> Result<Outcome, Refusal> {
    if allocation.transaction != signed.request.transaction {
        return Err(Refusal::AllocationMismatch);
    }
    if allocation.user != signed.proof.user {
        return Err(Refusal::WrongCredentials);
    }
    match allocation.state {
        State::Opening { .. } => Ok(Outcome::Drop(DropReason::AllocationOpening)),
        State::Open => {
            Ok(Outcome::Answer(success(allocation, signed.request, &signed.signer, reply)))
        }
    }
}

fn success(
    allocation: &Allocation,
    request: Request,
    signer: &Signer,
    reply: &mut Reply<'_>,
) -> usize {
    reply.success(request, signer, |writer| {
        writer
            .put(&XorRelayedAddress(allocation.relayed.0))
            .put(&Lifetime(allocation.granted_seconds))
            .put(&XorMappedAddress(allocation.five_tuple.client.0))
    })
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
    Some((allocation.signature, allocation.key))
}
