//! What the relay has been told, in a form that the oracle judges by without asking the relay.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use turn_auth::{Credentials, Secret};
use turn_proto::{
    Alternate, Limits, PeerPolicy, PortRange, Rate, RelayAddress, Settings, Transport,
};

/// The realm.
pub(crate) const REALM: &str = "simulation";

/// The wall clock at the start, in seconds since 1970.
pub(crate) const EPOCH: u64 = 1_700_000_000;

/// The relay's ports on each address: so few that they run out.
pub(crate) const PORTS: RangeInclusive<u16> = 61_000..=61_011;

/// Of these ports another program has each.
pub(crate) const TAKEN: [u16; 2] = [61_003, 61_004];

/// The relay's addresses.
pub(crate) const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Peers that nobody may reach, whatever the relay is told.
pub(crate) const FORBIDDEN: [SocketAddr; 5] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 80),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9478),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 9478),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x0a00, 1)), 80),
];

/// Permissions, and channels, of one allocation.
pub(crate) const PEERS_PER_ALLOCATION: usize = 4;

/// Replies to strangers, per second and prefix, of one shard.
pub(crate) const REPLIES_PER_SECOND: usize = 30;

/// Where clients send to.
pub(crate) fn listener() -> SocketAddr {
    SocketAddr::new(ADDRESSES[0], 3478)
}

/// The secret of a generation; each rotation makes a new one.
pub(crate) fn secret(generation: u8) -> Secret {
    #[expect(clippy::expect_used, reason = "the text is not empty")]
    Secret::from_file(format!("secret-{generation}").as_bytes()).expect("a secret")
}

/// What the relay has been told.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Generations of the secrets that are accepted, the newest first.
    pub(crate) generations: Vec<u8>,
    /// Allocations, and reserved ports, of one user.
    pub(crate) per_user: usize,
    /// Allocations in all.
    pub(crate) in_all: usize,
    /// Peers that are denied beside [`FORBIDDEN`].
    pub(crate) denied: Vec<IpAddr>,
    pub(crate) draining: bool,
    /// Where clients are sent while the relay drains.
    pub(crate) sibling: Option<SocketAddr>,
    /// How long an allocation may be silent while the relay drains.
    pub(crate) idle: Option<Duration>,
}

impl Rules {
    /// The same, as the relay takes it.
    pub(crate) fn settings(&self) -> Settings {
        let secrets = self.generations.iter().map(|generation| secret(*generation)).collect();
        let peers = PeerPolicy {
            own: ADDRESSES.to_vec(),
            own_listener_ports: vec![listener().port()],
            deny: self.denied.iter().map(|ip| (*ip).into()).collect(),
            ..PeerPolicy::default()
        };
        let limits = Limits {
            allocations_per_user: u32::try_from(self.per_user).unwrap_or(u32::MAX),
            allocations: u32::try_from(self.in_all).unwrap_or(u32::MAX),
            permissions_per_allocation: PEERS_PER_ALLOCATION as u16,
            channels_per_allocation: PEERS_PER_ALLOCATION as u16,
            unauthenticated_replies_per_second_per_prefix: REPLIES_PER_SECOND as u32,
            new_peers_per_second: 100,
            allocation_rate: Rate::default(),
            user_rate: Rate::default(),
            relay_rate: Rate::default(),
        };
        let mut settings = Settings::new(Credentials::new(REALM, secrets, []), peers, limits);
        // What moves is not simulated: the second server knows an allocation by its five-tuple.
        settings.mobility = false;
        settings.drain_idle = self.idle;
        settings.alternates = self.sibling.into_iter().map(to_sibling).collect();
        settings
    }

    /// The ports, as the relay takes them.
    pub(crate) fn ports() -> PortRange {
        PortRange { from: *PORTS.start(), to: *PORTS.end() }
    }

    /// The addresses, as the relay takes them.
    pub(crate) fn addresses() -> Vec<RelayAddress> {
        ADDRESSES.iter().map(|ip| RelayAddress { local: *ip, external: *ip }).collect()
    }

    /// Whether a permission for a peer may be had.
    pub(crate) fn permits(&self, peer: IpAddr) -> bool {
        !self.denied.contains(&peer) && FORBIDDEN.iter().all(|forbidden| forbidden.ip() != peer)
    }
}

fn to_sibling(address: SocketAddr) -> Alternate {
    Alternate { transport: Transport::Udp, address, domain: None }
}
