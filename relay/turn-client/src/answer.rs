//! What comes from the server.

use std::{net::SocketAddr, time::Instant};

use turn_wire::{
    Attribute, AttributeType, ChannelData, Class, ErrorCode, Kind, Message, Method,
    attribute::{
        AlternateDomain, AlternateServer, Channel, ConnectionId, Data, Icmp, Lifetime,
        MappedAddress, MessageIntegrity, MessageIntegritySha256, MobilityTicket, Nonce, Realm,
        ReservationToken, UnknownAttributes, Userhash, Username, XorMappedAddress, XorPeerAddress,
        XorRelayedAddress,
    },
    kind,
};

use crate::{
    Client, DropReason, End, Event, Failure, Input, Operation, allocation::Allocation,
    credentials::Challenge, peers::ChannelState, transaction::Transaction,
};

/// What a server may put into an answer although it has to be understood.
const KNOWN: &[AttributeType] = &[
    MappedAddress::TYPE,
    Username::TYPE,
    MessageIntegrity::TYPE,
    ErrorCode::TYPE,
    UnknownAttributes::TYPE,
    Channel::TYPE,
    Lifetime::TYPE,
    XorPeerAddress::TYPE,
    Data::TYPE,
    Realm::TYPE,
    Nonce::TYPE,
    XorRelayedAddress::TYPE,
    MessageIntegritySha256::TYPE,
    Userhash::TYPE,
    XorMappedAddress::TYPE,
    ReservationToken::TYPE,
    ConnectionId::TYPE,
];

/// The first attribute of a type, without which the answer is none.
fn require<'a, A: Attribute<'a>>(message: &Message<'a>) -> Result<A, Failure> {
    match message.get() {
        Ok(Some(attribute)) => Ok(attribute),
        Ok(None) => Err(Failure::Missing(A::TYPE)),
        Err(malformed) => Err(Failure::Malformed(malformed.0)),
    }
}

/// What a server wrote for a person, fit to be put into a line of a log.
fn legible(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|char| !char.is_control()).collect()
}

