//! Connections to peers on the shard of their allocation (RFC 6062, section 5): made, offered to the
//! client, and given up.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt;
use turn_wire::{Class, MessageWriter, Method, TransactionId, attribute::XorPeerAddress};

use crate::{
    AllocationId, Command, ConnectionEnd, DropReason, EndReason, FiveTuple, Now, PeerAddr,
    PeerConnectionId, Refusal, RelayedId, Server, Verdict,
    allocation::Allocation,
    peer_connection::{Owner, PeerConnection, State},
    relayed_address::RelayedTransport,
    reply::{Reply, Request, Signer},
};

/// How long a connection to a peer may take (RFC 6062, section 5.2).
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long it then waits for the client to bind it (RFC 6062, section 5.2 and 5.3).
const BIND_TIMEOUT: Duration = Duration::from_secs(30);

/// What an allocation of streams has.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) owner: Arc<Owner>,
    /// Those of which nobody knows yet that they have ended are among them.
    pub(crate) connections: Vec<PeerConnectionId>,
}

impl Streams {
    pub(crate) fn of(allocation: &Allocation) -> Self {
        Self { owner: Arc::new(Owner::of(allocation)), connections: Vec::new() }
    }
}

/// A Connect that is not answered yet.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) request: Request,
    pub(crate) signer: Signer,
}

/// What this shard waits for.
#[derive(Debug, Default)]
pub(crate) struct Connecting {
    pub(crate) unanswered: BTreeMap<PeerConnectionId, Unanswered>,
    /// In the order of their times, since both kinds get the same.
    deadlines: VecDeque<(PeerConnectionId, State)>,
}

impl Connecting {
    /// Sees to it that a connection is looked at again if it is still in this state when its time
    /// is over.
    pub(crate) fn watch(&mut self, id: PeerConnectionId, state: State) {
        self.deadlines.push_back((id, state));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.front().and_then(|(_, state)| state.until())
    }

    fn overdue(&mut self, now: Instant) -> Option<(PeerConnectionId, State)> {
        let until = self.next()?;
        if now <= until {
            return None;
        }
        self.deadlines.pop_front()
    }
}

impl State {
    const fn until(self) -> Option<Instant> {
        match self {
            Self::Connecting(until) | Self::Waiting(until) => Some(until),
            Self::Bound => None,
        }
    }
}

impl Server {
    /// Says what came of [`Command::Connect`]: the client gets its answer.
    pub fn handle_connected(
        &mut self,
        now: Now,
        id: PeerConnectionId,
        connected: bool,
        out: &mut [u8],
    ) -> Verdict {
        let Some(waiting) = self.connecting.unanswered.remove(&id) else {
            return Verdict::Drop(DropReason::NoAllocation);
        };
        let mut reply = Reply { out };
        if !connected {
            self.forget_connection(id, ConnectionEnd::NotConnected);
            let refusal = Refusal::ConnectionFailed;
            self.counters.refused(refusal);
            return Verdict::Respond {
                len: reply.refuse(waiting.request, refusal, &waiting.signer),
            };
        }
        self.offer(now.instant, id);
        self.counters.succeeded += 1;
        let attribute = id.attribute();
        let len = reply.success(waiting.request, &waiting.signer, |writer| writer.put(&attribute));
        Verdict::Respond { len }
    }

    /// A peer has connected to a relayed address. Writes the ConnectionAttempt indication that tells
    /// the client to `out`, and says what the connection is called, for whom it is and how long the
    /// indication is. `None` when the connection is to be ended at once.
    pub fn handle_incoming(
        &mut self,
        now: Instant,
        to: RelayedId,
        from: PeerAddr,
        out: &mut [u8],
    ) -> Option<(PeerConnectionId, FiveTuple, usize)> {
        match self.incoming(now, to, from, out) {
            Ok(offered) => Some(offered),
            Err(reason) => {
                self.counters.dropped(reason);
                None
            }
        }
    }

    fn incoming(
        &mut self,
        now: Instant,
        to: RelayedId,
        from: PeerAddr,
        out: &mut [u8],
    ) -> Result<(PeerConnectionId, FiveTuple, usize), DropReason> {
        let allocation = self.allocations.get(to.allocation).ok_or(DropReason::NoAllocation)?;
        let without = DropReason::NoPermissionInbound;
        self.check_permission(allocation, from, now, without, RelayedTransport::Tcp)?;
        let (five_tuple, fingerprint) = (allocation.five_tuple, allocation.fingerprint);
        let id = self
            .add_connection(to.allocation, from.0, State::Waiting(now + BIND_TIMEOUT))
            .map_err(|_full| DropReason::TooManyConnections)?;
        self.offer(now, id);
        let transaction = TransactionId(self.rng.random());
        let method = Method::CONNECTION_ATTEMPT;
        let writer = MessageWriter::new(out, Class::Indication, method, transaction)
            .put(&id.attribute())
            .put(&XorPeerAddress(from.0));
        let writer = if fingerprint { writer.put_fingerprint() } else { writer };
        let len = writer.finish().map_err(|_| DropReason::TooLong)?;
        Ok((id, five_tuple, len))
    }

