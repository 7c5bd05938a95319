//! One shard of the server: what comes in, and what is to be done about it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::fast::FixedState;
use rand::{Rng, SeedableRng, rngs::StdRng};
use turn_auth::UnixSeconds;
use turn_wire::{Kind, attribute::Family};

use crate::{
    AllocationId, ClientAddr, ClientStep, ConnectionEnd, Counters, DropReason, EndReason,
    FiveTuple, Ledger, PeerAddr, PeerConnectionId, RelayedAddr, RelayedId, Settings,
    allocation::Allocations,
    connecting::Connecting,
    mobility::Move,
    probe_user::Gate,
    relayed_address::Relayed,
    reply::{ANSWER_LEN, Reply},
    reply_budget::ReplyBudget,
    stream_path::BoundConnections,
    timer_wheel::TimerWheel,
};

/// How long a port is kept for whoever brings its token (RFC 8656, section 7.2).
pub(crate) const RESERVATION_LIFETIME: Duration = Duration::from_secs(30);

/// The moment at which something happens, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For timers.
    pub instant: Instant,
    /// For credentials and nonces.
    pub unix: UnixSeconds,
}

/// What becomes of something that a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send this range of the datagram to the peer, from the allocation's relayed socket.
    ToPeer {
        /// Which relayed socket.
        relayed: RelayedId,
        /// Where to.
        peer: PeerAddr,
        /// Which bytes.
        payload: Range<usize>,
        /// Whether the client asked that it is not fragmented.
        dont_fragment: bool,
    },
    /// Send the first `len` bytes of `out` to the client.
    Respond {
        /// How many bytes.
        len: usize,
    },
    /// Send the first `len` bytes of `out` from another listener than the datagram came to, or to
    /// another port than it came from (RFC 5780).
    RespondFrom {
        /// How many bytes.
        len: usize,
        /// The listener's address on this machine.
        server: SocketAddr,
        /// Where to.
        client: ClientAddr,
    },
    /// Nothing yet: [`Server::poll_command`] asks for a relayed socket, or for a connection to a
    /// peer, and [`Server::handle_opened`] or [`Server::handle_connected`] gives the answer.
    Opening,
    /// Nothing yet: [`Server::poll_move`] asks for the client's allocation, and [`Server::arrive`]
    /// gives the answer.
    Moving,
    /// Send the first `len` bytes of `out` to the client, and from then on join the connection that
    /// the request came on and the one to the peer, which some shard was told to make or to accept
    /// (RFC 6062, section 5.4).
    Bind {
        /// Which connection to a peer.
        connection: PeerConnectionId,
        /// How many bytes.
        len: usize,
    },
    /// Nothing.
    Drop(DropReason),
}

/// What becomes of a datagram that a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerVerdict {
    /// Send it to the client, with a header before it and padding behind it.
    ToClient {
        /// The client.
        five_tuple: FiveTuple,
        /// How many bytes of header stand at the end of the head.
        head_len: usize,
        /// How many zero bytes have to follow the datagram.
        padding: usize,
    },
    /// Nothing.
    Drop(DropReason),
}

/// What the shell has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Open a relayed socket and say what came of it with [`Server::handle_opened`].
    Open {
        /// Which one.
        relayed: RelayedId,
        /// The address on this machine to bind.
        local: SocketAddr,
    },
    /// Listen for peers' connections, and say what came of it with [`Server::handle_opened`].
    Listen {
        /// Which one.
        relayed: RelayedId,
        /// The address on this machine to bind.
        local: SocketAddr,
    },
    /// Connect to a peer, and say what came of it with [`Server::handle_connected`].
    Connect {
        /// What it is called.
        connection: PeerConnectionId,
        /// From which relayed address.
        relayed: RelayedId,
        /// The same, on this machine.
        local: SocketAddr,
        /// To where.
        peer: PeerAddr,
    },
    /// It takes too long: say with [`Server::handle_connected`] that there is no connection.
    AbortConnect {
        /// Which one.
        connection: PeerConnectionId,
    },
    /// A connection to a peer has ended: close it, and its client's with it, whichever shard's
    /// client has bound it.
    CloseConnection {
        /// Which one.
        connection: PeerConnectionId,
    },
    /// A relayed address has ended: close its socket.
    Close {
        /// Which one.
        relayed: RelayedId,
        /// What peers saw.
        address: RelayedAddr,
        /// Whose it was.
        five_tuple: FiveTuple,
        /// Why it ended.
        reason: EndReason,
        /// Whether the allocation has ended with it: of two relayed addresses, one may go on.
        allocation_ended: bool,
    },
}

/// Why a relayed socket was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// Another program has the port: another one may do.
    PortTaken,
    /// The machine has no more sockets, or not that address: no port will do.
    Unavailable,
}

