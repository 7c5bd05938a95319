//! Allocate (RFC 8656, section 7).

use std::{sync::Arc, time::Duration};

use arrayvec::ArrayVec;
use turn_wire::{
    AttributeType, Message,
    attribute::{
        AdditionalAddressFamily, AddressErrorCode, Attribute, DontFragment,
        DraftAdditionalAddressFamily, EvenPort, Family, Lifetime, MobilityTicket, RelayPort,
        RequestedAddressFamily, RequestedTransport, ReservationToken, XorMappedAddress,
        XorRelayedAddress,
    },
};

use super::{Outcome, Signed, refresh::granted_lifetime};
use crate::{
    DropReason, Now, Refusal, Server,
    allocation::Allocation,
    channel_binding::ChannelBindings,
    client_step::is_probers,
    connecting::Streams,
    ledger::HeldPort,
    meter::Meters,
    permission::Permissions,
    port_allocator::Parity,
    probe_user::is_probe,
    relayed_address::{RelayedAddresses, RelayedTransport},
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

/// What the client asks for, once it is known to be something.
struct Wish {
    /// Which of the relay's addresses; two for one of each family.
    addresses: ArrayVec<usize, 2>,
    /// The family that was asked for too and that this relay has not.
    missing: Option<(Family, Refusal)>,
    parity: Parity,
    /// A port that will be taken if it is free.
    port: Option<u16>,
    token: Option<[u8; 8]>,
    lifetime_seconds: u32,
    transport: RelayedTransport,
    mobile: bool,
}

/// What it is made of.
struct Taken {
    ports: ArrayVec<HeldPort, 2>,
    /// Its user's.
    meters: Arc<Meters>,
}

impl Server {
    pub(super) fn allocate(
        &mut self,
        now: Now,
        id: Option<crate::AllocationId>,
        signed: &Signed<'_, '_>,
        reply: &mut Reply<'_>,
    ) -> Result<Outcome, Refusal> {
        if let Some(allocation) = id.and_then(|id| self.allocations.get(id)) {
            return repeat(allocation, signed, reply);
        }
        super::refuse_unknown(signed.message)?;
        let wish = self.wish(signed)?;
        if self.draining {
            return Err(self.elsewhere(&signed.from));
        }
        let taken = self.take(signed, &wish)?;
        self.make(now, signed, &wish, taken);
        Ok(Outcome::Opening)
    }

    fn wish(&self, signed: &Signed<'_, '_>) -> Result<Wish, Refusal> {
        let (bad, message) = (Refusal::BadRequest, signed.message);
        let transport = self.transport(signed)?;
        let lifetime = message.get::<Lifetime>().map_err(|_| bad)?;
        let even = message.get::<EvenPort>().map_err(|_| bad)?;
        let token = message.get::<ReservationToken>().map_err(|_| bad)?;
        let families = families(message)?;
        // A token says which address, of which family, and which port; and the port next to two
        // relayed addresses would be two ports.
        let reserve = even == Some(EvenPort { reserve: true });
        if token.is_some() && (even.is_some() || families != Families::Unsaid)
            || reserve && families == Families::Both
        {
            return Err(bad);
        }
        let is_probe = is_probe(&signed.proof.client);
        if is_probe && (reserve || token.is_some()) {
            return Err(Refusal::InsufficientCapacity);
        }
        let (addresses, missing) = self.addresses_of(families)?;
        let parity = match even {
            None if token.is_some() => Parity::Reserved,
            None => Parity::Any,
            Some(EvenPort { reserve: false }) => Parity::Even,
            Some(EvenPort { reserve: true }) => Parity::Pair,
        };
        let token = token.map(|token| token.0);
        let lifetime_seconds = granted_lifetime(lifetime, &signed.proof.client);
        let mobile = self.is_to_be_mobile(signed, transport)?;
        let port = wished_port(message).filter(|_| is_probe && parity == Parity::Any);
        Ok(Wish { addresses, missing, parity, port, token, lifetime_seconds, transport, mobile })
    }

    /// What is to be relayed. Connections only for whom comes over one, and without what makes sense
    /// for datagrams alone (RFC 6062, section 5.1).
    fn transport(&self, signed: &Signed<'_, '_>) -> Result<RelayedTransport, Refusal> {
        let (bad, message) = (Refusal::BadRequest, signed.message);
        match message.get::<RequestedTransport>().map_err(|_| bad)?.ok_or(bad)? {
            RequestedTransport::UDP => Ok(RelayedTransport::Udp),
            RequestedTransport::TCP if self.relays_tcp_for(&signed.proof.client) => {
                let has_none = !message.has::<EvenPort>()
                    && !message.has::<ReservationToken>()
                    && !message.has::<DontFragment>()
                    && !message.has::<AdditionalAddressFamily>();
                let fits = signed.from.transport.is_stream() && has_none;
                if fits { Ok(RelayedTransport::Tcp) } else { Err(bad) }
            }
            _ => Err(Refusal::UnsupportedTransportProtocol),
        }
    }

    /// Whether the client asks for a ticket (RFC 8016, section 3.1.2). What relays connections stays
    /// where it is: they are joined with others of the client's.
    fn is_to_be_mobile(
        &self,
        signed: &Signed<'_, '_>,
        transport: RelayedTransport,
    ) -> Result<bool, Refusal> {
        let bad = Refusal::BadRequest;
        match signed.message.get::<MobilityTicket<'_>>().map_err(|_| bad)? {
            None => Ok(false),
            Some(MobilityTicket([])) => {
                let may = self.settings.mobility
                    && transport == RelayedTransport::Udp
                    && !is_probe(&signed.proof.client);
                if may { Ok(true) } else { Err(Refusal::MobilityForbidden) }
            }
            Some(_) => Err(bad),
        }
    }

    /// The relay's addresses of the families that are asked for; and the one that it lacks, if it
    /// has the other.
    #[expect(clippy::type_complexity, reason = "a list and what is not on it")]
    fn addresses_of(
        &self,
        families: Families,
    ) -> Result<(ArrayVec<usize, 2>, Option<(Family, Refusal)>), Refusal> {
        let unsupported = Refusal::AddressFamilyNotSupported;
        let wanted: &[Family] = match families {
            // Without a word it is IPv4, whatever the client came over.
            Families::Unsaid | Families::One(Family::V4) => &[Family::V4],
            Families::One(Family::V6) => &[Family::V6],
            Families::Both => &[Family::V4, Family::V6],
        };
        let mut found = ArrayVec::new();
        let mut missing = None;
        for family in wanted {
            let own = self.ledger.addresses();
            match own.iter().position(|own| own.local.is_ipv4() == (*family == Family::V4)) {
                Some(address) => found.push(address),
                None => missing = Some((*family, unsupported)),
            }
        }
        if found.is_empty() { Err(unsupported) } else { Ok((found, missing)) }
    }

    /// Charges the user and takes the ports, or neither.
    fn take(&mut self, signed: &Signed<'_, '_>, wish: &Wish) -> Result<Taken, Refusal> {
        let (client, limits) = (&signed.proof.client, &self.settings.limits);
        if let Some(token) = wish.token {
            let (port, meters) = self.ledger.redeem(token, &client.user, limits)?;
            return Ok(Taken { ports: [port].into_iter().collect(), meters });
        }
        let reserve = wish.parity == Parity::Pair;
        let meters = self.ledger.charge(client, limits, reserve)?;
        let (ledger, rng) = (&self.ledger, &mut self.rng);
        let ports: ArrayVec<_, 2> = wish
            .addresses
            .iter()
            .filter_map(|address| {
                let wished = wish.port.and_then(|port| ledger.take_this_port(*address, port));
                wished.or_else(|| ledger.take_port(*address, wish.parity, rng))
            })
            .collect();
        if ports.is_empty() {
            self.ledger.discharge(client);
            if reserve {
                self.ledger.discharge_reservation(&client.user);
            }
            return Err(Refusal::InsufficientCapacity);
        }
        Ok(Taken { ports, meters })
    }

    fn make(&mut self, now: Now, signed: &Signed<'_, '_>, wish: &Wish, taken: Taken) {
        let Taken { ports, meters } = taken;
        let expires_at = now.instant + Duration::from_secs(wish.lifetime_seconds.into());
        let mut relayed = RelayedAddresses::default();
        for port in &ports {
            let made = self.relayed_address(*port, wish.parity, expires_at);
            let family = Family::of(&made.address.0);
            *relayed.slot(family) = Some(made);
        }
        // Asked for two and got the port of one.
        let no_port = (ports.len() < wish.addresses.len()).then(|| {
            let family = if relayed.get(Family::V4).is_some() { Family::V6 } else { Family::V4 };
            (family, Refusal::InsufficientCapacity)
        });
        let id = self.allocations.insert(Allocation {
            five_tuple: signed.from,
            is_adrift: false,
            mobility: None,
            client: Arc::clone(&signed.proof.client),
            signature: signed.proof.signature,
            transaction: signed.request.transaction,
            fingerprint: signed.request.fingerprint,
            is_probers: is_probers(signed.message),
            granted_seconds: wish.lifetime_seconds,
            relayed,
            missing: wish.missing.or(no_port),
            reservation: None,
            permissions: Permissions::new(self.hasher.clone()),
            channels: ChannelBindings::new(self.hasher.clone()),
            streams: None,
            meters: Meters::default(),
            user_meters: meters,
            active_at: now.instant,
        });
        if wish.transport == RelayedTransport::Tcp
            && let Some(made) = self.allocations.get_mut(id)
        {
            made.streams = Some(Streams::of(made));
        }
        if wish.mobile {
            self.give_ticket(id, Arc::clone(&signed.proof.client), None);
        }
        self.ask_to_open(id);
    }
}

