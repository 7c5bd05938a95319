//! The configuration as it is written: any value that parses, nothing checked yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
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
    /// What TLS and DTLS listeners prove themselves with. Needed where there is one.
    pub tls: Option<Tls>,
    /// Who may allocate.
    pub auth: Auth,
    /// Whom clients may reach.
    pub peers: Peers,
    /// What one user, one allocation and the relay may hold.
    pub limits: Limits,
    /// What not everybody needs.
    pub features: Features,
    /// How the relay ends.
    pub drain: Drain,
    /// The HTTP port for probes, metrics and status.
    pub admin: Admin,
    /// How much the relay logs, unless the environment says so (`TURN_RELAY_LOG`).
    pub log_level: LogLevel,
    /// How many workers (threads, each with its own sockets and allocations) to run. Absent: one
    /// for each core that the process may use.
    pub workers: Option<u16>,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            realm: "turnpike".to_owned(),
            listeners: vec![
                Listener::new("udp", Protocol::Udp, 3478),
                Listener::new("tcp", Protocol::Tcp, 3478),
            ],
            addresses: Vec::new(),
            external_addresses: BTreeMap::new(),
            relay_ports: PortRange::default(),
            tls: None,
            auth: Auth::default(),
            peers: Peers::default(),
            limits: Limits::default(),
            features: Features::default(),
            drain: Drain::default(),
            admin: Admin::default(),
            log_level: LogLevel::default(),
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
    /// Where load balancers connect from that say in a PROXY protocol v2 header whom they connect
    /// for. Their connections must begin with one; those of others must not. Streams only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxy_protocol: Vec<IpNet>,
}

impl Listener {
    /// A listener that no load balancer stands before.
    #[must_use]
    pub fn new(name: impl Into<String>, protocol: Protocol, port: u16) -> Self {
        Self { name: name.into(), protocol, port, proxy_protocol: Vec::new() }
    }
}

/// The transport between client and relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// One message or ChannelData message in each datagram.
    #[serde(rename = "UDP")]
    Udp,
    /// Messages and ChannelData messages framed as RFC 8656, section 12.5 says.
    #[serde(rename = "TCP")]
    Tcp,
    /// The same within TLS 1.2 or 1.3.
    #[serde(rename = "TLS")]
    Tls,
    /// Datagrams within DTLS 1.2 or 1.3.
    #[serde(rename = "DTLS")]
    Dtls,
    /// TCP and TLS on one port, told apart by a connection's first byte.
    Auto,
}

impl Protocol {
    /// Whether it takes its port of TCP's, and not of UDP's.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        match self {
            Self::Tcp | Self::Tls | Self::Auto => true,
            Self::Udp | Self::Dtls => false,
        }
    }

    /// Whether it needs a certificate.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        match self {
            Self::Tls | Self::Dtls | Self::Auto => true,
            Self::Udp | Self::Tcp => false,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Dtls => "DTLS",
            Self::Auto => "Auto",
        })
    }
}

/// A certificate and its key. A DTLS listener needs ones of an elliptic curve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with the certificate and, behind it, those that lead to the authority's.
    pub certificate_file: PathBuf,
    /// A PEM file with the certificate's private key.
    pub private_key_file: PathBuf,
}

/// How much is logged: what is said, and all that is graver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogLevel {
    /// What keeps the relay from its work.
    Error,
    /// What somebody should look at.
    Warn,
    /// What becomes of the relay as a whole.
    #[default]
    Info,
    /// What becomes of each allocation.
    Debug,
    /// Everything.
    Trace,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Auth {
    /// Files that each hold one secret of time-limited credentials, newest first. All of them are
    /// accepted; the first also keys the nonces that are handed out. White space at the end of a
    /// file is no part of the secret.
    pub shared_secrets: Vec<PathBuf>,
    /// Users with a password of their own.
    pub users: Vec<User>,
    /// The hashes that passwords of time-limited credentials may be made with. SHA1 is what other
    /// servers and web services know.
    pub credential_hashes: BTreeSet<CredentialHash>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            shared_secrets: Vec::new(),
            users: Vec::new(),
            credential_hashes: [CredentialHash::Sha1].into(),
        }
    }
}

