//! Connections to peers (RFC 6062): what the shards of a relay know of them in common.
//!
//! A connection is made by the shard that has the allocation, and served by the shard whose client
//! binds it: the client's second connection may have come to any of them. So connections stand in
//! one table, which is asked when one is made, bound or ended, never for its data.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, hash_map::Entry};
use rand::{CryptoRng, RngExt};
use turn_auth::Authenticated;
use turn_wire::attribute;

use crate::{Refusal, allocation::Allocation, meter::Meters};

/// Names a connection to a peer, as CONNECTION-ID does: no two at the same time have the same, in
/// all of the relay, and which comes next cannot be foretold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerConnectionId(u32);

impl PeerConnectionId {
    /// The number: below 2³², and so good as a part of a key of the shell's own.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    pub(crate) const fn attribute(self) -> attribute::ConnectionId {
        attribute::ConnectionId(self.0)
    }
}

impl From<attribute::ConnectionId> for PeerConnectionId {
    fn from(id: attribute::ConnectionId) -> Self {
        Self(id.0)
    }
}

/// What has become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It is being made, until then at most.
    Connecting(Instant),
    /// It is there, and waits for its client to bind it, until then at most.
    Waiting(Instant),
    /// Its client has bound it.
    Bound,
}

/// What all connections of an allocation have in common, wherever they are served.
#[derive(Debug)]
pub(crate) struct Owner {
    /// Who made the allocation.
    pub(crate) client: Arc<Authenticated>,
    pub(crate) meters: Meters,
    pub(crate) user_meters: Arc<Meters>,
    /// When data last came on one of them: nanoseconds since the ledger's start.
    active: AtomicU64,
}

impl Owner {
    pub(crate) fn of(allocation: &Allocation) -> Self {
        Self {
            client: Arc::clone(&allocation.client),
            meters: Meters::default(),
            user_meters: Arc::clone(&allocation.user_meters),
            active: AtomicU64::new(0),
        }
    }

    /// Notes that data came. Times are since the ledger's start.
    pub(crate) fn note_traffic(&self, now: Duration) {
        // Reaches for 584 years.
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.active.fetch_max(now, Ordering::Relaxed);
    }

    pub(crate) fn active_at(&self) -> Duration {
        Duration::from_nanos(self.active.load(Ordering::Relaxed))
    }
}

/// A connection to a peer.
#[derive(Debug)]
pub(crate) struct PeerConnection {
    pub(crate) peer: SocketAddr,
    pub(crate) state: State,
    pub(crate) owner: Arc<Owner>,
}

/// All connections to peers that a relay has.
#[derive(Debug)]
pub(crate) struct PeerConnections {
    by_id: Mutex<HashMap<PeerConnectionId, PeerConnection, FixedState>>,
}

impl PeerConnections {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self { by_id: Mutex::new(HashMap::with_hasher(hasher)) }
    }

    pub(crate) fn len(&self) -> usize {
        self.table().len()
    }

    /// Adds a connection, unless there are `most` already.
    pub(crate) fn insert(
        &self,
        connection: PeerConnection,
        most: usize,
        rng: &mut impl CryptoRng,
    ) -> Option<PeerConnectionId> {
        let mut table = self.table();
        if table.len() >= most {
            return None;
        }
        loop {
            // There are far fewer than four thousand million: a free one is soon found.
            let id = PeerConnectionId(rng.random());
            if let Entry::Vacant(entry) = table.entry(id) {
                entry.insert(connection);
                return Some(id);
            }
        }
    }

    /// Of an allocation's connections, forgets those that have ended, and looks for one to a peer.
    pub(crate) fn prune(&self, ids: &mut Vec<PeerConnectionId>, peer: SocketAddr) -> bool {
        let table = self.table();
        ids.retain(|id| table.contains_key(id));
        ids.iter().any(|id| table.get(id).is_some_and(|found| found.peer == peer))
    }

    pub(crate) fn peer_and_state(&self, id: PeerConnectionId) -> Option<(SocketAddr, State)> {
        self.table().get(&id).map(|found| (found.peer, found.state))
    }

    pub(crate) fn set_state(&self, id: PeerConnectionId, state: State) {
        if let Some(found) = self.table().get_mut(&id) {
            found.state = state;
        }
    }

    /// Whose a connection is that waits.
    pub(crate) fn owner(&self, id: PeerConnectionId) -> Option<Arc<Owner>> {
        let table = self.table();
        table.get(&id).filter(|found| found.is_waiting()).map(|found| Arc::clone(&found.owner))
    }

    /// Gives a connection that waits to its user, once.
    pub(crate) fn claim(
        &self,
        id: PeerConnectionId,
        user: &str,
    ) -> Result<(SocketAddr, Arc<Owner>), Refusal> {
        let mut table = self.table();
        let found = table.get_mut(&id).filter(|found| found.is_waiting());
        let found = found.ok_or(Refusal::BadRequest)?;
        if found.owner.client.user != user {
            return Err(Refusal::WrongCredentials);
        }
        found.state = State::Bound;
        Ok((found.peer, Arc::clone(&found.owner)))
    }

    /// Forgets a connection; whether it was there.
    pub(crate) fn remove(&self, id: PeerConnectionId) -> bool {
        self.table().remove(&id).is_some()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<PeerConnectionId, PeerConnection, FixedState>> {
        // Nothing panics while the lock is held; were it so, the table would still be whole.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PeerConnection {
    const fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }
}