/// Of which families the relayed addresses are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Families {
    Unsaid,
    One(Family),
    Both,
}

/// Whether a client of the time before RFC 8656 asks for both families. What it asks for is no error
/// where it does not fit: to the RFC the attribute is unknown, and optional.
fn asks_as_in_the_draft(message: &Message<'_>) -> bool {
    message.get() == Ok(Some(DraftAdditionalAddressFamily(Some(Family::V6))))
        && message.get() == Ok(Some(RequestedTransport::UDP))
        && message.get() != Ok(Some(EvenPort { reserve: true }))
        && !message.has::<ReservationToken>()
}

/// The port that a prober would like, so that in time it has tried them all. It is drawn at random for
/// everybody else (RFC 8656, section 7.2). A wish that cannot be read is none: the attribute need not
/// be understood.
fn wished_port(message: &Message<'_>) -> Option<u16> {
    message.get::<RelayPort>().ok().flatten().map(|RelayPort(port)| port)
}

fn families(message: &Message<'_>) -> Result<Families, Refusal> {
    let bad = Refusal::BadRequest;
    let requested = message.get::<RequestedAddressFamily>().map_err(|_| bad)?;
    let additional = message.get::<AdditionalAddressFamily>().map_err(|_| bad)?;
    match (requested, additional) {
        (None, None) if asks_as_in_the_draft(message) => Ok(Families::Both),
        (None, None) => Ok(Families::Unsaid),
        (Some(RequestedAddressFamily(family)), None) => {
            family.map(Families::One).ok_or(Refusal::AddressFamilyNotSupported)
        }
        (None, Some(AdditionalAddressFamily(Some(Family::V6)))) => Ok(Families::Both),
        // Both attributes, or IPv4 as the second family (RFC 8656, section 7.2).
        (_, Some(_)) => Err(bad),
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
    if allocation.client.user != signed.proof.client.user {
        return Err(Refusal::WrongCredentials);
    }
    if allocation.relayed.is_opening() {
        return Ok(Outcome::Drop(DropReason::AllocationOpening));
    }
    Ok(Outcome::Answer(success(allocation, signed.request, &signed.signer, reply)))
}

/// Writes the success of an Allocate.
pub(super) fn success(
    allocation: &Allocation,
    request: Request,
    signer: &Signer,
    reply: &mut Reply<'_>,
) -> usize {
    let missing = allocation.missing.map(|(family, refusal)| AddressErrorCode {
        family,
        code: refusal.code(),
        reason: refusal.phrase().as_bytes(),
    });
    let ticket = allocation.mobility.as_ref().map(|mobility| mobility.ticket.attribute());
    reply.success(request, signer, |writer| {
        let addresses = allocation.relayed.iter().map(|(_, relayed)| relayed.address.0);
        addresses
            .fold(writer, |writer, address| writer.put(&XorRelayedAddress(address)))
            .put(&Lifetime(allocation.granted_seconds))
            .put(&XorMappedAddress(allocation.five_tuple.client.0))
            .put_some(allocation.reservation.as_ref())
            .put_some(missing.as_ref())
            .put_some(ticket.as_ref())
    })
}