/// What one shard is made of, beside its [`Settings`].
#[derive(Debug)]
pub struct Shard {
    /// Which one, of those that share the ledger.
    pub number: usize,
    /// Shared with the other shards.
    pub ledger: Arc<Ledger>,
    /// From the system's random source.
    pub seed: [u8; 32],
    /// Now.
    pub start: Instant,
}

/// One shard of the server.
#[derive(Debug)]
pub struct Server {
    pub(crate) number: usize,
    pub(crate) settings: Arc<Settings>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rng: StdRng,
    pub(crate) hasher: FixedState,
    pub(crate) allocations: Allocations,
    pub(crate) timers: TimerWheel,
    /// Tokens that were given out here, in the order of their ends.
    pub(crate) reservations: VecDeque<(Instant, [u8; 8])>,
    pub(crate) replies: ReplyBudget,
    /// Connections to peers that allocations of this shard wait for.
    pub(crate) connecting: Connecting,
    /// Connections to peers that clients of this shard have bound.
    pub(crate) bound: BoundConnections,
    pub(crate) commands: VecDeque<Command>,
    /// Allocations that are wanted here, and which shards have them.
    pub(crate) moves: VecDeque<(usize, Move)>,
    pub(crate) counters: Counters,
    /// How far a client has come by the request that was answered last.
    pub(crate) client_step: Option<ClientStep>,
    pub(crate) draining: bool,
}

impl Server {
    /// The least length of the buffer that answers are written to, in bytes.
    pub const ANSWER_LEN: usize = ANSWER_LEN;

    /// The length of the room for a header in front of a peer's datagram, in bytes.
    pub const HEAD_LEN: usize = turn_wire::MAX_DATA_INDICATION_HEAD;

    /// A shard without allocations.
    #[must_use]
    pub fn new(settings: Arc<Settings>, shard: Shard) -> Self {
        let mut rng = StdRng::from_seed(shard.seed);
        let hasher = FixedState::with_seed(rng.next_u64());
        Self {
            number: shard.number,
            settings,
            ledger: shard.ledger,
            allocations: Allocations::new(hasher.clone()),
            timers: TimerWheel::new(shard.start),
            reservations: VecDeque::new(),
            replies: ReplyBudget::new(rng.next_u64(), shard.start),
            connecting: Connecting::default(),
            bound: BoundConnections::new(),
            commands: VecDeque::new(),
            moves: VecDeque::new(),
            counters: Counters::default(),
            client_step: None,
            draining: false,
            hasher,
            rng,
        }
    }

    /// A datagram, or a frame of a stream, came from a client. An answer is written to `out`, which
    /// has at least [`Server::ANSWER_LEN`] bytes.
    pub fn handle_client(
        &mut self,
        now: Now,
        from: &FiveTuple,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Verdict {
        let verdict = self.judge_client(now, from, datagram, out);
        if let Verdict::Drop(reason) = verdict {
            self.counters.dropped(reason);
        }
        verdict
    }

    fn judge_client(
        &mut self,
        now: Now,
        from: &FiveTuple,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Verdict {
        let source = from.client.0;
        // A stream's source is not forged, and its port is none of a datagram's.
        let is_own = || self.settings.peers.is_own_listener(&source);
        if source.port() == 0 || !from.transport.is_stream() && is_own() {
            return Verdict::Drop(DropReason::ImpossibleSource);
        }
        match turn_wire::kind(datagram) {
            Kind::ChannelData => self.relay_channel_data(now, from, datagram),
            Kind::Stun => self.handle_message(now, from, datagram, Reply { out }),
            Kind::Neither => Verdict::Drop(DropReason::NotTurn),
        }
    }

    /// A datagram of `payload_len` bytes came from a peer to an allocation's relayed socket. The
    /// header that has to stand before it is written to the end of `head`.
    pub fn handle_peer(
        &mut self,
        now: Instant,
        to: RelayedId,
        from: PeerAddr,
        payload_len: usize,
        head: &mut [u8; Self::HEAD_LEN],
    ) -> PeerVerdict {
        match self.relay_to_client(now, to, from, payload_len, head) {
            Ok(verdict) => verdict,
            Err(reason) => {
                self.counters.dropped(reason);
                PeerVerdict::Drop(reason)
            }
        }
    }

    /// A client's connection has ended, and its allocation with it, unless that may move.
    pub fn handle_disconnect(&mut self, five_tuple: &FiveTuple) {
        if let Some(id) = self.allocations.find(five_tuple)
            && !self.waits_for_client(id)
        {
            self.end(id, EndReason::Disconnected);
        }
    }

    /// A listener is no more, and with it the allocations of the clients that came through it:
    /// those whose five-tuple `came_through` says so of, and that may not move.
    pub fn handle_listener_removed(&mut self, came_through: impl Fn(&FiveTuple) -> bool) {
        let gone = self.allocations.ids().filter(|(_, found)| came_through(&found.five_tuple));
        let gone: Vec<_> = gone.map(|(id, _)| id).collect();
        for id in gone {
            if !self.waits_for_client(id) {
                self.end(id, EndReason::ListenerRemoved);
            }
        }
    }

    /// Ends what is over. Call it when [`Server::poll_timeout`] says so.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((tick, slots)) = self.timers.advance(now) {
            for slot in slots {
                if let Some(id) = self.allocations.disarm(slot, tick) {
                    self.expire(now, id);
                }
            }
        }
        self.expire_connections(now);
        while let Some((ends_at, token)) = self.reservations.front().copied() {
            if now <= ends_at {
                break;
            }
            self.reservations.pop_front();
            self.ledger.release(token);
        }
    }

