//! One shard of the server: what comes in, and what is to be done about it.

use std::{collections::VecDeque, net::SocketAddr, ops::Range, sync::Arc, time::Instant};

use foldhash::fast::FixedState;
use rand::{Rng, SeedableRng, rngs::StdRng};
use turn_auth::UnixSeconds;
use turn_wire::Kind;

use crate::{
    AllocationId, AllocationView, Counters, DropReason, EndReason, FiveTuple, Ledger, PeerAddr,
    RelayedAddr, Settings,
    allocation::Allocations,
    reply::{ANSWER_LEN, Reply},
    reply_budget::ReplyBudget,
    timer_wheel::TimerWheel,
};

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
        /// Whose relayed socket.
        allocation: AllocationId,
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
    /// Nothing yet: [`Server::poll_command`] asks for a relayed socket, and
    /// [`Server::handle_opened`] gives the answer.
    Opening,
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
        /// For whom.
        allocation: AllocationId,
        /// The address on this machine to bind.
        local: SocketAddr,
    },
    /// The allocation has ended: close its relayed socket.
    Close {
        /// Whose socket.
        allocation: AllocationId,
        /// What peers saw.
        relayed: RelayedAddr,
        /// Whose allocation it was.
        five_tuple: FiveTuple,
        /// Why it ended.
        reason: EndReason,
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
    pub(crate) settings: Arc<Settings>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rng: StdRng,
    pub(crate) hasher: FixedState,
    pub(crate) allocations: Allocations,
    pub(crate) timers: TimerWheel,
    pub(crate) replies: ReplyBudget,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) counters: Counters,
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
            settings,
            ledger: shard.ledger,
            allocations: Allocations::new(hasher.clone()),
            timers: TimerWheel::new(shard.start),
            replies: ReplyBudget::new(rng.next_u64(), shard.start),
            commands: VecDeque::new(),
            counters: Counters::default(),
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
        if source.port() == 0 || self.settings.peers.is_own_listener(&source) {
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
        to: AllocationId,
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

    /// A client's connection has ended, and its allocation with it.
    pub fn handle_disconnect(&mut self, five_tuple: &FiveTuple) {
        if let Some(id) = self.allocations.find(five_tuple) {
            self.end(id, EndReason::Disconnected);
        }
    }

    /// Ends what is over. Call it when [`Server::poll_timeout`] says so.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((tick, slots)) = self.timers.advance(now) {
            for slot in slots {
                let Some(id) = self.allocations.disarm(slot, tick) else { continue };
                match self.allocations.get(id).map(|allocation| allocation.expires_at) {
                    Some(expires_at) if now < expires_at => self.arm(id, expires_at),
                    _ => self.end(id, EndReason::Expired),
                }
            }
        }
    }

    /// When [`Server::handle_timeout`] is to be called next, if nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// What the shell has to do next.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Takes new settings. Allocations stay; what the new peer policy denies loses its permission.
    pub fn apply(&mut self, settings: Arc<Settings>) {
        for allocation in self.allocations.iter_mut() {
            allocation.permissions.judge_again(&settings.peers);
        }
        self.settings = settings;
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

    /// The allocations, in no particular but a repeatable order.
    pub fn views(&self) -> impl Iterator<Item = AllocationView> {
        self.allocations.iter().map(|(id, allocation)| allocation.view(id))
    }

    /// Sees to it that an allocation is looked at when it expires.
    pub(crate) fn arm(&mut self, id: AllocationId, expires_at: Instant) {
        let tick = self.timers.tick_after(expires_at);
        if self.allocations.arm(id, tick) {
            // The slot's index came from a u32.
            self.timers.insert(u32::try_from(id.index()).unwrap_or(u32::MAX), tick);
        }
    }

    /// Ends an allocation: port and charge go back, the shell closes the socket.
    pub(crate) fn end(&mut self, id: AllocationId, reason: EndReason) {
        let Some(allocation) = self.allocations.remove(id) else { return };
        self.ledger.give_back(allocation.held);
        self.ledger.discharge(&allocation.user);
        self.counters.ended(reason);
        self.commands.push_back(Command::Close {
            allocation: id,
            relayed: allocation.relayed,
            five_tuple: allocation.five_tuple,
            reason,
        });
    }
}
