//! The configuration as it is written: any value that parses, nothing checked yet.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The configuration file of a relay.
///
/// YAML (or JSON, which is YAML). Unknown fields are refused. Everything but [`RawConfig::auth`]
/// has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RawConfig {
    /// The realm that clients sign with (RFC 8489, section 9.2). At most 127 characters.
    pub realm: String,
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// The local addresses to listen on and to relay from. May be empty in the file when the
    /// command line names them, as it does in a pod, whose address is known only once it runs.
    pub addresses: Vec<IpAddr>,
    /// Local address to public address, where a 1:1 NAT stands between the two. An address that is
    /// not in the map is its own public address. May name addresses of other relays, so that one
    /// file serves a whole fleet.
    pub external_addresses: BTreeMap<IpAddr, IpAddr>,
    /// The ports that relayed transport addresses are taken from.
    pub relay_ports: PortRange,
    /// Who may allocate.
    pub auth: Auth,
    /// Whom clients may reach.
    pub peers: Peers,
    /// What one user, one allocation and the relay may hold.
    pub limits: Limits,
    /// How the relay ends.
    pub drain: Drain,
    /// The HTTP port for probes, metrics and status.
    pub admin: Admin,
    /// How many workers (threads, each with its own sockets and allocations) to run. Absent: one
    /// for each core that the process may use.
    pub workers: Option<u16>,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            realm: "turnpike".to_owned(),
            listeners: vec![
                Listener { name: "udp".to_owned(), protocol: Protocol::Udp, port: 3478 },
                Listener { name: "tcp".to_owned(), protocol: Protocol::Tcp, port: 3478 },
            ],
            addresses: Vec::new(),
            external_addresses: BTreeMap::new(),
            relay_ports: PortRange::default(),
            auth: Auth::default(),
            peers: Peers::default(),
            limits: Limits::default(),
            drain: Drain::default(),
            admin: Admin::default(),
            workers: None,
        }
    }
}

/// One port on which clients are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// A name, for logs and metrics. Unique among the listeners.
    pub name: String,
    /// The transport between client and relay.
    pub protocol: Protocol,
    /// The port, on each of [`RawConfig::addresses`].
    pub port: u16,
}

/// The transport between client and relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// One message or ChannelData message in each datagram.
    Udp,
    /// Messages and ChannelData messages framed as RFC 8656, section 12.5 says.
    Tcp,
}

/// An inclusive range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortRange {
    /// The first port.
    pub from: u16,
    /// The last port.
    pub to: u16,
}

impl PortRange {
    /// Whether `port` is one of the range.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.from..=self.to).contains(&port)
    }

    /// How many ports the range has.
    #[must_use]
    pub fn count(self) -> u32 {
        (u32::from(self.to) + 1).saturating_sub(u32::from(self.from))
    }
}

/// Above the ephemeral ports of Linux (32768–60999) and Kubernetes' NodePorts (30000–32767), and
/// within the range that RFC 8656, section 7.2 recommends (49152–65535).
impl Default for PortRange {
    fn default() -> Self {
        Self { from: 61000, to: 65535 }
    }
}

/// Who may allocate. Only names of files: no secret stands in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Auth {
    /// Files that each hold one secret of time-limited credentials, newest first. All of them are
    /// accepted; the first also keys the nonces that are handed out. White space at the end of a
    /// file is no part of the secret.
    pub shared_secrets: Vec<PathBuf>,
    /// Users with a password of their own.
    pub users: Vec<User>,
}

/// A user with a password of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// The USERNAME.
    pub name: String,
    /// A file that holds the password. White space at its end is no part of the password.
    pub password_file: PathBuf,
}

/// Whom clients may reach, on top of the default deny list (private, loopback, link-local,
/// multicast, documentation and transition ranges, and the relay's own listeners).
///
/// The lists are asked in this order, the first that holds the peer decides: `deny`, `allow`,
/// `relays`, `denyCluster`, the default deny list; what none of them holds is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Peers {
    /// Denied whatever else says.
    pub deny: Vec<IpNet>,
    /// Allowed although another list denies it.
    pub allow: Vec<IpNet>,
    /// Addresses of the fleet's relays: only their relay ports may be reached, so that two clients
    /// that are both relayed can talk.
    pub relays: Vec<IpAddr>,
    /// The cluster's own ranges: nodes, pods, services.
    pub deny_cluster: Vec<IpNet>,
}

/// What one user, one allocation and the relay may hold. What happens at a limit is a refusal with
/// an error code of RFC 8656, or a drop, and a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Allocations of one user at the same time. Above: 486.
    pub allocations_per_user: u32,
    /// Allocations of the relay at the same time. Above: 508.
    pub allocations: u32,
    /// Permissions of one allocation. Above: 508.
    pub permissions_per_allocation: u16,
    /// Channels of one allocation. Above: 508.
    pub channels_per_allocation: u16,
    /// Connections of TCP listeners that have no allocation yet, for each source prefix (/24 or
    /// /56). Above: the connection is reset.
    pub pending_connections_per_prefix: u32,
    /// How long such a connection may take to an allocation, in seconds.
    pub pending_connection_timeout_seconds: u32,
    /// Bytes queued towards one TCP client. Above: the oldest datagram is dropped.
    pub queue_bytes_per_connection: u32,
    /// Replies to unauthenticated datagrams, per second and source prefix (/24 or /56). Above:
    /// silence.
    pub unauthenticated_replies_per_second_per_prefix: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            allocations_per_user: 10,
            allocations: 20_000,
            permissions_per_allocation: 256,
            channels_per_allocation: 256,
            pending_connections_per_prefix: 256,
            pending_connection_timeout_seconds: 30,
            queue_bytes_per_connection: 262_144,
            unauthenticated_replies_per_second_per_prefix: 1_000,
        }
    }
}

/// How the relay ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Drain {
    /// How long, after SIGTERM, running allocations are still served, in seconds.
    pub timeout_seconds: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout_seconds: 3600 }
    }
}

/// The HTTP port for `/livez`, `/readyz`, `/metrics` and `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9478) }
    }
}
