//! The data path of connections to peers (RFC 6062, section 5.4): how much may pass, and when.
//!
//! A stream cannot lose a part, so what a limit forbids is not dropped but waits: the shell stops
//! reading, and the sender's window closes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    PeerConnectionId, Rate, Server,
    meter::{Direction, Meters},
    peer_connection::Owner,
};

/// A connection that a client of this shard has bound.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) peer: SocketAddr,
    pub(crate) owner: Arc<Owner>,
}

/// The connections that clients of this shard have bound, in the order of their names.
pub(crate) type BoundConnections = BTreeMap<PeerConnectionId, Bound>;

impl Server {
    /// Until when nothing more may be read from one end of a bound connection for the other,
    /// because a limit is reached. `None`: it may be read now.
    #[must_use]
    pub fn stream_pause(
        &self,
        now: Instant,
        connection: PeerConnectionId,
        direction: Direction,
    ) -> Option<Instant> {
        let bound = self.bound.get(&connection)?;
        let since_start = self.ledger.since_start(now);
        let meters = self.meters_of(&bound.owner).into_iter();
        let from = meters.map(|(meters, rate)| meters.free_from(direction, rate)).max()?;
        let pause = from.checked_sub(since_start).filter(|pause| *pause > Duration::ZERO)?;
        Some(now + pause)
    }

    /// Counts `bytes` that were read from one end of a bound connection for the other.
    pub fn stream_relayed(
        &mut self,
        now: Instant,
        connection: PeerConnectionId,
        direction: Direction,
        bytes: usize,
    ) {
        let Some(bound) = self.bound.get(&connection) else { return };
        let now = self.ledger.since_start(now);
        bound.owner.note_traffic(now);
        for (meters, rate) in self.meters_of(&bound.owner) {
            meters.pay(direction, now, bytes, rate);
        }
        let sum = match direction {
            Direction::ToPeer => &mut self.counters.stream_bytes_to_peers,
            Direction::ToClient => &mut self.counters.stream_bytes_to_clients,
        };
        *sum += bytes as u64;
    }

    fn meters_of<'a>(&'a self, owner: &'a Owner) -> [(&'a Meters, Rate); 3] {
        let limits = &self.settings.limits;
        [
            (&owner.meters, limits.allocation_rate),
            (&owner.user_meters, limits.user_rate),
            (self.ledger.meters(), limits.relay_rate),
        ]
    }
}
