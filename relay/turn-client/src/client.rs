//! The client: what it is asked to do, and what the time asks of it.

use std::{collections::VecDeque, net::SocketAddr, time::Instant};

use rand::{Rng, SeedableRng, rngs::StdRng};
use turn_wire::{
    BufferFull, ChannelData, ChannelNumber, Class, MessageWriter, Method, TransactionId,
    attribute::{ConnectionId, Data, Family, XorPeerAddress},
    padded,
};

use crate::{
    ChannelUse, Config, DropReason, Dropped, End, Event, Failure, Operation, Transport,
    allocation::Allocation,
    credentials::Challenge,
    peers::{ChannelState, Peers},
    request::{self, Signature},
    transaction::{Due, Transaction},
};

/// What a client cannot do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// There is no allocation (yet, or any more).
    #[error("there is no allocation")]
    NoAllocation,
    /// There is an allocation, or one is being asked for. A client has one.
    #[error("there is an allocation already, or one is being asked for")]
    AlreadyAllocated,
    /// The server has given no ticket for the allocation: it stays where it is.
    #[error("the allocation cannot move")]
    NoTicket,
    /// All 4096 channels have a peer.
    #[error("all channels are in use")]
    NoChannelLeft,
    /// The message does not fit into the buffer, or the payload into a message.
    #[error(transparent)]
    BufferFull(#[from] BufferFull),
}

/// What a message from the server was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// A peer's datagram: the payload is a part of the message.
    Data {
        /// Who sent it.
        peer: SocketAddr,
        /// The channel that it came through; none, if it came as a Data indication.
        channel: Option<ChannelNumber>,
        /// What the peer sent.
        payload: &'a [u8],
    },
    /// It has changed something: there may be events and messages to send.
    Handled,
    /// It has changed nothing.
    Dropped(DropReason),
}

/// A TURN client, with at most one allocation.
pub struct Client {
    pub(crate) config: Config,
    rng: StdRng,
    pub(crate) challenge: Option<Challenge>,
    pub(crate) allocation: Option<Allocation>,
    /// Moves the allocation, once.
    pub(crate) ticket: Option<Vec<u8>>,
    pub(crate) peers: Peers,
    pub(crate) transactions: Vec<Transaction>,
    outbox: VecDeque<TransactionId>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) dropped: Dropped,
}

/// Without keys and the state of the randomness.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("server", &self.config.server)
            .field("allocation", &self.allocation)
            .field("requests", &self.transactions.len())
            .finish_non_exhaustive()
    }
}

/// Operations.
impl Client {
    /// A client that has not done anything yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let rng = StdRng::from_seed(config.seed);
        Self {
            config,
            rng,
            challenge: None,
            allocation: None,
            ticket: None,
            peers: Peers::default(),
            transactions: Vec::new(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            dropped: Dropped::default(),
        }
    }

    /// Asks which address the server sees. Ends in [`Event::Mapped`] or [`Event::Failed`].
    pub fn binding(&mut self, now: Instant) {
        self.request(now, Operation::Binding, false);
    }

    /// Asks for an allocation. Ends in [`Event::Allocated`], [`Event::TryAlternate`] or
    /// [`Event::Failed`]. From then on the client refreshes it.
    ///
    /// # Errors
    /// When there is one, or one is being asked for.
    pub fn allocate(
        &mut self,
        now: Instant,
        lifetime_seconds: Option<u32>,
        family: Option<Family>,
    ) -> Result<(), ClientError> {
        self.allocate_at(now, lifetime_seconds, family, None)
    }

    /// The same, and would like its relayed transport address to have this port: a wish that our
    /// relays grant to probers, if the port is free, and that other servers pass over.
    ///
    /// # Errors
    /// When there is an allocation, or one is being asked for.
    pub fn allocate_at(
        &mut self,
        now: Instant,
        lifetime_seconds: Option<u32>,
        family: Option<Family>,
        relay_port: Option<u16>,
    ) -> Result<(), ClientError> {
        let (streams, mobile) = (false, false);
        let allocate =
            Operation::Allocate { lifetime_seconds, family, streams, mobile, relay_port };
        self.ask_for(now, allocate)
    }