impl Client {
    /// Takes one message that came from the server: a datagram, or a frame of a stream. That it came
    /// from the server's address is the caller's matter.
    pub fn handle_input<'a>(&mut self, now: Instant, message: &'a [u8]) -> Input<'a> {
        let input = match kind(message) {
            Kind::Stun => self.handle_stun(now, message),
            Kind::ChannelData => self.handle_channel_data(message),
            Kind::Neither => Err(DropReason::NotStun),
        };
        input.unwrap_or_else(|reason| {
            self.dropped.add(reason);
            Input::Dropped(reason)
        })
    }

    fn handle_channel_data<'a>(&self, bytes: &'a [u8]) -> Result<Input<'a>, DropReason> {
        let message = ChannelData::decode(bytes).map_err(|_| DropReason::Malformed)?;
        let peer = self.peers.peer_of(message.channel).ok_or(DropReason::UnknownChannel)?;
        Ok(Input::Data { peer, channel: Some(message.channel), payload: message.data })
    }

    fn handle_stun<'a>(&mut self, now: Instant, bytes: &'a [u8]) -> Result<Input<'a>, DropReason> {
        let message = Message::decode(bytes).map_err(|_| DropReason::Malformed)?;
        match (message.class(), message.method()) {
            (Class::Indication, Method::DATA) => self.handle_data(&message),
            (Class::Indication, Method::CONNECTION_ATTEMPT) => self.handle_attempt(&message),
            (Class::Request | Class::Indication, _) => Err(DropReason::Unexpected),
            (Class::Success | Class::Error, _) => {
                self.handle_answer(now, &message).map(|()| Input::Handled)
            }
        }
    }

    /// RFC 8656, section 11.4 and 11.5.
    fn handle_data<'a>(&mut self, message: &Message<'a>) -> Result<Input<'a>, DropReason> {
        if message.unknown_required(KNOWN).next().is_some() {
            return Err(DropReason::Unexpected);
        }
        let peer = message.get::<XorPeerAddress>().ok().flatten();
        let Some(XorPeerAddress(peer)) = peer else { return Err(DropReason::IncompleteData) };
        if let Ok(Some(Data(payload))) = message.get() {
            return Ok(Input::Data { peer, channel: None, payload });
        }
        let Ok(Some(Icmp { kind, code, .. })) = message.get() else {
            return Err(DropReason::IncompleteData);
        };
        self.events.push_back(Event::Icmp { peer, kind, code });
        Ok(Input::Handled)
    }

    /// RFC 6062, section 4.4.
    fn handle_attempt<'a>(&mut self, message: &Message<'_>) -> Result<Input<'a>, DropReason> {
        if self.allocation.is_none() || message.unknown_required(KNOWN).next().is_some() {
            return Err(DropReason::Unexpected);
        }
        let incomplete = DropReason::IncompleteData;
        let XorPeerAddress(peer) = message.get().ok().flatten().ok_or(incomplete)?;
        let connection = message.get().ok().flatten().ok_or(incomplete)?;
        self.events.push_back(Event::ConnectionAttempt { peer, connection });
        Ok(Input::Handled)
    }

    fn handle_answer(&mut self, now: Instant, message: &Message<'_>) -> Result<(), DropReason> {
        let at = self
            .position(message.transaction_id())
            .filter(|at| self.transactions[*at].operation.method() == message.method())
            .ok_or(DropReason::UnknownTransaction)?;
        let error = (message.class() == Class::Error).then(|| require::<ErrorCode<'_>>(message));
        let code = error.as_ref().and_then(|error| error.as_ref().ok()).map(|error| error.code);
        // A server that challenges may not know the key (RFC 8489, section 9.2.5).
        let is_challenge = matches!(code, Some(401 | 438));
        let key = self.transactions[at].key;
        if !is_challenge && key.is_some_and(|key| !message.verify_integrity(&key)) {
            return Err(DropReason::Integrity);
        }
        let transaction = self.transactions.remove(at);
        let unknown = message.unknown_required(KNOWN).next().map(Failure::Unknown);
        let result = match (unknown, error) {
            (Some(failure), _) | (None, Some(Err(failure))) => Err(failure),
            (None, Some(Ok(error))) => self.on_error(now, &transaction, &error, message),
            (None, None) => self.on_success(now, transaction.operation, message),
        };
        if let Err(failure) = result {
            self.fail(transaction.operation, failure);
        }
        Ok(())
    }
}

/// Successes.
impl Client {
    fn on_success(
        &mut self,
        now: Instant,
        operation: Operation,
        message: &Message<'_>,
    ) -> Result<(), Failure> {
        let renew_at = now + self.config.profile.renewal;
        match operation {
            Operation::Binding => {
                let XorMappedAddress(mapped) = require(message)?;
                self.events.push_back(Event::Mapped { mapped });
            }
            Operation::Allocate { lifetime_seconds, .. } => {
                self.on_allocated(now, lifetime_seconds, message)?;
            }
            Operation::Refresh { .. } if operation.is_release() => self.end(End::Released),
            Operation::Refresh { .. } => {
                let lifetime_seconds = self.on_refreshed(now, message)?;
                self.events.push_back(Event::Refreshed { lifetime_seconds });
            }
            Operation::Migrate { .. } => {
                let lifetime_seconds = self.on_refreshed(now, message)?;
                self.ticket = ticket(message);
                self.events.push_back(Event::Migrated { lifetime_seconds });
            }
            Operation::CreatePermission { peer } => {
                self.peers.install(peer, renew_at);
                self.events.push_back(Event::PermissionInstalled { peer: peer.ip() });
            }
            Operation::ChannelBind { peer, channel } => {
                self.peers.set_channel(peer, ChannelState::Bound { renew_at });
                self.events.push_back(Event::ChannelBound { peer, channel });
            }
            Operation::Connect { peer } => {
                let connection = require(message)?;
                self.events.push_back(Event::Connected { peer, connection });
            }
            Operation::ConnectionBind { connection } => {
                self.events.push_back(Event::ConnectionBound { connection });
            }
        }
        Ok(())
    }