    /// Ends those relayed addresses of an allocation that are over.
    fn expire(&mut self, now: Instant, id: AllocationId) {
        for family in [Family::V4, Family::V6] {
            let relayed = self.allocations.get(id).and_then(|found| found.relayed.get(family));
            if relayed.is_some_and(|relayed| relayed.expires_at <= now) {
                self.end_relayed(RelayedId { allocation: id, family }, EndReason::Expired);
            }
        }
        let next = self.allocations.get(id).and_then(|found| found.relayed.next_expiry());
        if let Some(next) = next {
            self.arm(id, next);
        }
    }

    /// When [`Server::handle_timeout`] is to be called next, if nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // Late, never early: a token is good for its whole last moment.
        let token =
            self.reservations.front().map(|(ends_at, _)| *ends_at + Duration::from_millis(1));
        let connection = self.connecting.next().map(|ends_at| ends_at + Duration::from_millis(1));
        [self.timers.next(), token, connection].into_iter().flatten().min()
    }

    /// What the shell has to do next.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Takes new settings. Allocations stay; what the new peer policy denies loses its permission.
    pub fn apply(&mut self, settings: Arc<Settings>) {
        for allocation in self.allocations.iter_mut() {
            let gate = Gate::of(&settings.peers, &self.ledger, allocation);
            allocation.permissions.judge_again(|peer| gate.reach(peer));
        }
        self.settings = settings;
        if self.settings.tcp_relaying.is_none() {
            self.end_stream_allocations();
        }
        self.judge_connections();
    }

    /// From now on no new allocations are made; those that are there go on.
    pub const fn drain(&mut self) {
        self.draining = true;
    }

    /// What has been counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many allocations there are.
    #[must_use]
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// Sees to it that an allocation is looked at when it expires.
    pub(crate) fn arm(&mut self, id: AllocationId, expires_at: Instant) {
        let tick = self.timers.tick_after(expires_at);
        if self.allocations.arm(id, tick) {
            // The slot's index came from a u32.
            self.timers.insert(u32::try_from(id.index()).unwrap_or(u32::MAX), tick);
        }
    }

    /// Ends an allocation: ports and charges go back, the shell closes the sockets.
    pub(crate) fn end(&mut self, id: AllocationId, reason: EndReason) {
        let Some(allocation) = self.allocations.remove(id) else { return };
        self.ledger.discharge(&allocation.client);
        self.counters.ended(reason);
        if let Some(mobility) = &allocation.mobility {
            self.ledger.tickets().withdraw(mobility.ticket);
        }
        for connection in allocation.streams.iter().flat_map(|streams| &streams.connections) {
            self.end_connection(*connection, ConnectionEnd::AllocationEnded);
        }
        let mut left = allocation.relayed.iter().count();
        for (family, relayed) in allocation.relayed.iter() {
            left -= 1;
            self.give_back(relayed, &allocation.client.user);
            self.commands.push_back(Command::Close {
                relayed: RelayedId { allocation: id, family },
                address: relayed.address,
                five_tuple: allocation.five_tuple,
                reason,
                allocation_ended: left == 0,
            });
        }
    }

    /// Ends one relayed address, and the allocation if it has no other.
    pub(crate) fn end_relayed(&mut self, id: RelayedId, reason: EndReason) {
        let Some(allocation) = self.allocations.get_mut(id.allocation) else { return };
        if allocation.relayed.iter().count() < 2 {
            return self.end(id.allocation, reason);
        }
        let Some(relayed) = allocation.relayed.slot(id.family).take() else { return };
        let (client, five_tuple) = (Arc::clone(&allocation.client), allocation.five_tuple);
        self.give_back(&relayed, &client.user);
        self.commands.push_back(Command::Close {
            relayed: id,
            address: relayed.address,
            five_tuple,
            reason,
            allocation_ended: false,
        });
    }

    /// Gives back the port of a relayed address, and the next one if nobody has a token for it.
    pub(crate) fn give_back(&self, relayed: &Relayed, user: &str) {
        self.ledger.give_back(relayed.held);
        if let Some(next) = relayed.next {
            self.ledger.give_back(next);
            self.ledger.discharge_reservation(user);
        }
    }
}