    /// Asks for an allocation that [`Client::migrate`] moves (RFC 8016, section 3.1.1). Ends like
    /// [`Client::allocate`]; a server that does not know of that makes one that stays.
    ///
    /// # Errors
    /// When there is an allocation, or one is being asked for.
    pub fn allocate_mobile(
        &mut self,
        now: Instant,
        lifetime_seconds: Option<u32>,
        family: Option<Family>,
    ) -> Result<(), ClientError> {
        let (streams, mobile, relay_port) = (false, true, None);
        let allocate =
            Operation::Allocate { lifetime_seconds, family, streams, mobile, relay_port };
        self.ask_for(now, allocate)
    }

    /// Asks for an allocation that relays connections (RFC 6062, section 4.1). Ends like
    /// [`Client::allocate`]. Only over a stream.
    ///
    /// # Errors
    /// When there is an allocation, or one is being asked for.
    pub fn allocate_streams(
        &mut self,
        now: Instant,
        lifetime_seconds: Option<u32>,
        family: Option<Family>,
    ) -> Result<(), ClientError> {
        let (streams, mobile, relay_port) = (true, false, None);
        let allocate =
            Operation::Allocate { lifetime_seconds, family, streams, mobile, relay_port };
        self.ask_for(now, allocate)
    }

    fn ask_for(&mut self, now: Instant, allocate: Operation) -> Result<(), ClientError> {
        let allocating =
            |transaction: &Transaction| matches!(transaction.operation, Operation::Allocate { .. });
        if self.allocation.is_some() || self.transactions.iter().any(allocating) {
            return Err(ClientError::AlreadyAllocated);
        }
        self.request(now, allocate, false);
        Ok(())
    }

    /// Has the server connect to a peer (RFC 6062, section 4.3). Ends in [`Event::Connected`] or
    /// [`Event::Failed`].
    ///
    /// # Errors
    /// When there is no allocation.
    pub fn connect(&mut self, now: Instant, peer: SocketAddr) -> Result<(), ClientError> {
        self.allocation.ok_or(ClientError::NoAllocation)?;
        self.request(now, Operation::Connect { peer }, false);
        Ok(())
    }

    /// Makes this connection to the server the client's half of one to a peer, which another client
    /// of the same user was told of (RFC 6062, section 4.3). Ends in [`Event::ConnectionBound`] or
    /// [`Event::Failed`].
    pub fn bind_connection(&mut self, now: Instant, connection: ConnectionId) {
        self.request(now, Operation::ConnectionBind { connection }, false);
    }

    /// Refreshes the allocation, or ends it with a lifetime of zero. Ends in [`Event::Refreshed`],
    /// [`Event::Ended`] or [`Event::Failed`].
    ///
    /// # Errors
    /// When there is none.
    pub fn refresh(
        &mut self,
        now: Instant,
        lifetime_seconds: Option<u32>,
    ) -> Result<(), ClientError> {
        self.allocation.as_mut().ok_or(ClientError::NoAllocation)?.refresh_at = None;
        self.request(now, Operation::Refresh { lifetime_seconds }, false);
        Ok(())
    }

    /// The client speaks from another address from now on, and maybe to another of the server and over
    /// another transport: has the allocation moved there (RFC 8016, section 3.2.1), with its
    /// permissions and channels. Ends in [`Event::Migrated`] or [`Event::Failed`]. What is asked for
    /// before that is refused.
    ///
    /// # Errors
    /// When there is no allocation, or it cannot move.
    pub fn migrate(
        &mut self,
        now: Instant,
        server: SocketAddr,
        transport: Transport,
    ) -> Result<(), ClientError> {
        let allocation = self.allocation.as_mut().ok_or(ClientError::NoAllocation)?;
        if self.ticket.is_none() {
            return Err(ClientError::NoTicket);
        }
        allocation.refresh_at = None;
        let lifetime_seconds = allocation.lifetime_seconds;
        (self.config.server, self.config.transport) = (server, transport);
        self.request(now, Operation::Migrate { lifetime_seconds }, false);
        Ok(())
    }

