//! What a server is told: all of it may change while it runs, the addresses excepted.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use turn_auth::Credentials;

use crate::{DiscoveryAddresses, PeerPolicy, Rate, Transport};

/// What a running server can be given anew.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who may allocate.
    pub credentials: Credentials,
    /// Whom clients may reach.
    pub peers: PeerPolicy,
    /// How much of everything.
    pub limits: Limits,
    /// Where clients are sent while this relay drains.
    pub alternates: Vec<Alternate>,
    /// How long an allocation may be silent, while the relay drains, before its next refresh is
    /// refused. `None`: for ever.
    pub drain_idle: Option<Duration>,
    /// From where NAT behaviour discovery is served: one pair of addresses for each family. None:
    /// not at all.
    pub discovery: Vec<DiscoveryAddresses>,
    /// Whether allocations may move with their clients (RFC 8016).
    pub mobility: bool,
    /// How much of TCP relaying (RFC 6062) there is. `None`: clients get none.
    pub tcp_relaying: Option<TcpRelaying>,
}

impl Settings {
    /// Settings without what may be left out.
    #[must_use]
    pub const fn new(credentials: Credentials, peers: PeerPolicy, limits: Limits) -> Self {
        Self {
            credentials,
            peers,
            limits,
            alternates: Vec::new(),
            drain_idle: None,
            discovery: Vec::new(),
            mobility: true,
            tcp_relaying: None,
        }
    }
}

/// A listener of another relay of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternate {
    /// Clients of which transport may go there.
    pub transport: Transport,
    /// Where it is.
    pub address: SocketAddr,
    /// The name in its certificate. Clients over TLS and DTLS are sent nowhere without one.
    pub domain: Option<String>,
}

/// How much one user, one allocation and the relay may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Allocations of one user at the same time, over all shards.
    pub allocations_per_user: u32,
    /// Allocations at the same time, over all shards.
    pub allocations: u32,
    /// Permissions of one allocation.
    pub permissions_per_allocation: u16,
    /// Channels of one allocation.
    pub channels_per_allocation: u16,
    /// Peers, per second, that one allocation may ask to talk with for the first time, or again
    /// after its permission ended.
    pub new_peers_per_second: u16,
    /// What one allocation relays.
    pub allocation_rate: Rate,
    /// What one user's allocations relay, over all shards.
    pub user_rate: Rate,
    /// What all allocations relay, over all shards.
    pub relay_rate: Rate,
    /// Replies to unauthenticated datagrams, per second and source prefix, of one shard.
    pub unauthenticated_replies_per_second_per_prefix: u32,
}

/// How many connections to peers clients may have at the same time: made, waiting or bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpRelaying {
    /// Of one allocation.
    pub peers_per_allocation: u16,
    /// Of the relay, over all shards.
    pub peers: u32,
}

/// An address that relayed transport addresses are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayAddress {
    /// The address on this machine.
    pub local: IpAddr,
    /// The address as peers see it; the same unless a 1:1 NAT stands between.
    pub external: IpAddr,
}