/// The hash that the password of a time-limited credential is an HMAC of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CredentialHash {
    /// HMAC-SHA1.
    Sha1,
    /// HMAC-SHA256.
    Sha256,
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
    /// Connections that have no allocation yet, for each source prefix (/24 or
    /// /56). Above: the connection is reset.
    pub pending_connections_per_prefix: u32,
    /// How long such a connection may take to an allocation, in seconds.
    pub pending_connection_timeout_seconds: u32,
    /// Bytes queued towards one TCP client. Above: the oldest datagram is dropped.
    pub queue_bytes_per_connection: u32,
    /// Replies to unauthenticated datagrams, per second and source prefix (/24 or /56). Above:
    /// silence.
    pub unauthenticated_replies_per_second_per_prefix: u32,
    /// Peers, per second, that one allocation may ask for a permission for that it has none for.
    /// Above: 508.
    pub new_peers_per_second_per_allocation: u16,
    /// Connections to peers of one allocation, where TCP is relayed. Above: 508, or the peer's
    /// connection is reset.
    pub tcp_peers_per_allocation: u16,
    /// The same, of the relay.
    pub tcp_peers: u32,
    /// Bits of payload per second that one allocation relays each way. Above: dropped; of TCP:
    /// delayed. Null: no
    /// limit; the same of those that follow.
    pub bits_per_second_per_allocation: Option<u64>,
    /// Datagrams per second that one allocation relays each way.
    pub packets_per_second_per_allocation: Option<u64>,
    /// Bits of payload per second that all allocations of one user relay each way.
    pub bits_per_second_per_user: Option<u64>,
    /// Datagrams per second that all allocations of one user relay each way.
    pub packets_per_second_per_user: Option<u64>,
    /// Bits of payload per second that the relay relays each way.
    pub bits_per_second: Option<u64>,
    /// Datagrams per second that the relay relays each way.
    pub packets_per_second: Option<u64>,
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
            new_peers_per_second_per_allocation: 64,
            tcp_peers_per_allocation: 16,
            tcp_peers: 4096,
            bits_per_second_per_allocation: Some(20_000_000),
            packets_per_second_per_allocation: None,
            bits_per_second_per_user: None,
            packets_per_second_per_user: None,
            bits_per_second: None,
            packets_per_second: None,
        }
    }
}

/// What not everybody needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Features {
    /// Let allocations move with clients whose address changes (RFC 8016). Such an allocation
    /// outlives its client's connection: it is charged to its user until it expires.
    pub mobility: bool,
    /// Help clients to find out how their NAT behaves (RFC 5780): answers Binding requests from the
    /// other address and port. Needs two UDP listeners and two addresses of a family.
    pub nat_discovery: bool,
    /// Relay TCP connections too, for clients over TCP and TLS that ask for it (RFC 6062).
    pub tcp_relaying: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self { mobility: true, nat_discovery: false, tcp_relaying: false }
    }
}

/// How the relay ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Drain {
    /// How long, after SIGTERM, running allocations are still served, in seconds.
    pub timeout_seconds: u32,
    /// How long, in seconds, an allocation may relay nothing before its next refresh is refused
    /// while the relay drains. Null: for ever.
    pub idle_seconds: Option<u32>,
    /// Listeners of other relays, which new clients are sent to while this one drains (300, Try
    /// Alternate). Without one of a client's transport and family it gets 508. Those of this relay's
    /// own address are passed over, so that one file serves a whole fleet.
    pub alternates: Vec<Alternate>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout_seconds: 3600, idle_seconds: None, alternates: Vec::new() }
    }
}

/// A listener of another relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Alternate {
    /// Which clients it is for; of an Auto listener there are two, one for TCP and one for TLS.
    pub protocol: Protocol,
    /// Where clients reach it.
    pub address: SocketAddr,
    /// The name in its certificate. Without one no client over TLS or DTLS is sent there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
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