    /// A connection to a peer has ended, or its client's has.
    pub fn handle_connection_ended(&mut self, id: PeerConnectionId) {
        self.forget_connection(id, ConnectionEnd::Closed);
    }

    /// Adds a connection to an allocation, unless it or the relay has too many.
    pub(crate) fn add_connection(
        &mut self,
        id: AllocationId,
        peer: SocketAddr,
        state: State,
    ) -> Result<PeerConnectionId, Refusal> {
        let full = Refusal::InsufficientCapacity;
        let limits = self.settings.tcp_relaying.ok_or(full)?;
        let allocation = self.allocations.get_mut(id).ok_or(Refusal::AllocationMismatch)?;
        let streams = allocation.streams.as_mut().ok_or(Refusal::BadRequest)?;
        let table = self.ledger.connection_table();
        if table.prune(&mut streams.connections, peer) {
            return Err(Refusal::ConnectionExists);
        }
        if streams.connections.len() >= usize::from(limits.peers_per_allocation) {
            return Err(full);
        }
        let connection = PeerConnection { peer, state, owner: Arc::clone(&streams.owner) };
        let most = limits.peers as usize;
        let id = table.insert(connection, most, &mut self.rng).ok_or(full)?;
        streams.connections.push(id);
        Ok(id)
    }

    /// From now on a connection waits for its client.
    fn offer(&mut self, now: Instant, id: PeerConnectionId) {
        let state = State::Waiting(now + BIND_TIMEOUT);
        self.ledger.connection_table().set_state(id, state);
        self.connecting.watch(id, state);
        self.counters.connections_made += 1;
    }

    /// Gives up the connections whose time is over.
    pub(crate) fn expire_connections(&mut self, now: Instant) {
        while let Some((id, then)) = self.connecting.overdue(now) {
            let state = self.ledger.connection_table().peer_and_state(id).map(|(_, state)| state);
            match then {
                State::Connecting(_) if state == Some(then) => {
                    self.commands.push_back(Command::AbortConnect { connection: id });
                }
                State::Waiting(_) if state == Some(then) => {
                    self.end_connection(id, ConnectionEnd::NotBound);
                }
                State::Connecting(_) | State::Waiting(_) | State::Bound => {}
            }
        }
    }

    /// Ends those connections that the peer gate does not let pass any more.
    pub(crate) fn judge_connections(&mut self) {
        let table = self.ledger.connection_table();
        let made = self.allocations.iter().filter_map(|found| found.streams.as_ref());
        let made = made.flat_map(|streams| &streams.connections);
        let unbound = made.filter_map(|id| table.peer_and_state(*id).map(|(peer, _)| (*id, peer)));
        let bound = self.bound.iter().map(|(id, bound)| (*id, bound.peer));
        let denied: Vec<_> = unbound
            .chain(bound)
            .filter(|(_, peer)| self.judge_stream_peer(PeerAddr(*peer)).is_err())
            .map(|(id, _)| id)
            .collect();
        for id in denied {
            self.end_connection(id, ConnectionEnd::Denied);
        }
    }

    /// Ends the allocations of streams where there may be none any more.
    pub(crate) fn end_stream_allocations(&mut self) {
        let gone = self.allocations.ids().filter(|(_, found)| found.streams.is_some());
        let gone: Vec<_> = gone.map(|(id, _)| id).collect();
        for id in gone {
            self.end(id, EndReason::Disallowed);
        }
    }

    /// Ends a connection, wherever it is served.
    pub(crate) fn end_connection(&mut self, id: PeerConnectionId, reason: ConnectionEnd) {
        if self.forget_connection(id, reason) {
            self.commands.push_back(Command::CloseConnection { connection: id });
        }
    }

    fn forget_connection(&mut self, id: PeerConnectionId, reason: ConnectionEnd) -> bool {
        self.connecting.unanswered.remove(&id);
        self.bound.remove(&id);
        let was_there = self.ledger.connection_table().remove(id);
        if was_there {
            self.counters.connection_ended(reason);
        }
        was_there
    }
}
