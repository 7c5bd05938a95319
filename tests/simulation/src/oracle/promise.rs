//! What the server has promised to one client, with the times of the RFC.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use turn_auth::LongTermKey;
use turn_proto::EndReason;
use turn_wire::TransactionId;

use crate::rules::PEERS_PER_ALLOCATION;

/// RFC 8656, section 9: a permission lives 300 s.
const PERMISSION: Duration = Duration::from_secs(300);

/// RFC 8656, section 12: a channel lives 600 s.
const CHANNEL: Duration = Duration::from_secs(600);

/// RFC 8656, section 12: its number and its peer are bound to each other so much longer.
const HELD: Duration = Duration::from_secs(300);

/// An allocation, as its client may believe that it is.
#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) user: String,
    /// As it stands in USERNAME, with the key that goes with it.
    pub(crate) username: Vec<u8>,
    pub(crate) key: LongTermKey,
    /// Of the Allocate.
    pub(crate) transaction: TransactionId,
    /// The Allocate and the answer to it.
    pub(crate) asked: Vec<u8>,
    pub(crate) answer: Vec<u8>,
    /// Relayed addresses, one of a family, with their ends.
    pub(crate) relayed: BTreeMap<SocketAddr, Instant>,
    permissions: BTreeMap<IpAddr, Instant>,
    channels: BTreeMap<u16, (SocketAddr, Instant)>,
    /// When something was relayed for it.
    pub(crate) active_at: Instant,
    /// Relayed addresses that have to end now, and why.
    pub(crate) ending: Vec<(SocketAddr, EndReason)>,
}

/// What ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Edge {
    Permission(IpAddr),
    Channel(u16, SocketAddr),
    /// A channel's hold on its number and its peer.
    Held(u16, SocketAddr),
    Allocation,
    Token([u8; 8]),
}

/// Who made an allocation, by which request, and what was answered.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) user: String,
    pub(crate) username: Vec<u8>,
    pub(crate) key: LongTermKey,
    pub(crate) transaction: TransactionId,
    pub(crate) asked: Vec<u8>,
    pub(crate) answer: Vec<u8>,
}

impl Promise {
    pub(crate) fn new(made: Made, relayed: BTreeMap<SocketAddr, Instant>, now: Instant) -> Self {
        let Made { user, username, key, transaction, asked, answer } = made;
        Self {
            user,
            username,
            key,
            transaction,
            asked,
            answer,
            relayed,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
            active_at: now,
            ending: Vec::new(),
        }
    }

    /// All of it has to end now.
    pub(crate) fn ends(&mut self, reason: EndReason) {
        self.ending = self.relayed.keys().map(|relayed| (*relayed, reason)).collect();
    }

    /// The relayed address of a family.
    pub(crate) fn of_family(&self, ipv4: bool) -> Option<SocketAddr> {
        self.relayed.keys().copied().find(|relayed| relayed.is_ipv4() == ipv4)
    }

    pub(crate) fn may_reach(&self, peer: IpAddr, now: Instant) -> bool {
        self.permissions.get(&peer).is_some_and(|until| now <= *until)
    }

    /// Whether so many more permissions are no more than the limit.
    pub(crate) fn has_room_for(&self, peers: &BTreeSet<IpAddr>, now: Instant) -> bool {
        let live = self.permissions.values().filter(|until| now <= **until).count();
        let new = peers.iter().filter(|peer| !self.may_reach(**peer, now)).count();
        live + new <= PEERS_PER_ALLOCATION
    }

    pub(crate) fn permit(&mut self, peer: IpAddr, now: Instant) {
        self.permissions.insert(peer, now + PERMISSION);
    }

    /// What is denied from now on has no permission any more.
    pub(crate) fn forbid(&mut self, denied: &[IpAddr]) {
        self.permissions.retain(|peer, _| !denied.contains(peer));
    }

    pub(crate) fn peer_of(&self, channel: u16, now: Instant) -> Option<SocketAddr> {
        self.channels.get(&channel).filter(|(_, until)| now <= *until).map(|(peer, _)| *peer)
    }

    pub(crate) fn channel_of(&self, peer: SocketAddr, now: Instant) -> Option<u16> {
        let found =
            self.channels.iter().find(|(_, (bound, until))| *bound == peer && now <= *until);
        found.map(|(channel, _)| *channel)
    }

    /// Whether a number or a peer still belongs to another.
    pub(crate) fn is_bound_otherwise(&self, channel: u16, peer: SocketAddr, now: Instant) -> bool {
        self.held(now).any(|(number, bound)| (number == channel) != (bound == peer))
    }

    /// Whether a channel can be bound, or renewed, within the limit.
    pub(crate) fn has_channel_left(&self, channel: u16, now: Instant) -> bool {
        self.held(now).filter(|(number, _)| *number != channel).count() < PEERS_PER_ALLOCATION
    }

    pub(crate) fn bind(&mut self, channel: u16, peer: SocketAddr, now: Instant) {
        self.channels.retain(|number, (bound, _)| *number != channel && *bound != peer);
        self.channels.insert(channel, (peer, now + CHANNEL));
    }

    /// The moments at which something of this ends: what an evil client tries.
    pub(crate) fn edges(&self) -> impl Iterator<Item = (Instant, Edge)> {
        let permissions =
            self.permissions.iter().map(|(peer, until)| (*until, Edge::Permission(*peer)));
        let relayed = self.relayed.values().map(|until| (*until, Edge::Allocation));
        let channels = self.channels.iter().flat_map(|(channel, (peer, until))| {
            let (channel, peer, until) = (*channel, *peer, *until);
            [(until, Edge::Channel(channel, peer)), (until + HELD, Edge::Held(channel, peer))]
        });
        permissions.chain(relayed).chain(channels)
    }

    fn held(&self, now: Instant) -> impl Iterator<Item = (u16, SocketAddr)> {
        self.channels
            .iter()
            .filter(move |(_, (_, until))| now <= *until + HELD)
            .map(|(channel, (peer, _))| (*channel, *peer))
    }
}