    fn on_allocated(
        &mut self,
        now: Instant,
        lifetime_seconds: Option<u32>,
        message: &Message<'_>,
    ) -> Result<(), Failure> {
        let XorRelayedAddress(relayed) = require(message)?;
        let XorMappedAddress(mapped) = require(message)?;
        let Lifetime(granted) = require(message)?;
        let mut allocation =
            Allocation { relayed, lifetime_seconds, refresh_at: None, expires_at: now };
        allocation.renew(now, granted, self.config.profile.refresh_margin);
        self.allocation = Some(allocation);
        self.ticket = ticket(message);
        self.events.push_back(Event::Allocated { relayed, mapped, lifetime_seconds: granted });
        Ok(())
    }

    fn on_refreshed(&mut self, now: Instant, message: &Message<'_>) -> Result<u32, Failure> {
        let Lifetime(lifetime_seconds) = require(message)?;
        let margin = self.config.profile.refresh_margin;
        if let Some(allocation) = &mut self.allocation {
            allocation.renew(now, lifetime_seconds, margin);
        }
        Ok(lifetime_seconds)
    }
}

/// What moves the allocation the next time.
fn ticket(message: &Message<'_>) -> Option<Vec<u8>> {
    let ticket = message.get::<MobilityTicket<'_>>().ok().flatten()?;
    (!ticket.0.is_empty()).then(|| ticket.0.to_vec())
}

/// Errors.
impl Client {
    fn on_error(
        &mut self,
        now: Instant,
        transaction: &Transaction,
        error: &ErrorCode<'_>,
        message: &Message<'_>,
    ) -> Result<(), Failure> {
        let operation = transaction.operation;
        match error.code {
            300 if matches!(operation, Operation::Allocate { .. }) => {
                self.on_try_alternate(error, message)
            }
            401 if transaction.key.is_none() && operation != Operation::Binding => {
                self.challenge = Some(self.read_challenge(message)?);
                self.request(now, operation, transaction.was_stale);
                Ok(())
            }
            438 if !transaction.was_stale && operation != Operation::Binding => {
                self.challenge = Some(self.read_challenge(message)?);
                self.request(now, operation, true);
                Ok(())
            }
            437 => self.on_mismatch(operation, error),
            _ => Err(refused(error)),
        }
    }

    fn read_challenge(&self, message: &Message<'_>) -> Result<Challenge, Failure> {
        let Realm(realm) = require(message)?;
        let Nonce(nonce) = require(message)?;
        let key = self.config.credentials.key(realm);
        Ok(Challenge { realm: realm.to_vec(), nonce: nonce.to_vec(), key })
    }

    /// The allocation that the server does not know ends here too. A release has what it wants.
    fn on_mismatch(&mut self, operation: Operation, error: &ErrorCode<'_>) -> Result<(), Failure> {
        match operation {
            Operation::Refresh { .. } if operation.is_release() => {
                self.end(End::Released);
                Ok(())
            }
            Operation::Refresh { .. } | Operation::Migrate { .. } => {
                self.end(End::Mismatch);
                Err(refused(error))
            }
            Operation::Binding
            | Operation::Allocate { .. }
            | Operation::CreatePermission { .. }
            | Operation::ChannelBind { .. }
            | Operation::Connect { .. }
            | Operation::ConnectionBind { .. } => Err(refused(error)),
        }
    }

    /// RFC 8489, section 10.
    fn on_try_alternate(
        &mut self,
        error: &ErrorCode<'_>,
        message: &Message<'_>,
    ) -> Result<(), Failure> {
        let AlternateServer(server) = require(message)?;
        if !is_acceptable(self.config.server, server) {
            return Err(refused(error));
        }
        let domain = message.get::<AlternateDomain<'_>>().ok().flatten();
        let domain = domain.map(|domain| legible(domain.0));
        self.events.push_back(Event::TryAlternate { server, domain });
        Ok(())
    }
}

fn refused(error: &ErrorCode<'_>) -> Failure {
    Failure::Refused { code: error.code, reason: legible(error.reason) }
}

/// Browsers do not follow a server into another family or to themselves.
fn is_acceptable(current: SocketAddr, alternate: SocketAddr) -> bool {
    current.is_ipv4() == alternate.is_ipv4()
        && !alternate.ip().is_loopback()
        && !alternate.ip().is_unspecified()
        && alternate.port() != 0
        && current != alternate
}