    /// Installs a permission for the IP address of a peer. Ends in [`Event::PermissionInstalled`] or
    /// [`Event::Failed`]. From then on the client renews it.
    ///
    /// # Errors
    /// When there is no allocation.
    pub fn create_permission(&mut self, now: Instant, peer: SocketAddr) -> Result<(), ClientError> {
        self.allocation.ok_or(ClientError::NoAllocation)?;
        self.request(now, Operation::CreatePermission { peer }, false);
        Ok(())
    }

    /// Binds a channel to a peer, and returns its number; a peer keeps its channel. Ends in
    /// [`Event::ChannelBound`] or [`Event::Failed`]. From then on the client renews it.
    ///
    /// # Errors
    /// When there is no allocation, or no channel is left.
    pub fn bind_channel(
        &mut self,
        now: Instant,
        peer: SocketAddr,
    ) -> Result<ChannelNumber, ClientError> {
        self.allocation.ok_or(ClientError::NoAllocation)?;
        let channel = self.peers.request_channel(peer).ok_or(ClientError::NoChannelLeft)?;
        self.request(now, Operation::ChannelBind { peer, channel }, false);
        Ok(channel)
    }

    /// Writes what carries a payload to a peer, and returns its length in bytes: ChannelData if a
    /// channel is bound to the peer, else a Send indication. Whether there is a permission is the
    /// server's matter.
    ///
    /// # Errors
    /// When there is no allocation, or the message does not fit.
    pub fn send(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ClientError> {
        self.allocation.ok_or(ClientError::NoAllocation)?;
        if let Some(channel) = self.peers.bound_channel(peer) {
            return Ok(self.write_channel_data(channel, payload, out)?);
        }
        let binds = self.config.profile.channel_use == ChannelUse::OnFirstPayload;
        if binds && !self.peers.has_channel(peer) {
            // Without a channel left, Send indications still do.
            let _ = self.bind_channel(now, peer);
        }
        let id = self.next_id();
        let written = MessageWriter::new(out, Class::Indication, Method::SEND, id)
            .put(&XorPeerAddress(peer))
            .put(&Data(payload))
            .finish();
        Ok(written?)
    }

    /// The relayed transport address of the allocation.
    #[must_use]
    pub fn relayed(&self) -> Option<SocketAddr> {
        self.allocation.map(|allocation| allocation.relayed)
    }

    /// The server, as it was configured.
    #[must_use]
    pub const fn server(&self) -> SocketAddr {
        self.config.server
    }

    /// What came in and was dropped.
    #[must_use]
    pub const fn dropped(&self) -> &Dropped {
        &self.dropped
    }

    fn write_channel_data(
        &self,
        channel: ChannelNumber,
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<usize, BufferFull> {
        let len = u16::try_from(payload.len()).map_err(|_| BufferFull)?;
        let end = ChannelData::HEADER_LEN + payload.len();
        // Over UDP padding is allowed and useless (RFC 8656, section 12.5).
        let total = match self.config.transport {
            Transport::Udp => end,
            Transport::Stream => padded(end),
        };
        let message = out.get_mut(..total).ok_or(BufferFull)?;
        message[..ChannelData::HEADER_LEN].copy_from_slice(&ChannelData::header(channel, len));
        message[ChannelData::HEADER_LEN..end].copy_from_slice(payload);
        message[end..].fill(0);
        Ok(total)
    }
}

/// Output.
impl Client {
    /// The next message to send. It is written as it is: one datagram, or the next bytes of the
    /// stream.
    pub fn poll_transmit(&mut self) -> Option<&[u8]> {
        while let Some(id) = self.outbox.pop_front() {
            // The request may have been answered meanwhile.
            if let Some(at) = self.position(id) {
                return Some(&self.transactions[at].bytes);
            }
        }
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Client::handle_timeout`] has something to do, if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let transactions = self.transactions.iter().map(Transaction::next_due);
        let allocation = self.allocation.as_ref().map(Allocation::next_due);
        transactions.chain(allocation).chain(self.peers.next_due()).min()
    }
}

/// Time.
impl Client {
    /// Does what is due: sends again, gives up, refreshes, renews.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.check_transactions(now);
        self.check_allocation(now);
        self.renew_peers(now);
    }

    fn check_transactions(&mut self, now: Instant) {
        let mut failed = Vec::new();
        for transaction in &mut self.transactions {
            match transaction.check(now) {
                Due::Nothing => {}
                Due::Send => self.outbox.push_back(transaction.id),
                Due::GiveUp { sends } => {
                    let failure = Failure::TimedOut { after: transaction.give_up(), sends };
                    failed.push((transaction.id, transaction.operation, failure));
                }
            }
        }
        self.transactions.retain(|transaction| failed.iter().all(|(id, ..)| *id != transaction.id));
        for (_, operation, failure) in failed {
            self.fail(operation, failure);
        }
    }

    fn check_allocation(&mut self, now: Instant) {
        let Some(allocation) = &mut self.allocation else { return };
        if allocation.expires_at <= now {
            self.end(End::Expired);
        } else if allocation.refresh_at.is_some_and(|refresh_at| refresh_at <= now) {
            allocation.refresh_at = None;
            let lifetime_seconds = allocation.lifetime_seconds;
            self.request(now, Operation::Refresh { lifetime_seconds }, false);
        }
    }

    fn renew_peers(&mut self, now: Instant) {
        let next = now + self.config.profile.renewal;
        for peer in self.peers.due_permissions(now, next) {
            self.request(now, Operation::CreatePermission { peer }, false);
        }
        for (peer, channel) in self.peers.due_channels(now, next) {
            self.request(now, Operation::ChannelBind { peer, channel }, false);
        }
    }
}

/// What both the owner's wishes and the server's answers lead to.
impl Client {
    /// Sends a request for the first time. `was_stale` when it repeats one whose nonce was stale.
    pub(crate) fn request(&mut self, now: Instant, operation: Operation, was_stale: bool) {
        let id = self.next_id();
        let challenge = self.challenge.as_ref().filter(|_| operation != Operation::Binding);
        let username = self.config.credentials.username();
        let signature = challenge.map(|challenge| Signature { username, challenge });
        let ticket = self.ticket.as_deref().unwrap_or_default();
        let bytes =
            request::encode(&operation, ticket, id, signature.as_ref(), &self.config.profile);
        let key = challenge.map(|challenge| challenge.key);
        let mut transaction = Transaction::new(id, operation, bytes, now, self.config.schedule());
        transaction.key = key;
        transaction.was_stale = was_stale;
        self.transactions.push(transaction);
        self.outbox.push_back(id);
    }

    /// Ends an operation with a failure.
    pub(crate) fn fail(&mut self, operation: Operation, failure: Failure) {
        match operation {
            Operation::CreatePermission { peer } => self.peers.forget(peer.ip()),
            Operation::ChannelBind { peer, .. } => {
                self.peers.set_channel(peer, ChannelState::Refused);
            }
            Operation::Binding
            | Operation::Allocate { .. }
            | Operation::Refresh { .. }
            | Operation::Migrate { .. }
            | Operation::Connect { .. }
            | Operation::ConnectionBind { .. } => {}
        }
        self.events.push_back(Event::Failed { operation, failure });
    }

    /// Ends the allocation, and all that is under way for it.
    pub(crate) fn end(&mut self, end: End) {
        self.allocation = None;
        self.ticket = None;
        self.peers = Peers::default();
        self.transactions.retain(|transaction| transaction.operation == Operation::Binding);
        self.events.push_back(Event::Ended { end });
    }

    pub(crate) fn position(&self, id: TransactionId) -> Option<usize> {
        self.transactions.iter().position(|transaction| transaction.id == id)
    }

    fn next_id(&mut self) -> TransactionId {
        let mut id = [0; 12];
        self.rng.fill_bytes(&mut id);
        TransactionId(id)
    }
}
