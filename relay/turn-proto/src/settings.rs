//! What a server is told: all of it may change while it runs, the addresses excepted.

use std::net::IpAddr;

use turn_auth::Credentials;

use crate::PeerPolicy;

/// What a running server can be given anew.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who may allocate.
    pub credentials: Credentials,
    /// Whom clients may reach.
    pub peers: PeerPolicy,
    /// How much of everything.
    pub limits: Limits,
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
    /// Replies to unauthenticated datagrams, per second and source prefix, of one shard.
    pub unauthenticated_replies_per_second_per_prefix: u32,
}

/// An address that relayed transport addresses are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayAddress {
    /// The address on this machine.
    pub local: IpAddr,
    /// The address as peers see it; the same unless a 1:1 NAT stands between.
    pub external: IpAddr,
}
