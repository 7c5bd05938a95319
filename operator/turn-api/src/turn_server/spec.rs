//! What a user asks for. The documentation of the fields is what `kubectl explain` shows.

use std::collections::BTreeMap;

use kube_derive::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    dns::Dns,
    ice_servers::IceServers,
    listener::{Listener, Protocol, Tls},
    pod::PodSettings,
    reachability::Reachability,
    status::TurnServerStatus,
};
use crate::rules;

/// What a fleet of TURN relays should look like. Every field has a default: `spec: {}` is one
/// relay on one node, with UDP and TCP on port 3478 and generated credentials.
#[expect(clippy::duplicated_attributes, reason = "several printer columns have the same type")]
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "turnpike.dev",
    version = "v1alpha1",
    kind = "TurnServer",
    namespaced,
    shortname = "turn",
    category = "webrtc",
    status = "TurnServerStatus",
    doc = "A fleet of TURN relays (RFC 8656) for WebRTC: pods on the network of their nodes, their credentials, and what clients need to reach them.",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether every relay that the spec asks for serves clients."
    ),
    printcolumn(
        name = "Reachable",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Reachable")].status"#,
        description = "Whether every relay is reached from outside, on each transport and its relay ports."
    ),
    printcolumn(
        name = "Relays",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "How many relays are ready."
    ),
    printcolumn(
        name = "URL",
        type_ = "string",
        json_path = ".status.urls[0]",
        description = "The first of the URLs that clients may use."
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.desiredReplicas",
        description = "How many relays there should be.",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it is ready, or is not.",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "When the TurnServer was made."
    ),
    crates(kube_core = "kube_core")
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::SPEC))]
pub struct TurnServerSpec {
    /// The realm that clients sign their requests with (RFC 8489, section 9.2), usually the domain
    /// of the service. Between 1 and 127 characters, no control character, quote or backslash.
    /// Changing it replaces the relays one at a time.
    #[schemars(length(min = 1, max = 127), extend("x-kubernetes-validations" = rules::REALM))]
    pub realm: String,
    /// What runs the relays: Deployment (`replicas` relays in each region, at most one on a node)
    /// or DaemonSet (one relay on each node of each region). Cannot be changed.
    #[schemars(extend("x-kubernetes-validations" = rules::WORKLOAD))]
    pub workload: Workload,
    /// The number of relays in each region that sets none itself. A DaemonSet does not use it. May
    /// be set through the scale subresource, by `kubectl scale`, or by an autoscaler where there is
    /// one region: an autoscaler would take the relays of all regions for those of one.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: u16,
    /// Groups of nodes, each with relays of its own. None: one region, on any node.
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
    /// The ports on which clients are served, on the address of each node with a relay. Absent: UDP
    /// and TCP on port 3478, and with `tls` also TLS on port 5349. Changing them replaces the relays
    /// one at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 16),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["name"],
            "x-kubernetes-validations" = rules::LISTENERS
        )
    )]
    pub listeners: Option<Vec<Listener>>,
    /// The certificate of the TLS, DTLS and Auto listeners. Running relays take another certificate
    /// at once; setting or removing this replaces the relays one at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The UDP ports of the node that relayed traffic uses, and the TCP ports of the same numbers
    /// where `features.tcpRelaying` is on. No other program on the node may use
    /// them, and firewalls must let them through. Changing them replaces the relays one at a time.
    pub relay_ports: RelayPorts,
    /// Which addresses clients are told.
    pub addresses: Addresses,
    /// Who may use the relays.
    pub auth: Auth,
    /// Whom clients may reach through the relays, on top of what is denied by default: private,
    /// loopback, link-local, multicast and documentation ranges, and the cluster's own nodes, pods
    /// and Services. Running relays take changes at once.
    pub peers: Peers,
    /// What one user and one relay may hold. Running relays take changes at once.
    pub limits: Limits,
    /// What not everybody needs. Running relays take changes at once.
    pub features: Features,
    /// Whether the relays are reached from outside, who tries it, and what follows.
    pub reachability: Reachability,
    /// What the ICE-servers API hands out.
    pub ice_servers: IceServers,
    /// The name under which clients find the relays that are reached. Absent: none is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// How a relay ends.
    pub drain: Drain,
    /// The relay's HTTP port on the node, for probes, metrics and status.
    pub admin: Admin,
    /// Settings of the relay's pods.
    #[serde(skip_serializing_if = "PodSettings::is_default")]
    pub pod: PodSettings,
}

impl Default for TurnServerSpec {
    fn default() -> Self {
        Self {
            realm: "turnpike".to_owned(),
            workload: Workload::Deployment,
            replicas: 1,
            regions: Vec::new(),
            listeners: None,
            tls: None,
            relay_ports: RelayPorts::default(),
            addresses: Addresses::default(),
            auth: Auth::default(),
            peers: Peers::default(),
            limits: Limits::default(),
            features: Features::default(),
            reachability: Reachability::default(),
            ice_servers: IceServers::default(),
            dns: None,
            drain: Drain::default(),
            admin: Admin::default(),
            pod: PodSettings::default(),
        }
    }
}

impl TurnServerSpec {
    /// The listeners that the spec names, or those that it has without naming any.
    #[must_use]
    pub fn listeners(&self) -> Vec<Listener> {
        let listener = |name: &str, protocol, port| Listener {
            name: name.to_owned(),
            protocol,
            port,
            proxy_protocol: Vec::new(),
        };
        let plain = [("udp", Protocol::Udp, 3478), ("tcp", Protocol::Tcp, 3478)];
        let secure = self.tls.iter().map(|_| ("tls", Protocol::Tls, 5349));
        let default = plain.into_iter().chain(secure);
        self.listeners.clone().unwrap_or_else(|| {
            default.map(|(name, protocol, port)| listener(name, protocol, port)).collect()
        })
    }
}

/// What runs the relays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Workload {
    /// A number of relays in each region, at most one on a node.
    #[default]
    Deployment,
    /// One relay on each node of each region.
    DaemonSet,
}

/// A group of nodes with relays of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Region {
    /// The name of the region: a DNS label, unique among the regions.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = rules::LABEL))]
    pub name: String,
    /// The labels that a node must have. None: any node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// The number of relays of this region. Absent: `spec.replicas`. Not with a DaemonSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<u16>,
}

/// An inclusive range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, extend("x-kubernetes-validations" = rules::RELAY_PORTS))]
pub struct RelayPorts {
    /// The first port. 1024 or more, and not above `to`.
    #[schemars(range(min = 1024, max = 65535))]
    pub from: u16,
    /// The last port.
    #[schemars(range(min = 1024, max = 65535))]
    pub to: u16,
}

/// Above the ephemeral ports of Linux (32768–60999) and Kubernetes' NodePorts (30000–32767).
impl Default for RelayPorts {
    fn default() -> Self {
        Self { from: 61000, to: 65535 }
    }
}

/// Which addresses clients are told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, extend("x-kubernetes-validations" = rules::ADDRESSES))]
pub struct Addresses {
    /// Where a relay's public address comes from. Auto: the node's ExternalIP, and its InternalIP
    /// where it has none of that family. Static: the list in `static`.
    pub source: AddressFrom,
    /// The public addresses, when `source` is Static: for nodes behind a 1:1 NAT that Kubernetes
    /// knows nothing of.
    #[serde(rename = "static", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub static_: Vec<StaticAddress>,
}

/// Where a relay's public address comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum AddressFrom {
    /// The node's ExternalIP, and its InternalIP where it has none of that family.
    #[default]
    Auto,
    /// The node's ExternalIP.
    NodeExternalIP,
    /// The node's InternalIP.
    NodeInternalIP,
    /// The list in `static`.
    Static,
}

/// A public address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct StaticAddress {
    /// The node that has the address. Absent: every node that no other entry names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub node_name: Option<String>,
    /// The address, IPv4 or IPv6.
    #[schemars(length(max = 45), extend("x-kubernetes-validations" = rules::IP_ADDRESS))]
    pub address: String,
}

/// Who may use the relays: holders of time-limited credentials (username `expiry:user`, password
/// the base64 of its HMAC-SHA1 under a shared secret), as coturn's `use-auth-secret` has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Auth {
    /// A Secret of the same namespace with shared secrets. Absent: one is generated, and named in
    /// `status.credentials.secretName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// How long a credential that `turnctl credentials` mints is valid, in seconds, unless its
    /// command line says otherwise.
    #[schemars(range(min = 60, max = 31_536_000))]
    pub credential_ttl_seconds: u32,
    /// The hashes that time-limited passwords may be made with. SHA1 is what web services and other
    /// servers know; with SHA256 the password is HMAC-SHA256 of the username. Both at once let
    /// services change over; `turnctl` mints with the better one. Running relays take changes at
    /// once.
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub credential_hashes: Vec<CredentialHash>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            secret_ref: None,
            credential_ttl_seconds: 86_400,
            credential_hashes: vec![CredentialHash::Sha1],
        }
    }
}

/// The hash that a time-limited password is an HMAC of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum CredentialHash {
    /// HMAC-SHA1.
    Sha1,
    /// HMAC-SHA256.
    Sha256,
}

impl CredentialHash {
    /// As it stands in the resource.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }
}

/// The Secret with the shared secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct SecretRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = rules::SECRET_NAME))]
    pub name: String,
    /// The keys that hold one shared secret each, the newest first. All are accepted; to rotate
    /// without interruption put the new one in front, and take the old one away when the last
    /// credential made with it has expired. Running relays take changes at once.
    #[serde(default = "SecretRef::default_keys")]
    #[schemars(schema_with = "secret_keys")]
    pub keys: Vec<String>,
}

impl SecretRef {
    /// The key of a shared secret, in generated Secrets and unless `keys` says otherwise.
    pub const DEFAULT_KEY: &str = "shared-secret";

    pub(crate) fn default_keys() -> Vec<String> {
        vec![Self::DEFAULT_KEY.to_owned()]
    }
}

/// The rule stands on each key, so that the error names the one that is wrong.
fn secret_keys(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 8,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 253,
            "x-kubernetes-validations": rules::SECRET_KEY
        }
    })
}

/// Whom clients may reach. `deny` is asked first, then `allow`, then what is denied by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Peers {
    /// Ranges (CIDR) that clients may reach although they are denied by default, such as that of a
    /// conference server in the cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "ranges")]
    pub allow: Vec<String>,
    /// Ranges (CIDR) that clients may not reach, whatever else says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "ranges")]
    pub deny: Vec<String>,
}

/// A list of ranges. The rule stands on each item, so that the error names the one that is wrong.
fn ranges(_: &mut SchemaGenerator) -> Schema {
    up_to_ranges(256)
}

pub(super) fn up_to_ranges(most: u16) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": most,
        "items": {"type": "string", "maxLength": 43, "x-kubernetes-validations": rules::CIDR}
    })
}

/// What one user and one relay may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Limits {
    /// Allocations of one user on one relay at the same time. A call takes one for each listener
    /// and network interface of the client.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub allocations_per_user: u32,
    /// Allocations of one relay at the same time.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub allocations: u32,
    /// Permissions (peer addresses) of one allocation.
    #[schemars(range(min = 1, max = 65535))]
    pub permissions_per_allocation: u16,
    /// Channels of one allocation.
    #[schemars(range(min = 1, max = 4096))]
    pub channels_per_allocation: u16,
    /// TCP connections without an allocation from one source prefix (/24 or /56) to one relay.
    /// Raise it where many clients share an address.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub pending_connections_per_prefix: u32,
    /// Replies to datagrams that are not authenticated, per second and source prefix (/24 or /56),
    /// of one relay. Keeps a relay from being used as an amplifier.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub unauthenticated_replies_per_second_per_prefix: u32,
    /// Peer addresses, per second, that one allocation may ask a permission for that it has none
    /// for.
    #[schemars(range(min = 1, max = 65535))]
    pub new_peers_per_second_per_allocation: u16,
    /// Connections to peers of one allocation, where TCP is relayed.
    #[schemars(range(min = 1, max = 65535))]
    pub tcp_peers_per_allocation: u16,
    /// Connections to peers of one relay, where TCP is relayed.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub tcp_peers: u32,
    /// Bits of payload per second that one allocation relays each way; what is above is dropped, and
    /// of TCP delayed.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64), extend("format" = "int64"))]
    pub bits_per_second_per_allocation: u64,
    /// Datagrams per second that one allocation relays each way. Absent: no limit.
    #[schemars(range(min = 1, max = 1_000_000_000_u64), extend("format" = "int64"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_per_second_per_allocation: Option<u64>,
    /// Bits of payload per second that all allocations of one user relay on one relay, each way.
    /// Absent: no limit.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64), extend("format" = "int64"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_second_per_user: Option<u64>,
    /// Datagrams per second that all allocations of one user relay on one relay, each way. Absent:
    /// no limit.
    #[schemars(range(min = 1, max = 1_000_000_000_u64), extend("format" = "int64"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_per_second_per_user: Option<u64>,
    /// Bits of payload per second that one relay relays, each way. Absent: no limit.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64), extend("format" = "int64"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_second: Option<u64>,
    /// Datagrams per second that one relay relays, each way. Absent: no limit.
    #[schemars(range(min = 1, max = 1_000_000_000_u64), extend("format" = "int64"))]
    #[serde(skip_serializing_if = "Option::is_none")]
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
            unauthenticated_replies_per_second_per_prefix: 1_000,
            new_peers_per_second_per_allocation: 64,
            tcp_peers_per_allocation: 16,
            tcp_peers: 4096,
            bits_per_second_per_allocation: 20_000_000,
            packets_per_second_per_allocation: None,
            bits_per_second_per_user: None,
            packets_per_second_per_user: None,
            bits_per_second: None,
            packets_per_second: None,
        }
    }
}

/// What not everybody needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Features {
    /// Let an allocation move with its client whose address changes, if the client asks for that
    /// (RFC 8016). Such an allocation outlives its client's connection: it is charged to its user
    /// until it expires.
    pub mobility: bool,
    /// Relay TCP connections too, for clients over TCP and TLS that ask for it (RFC 6062). Opens the
    /// relay ports for TCP: firewalls must let it through.
    pub tcp_relaying: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self { mobility: true, tcp_relaying: false }
    }
}

/// How a relay ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Drain {
    /// How long a relay that has to end still serves its running allocations, in seconds. It takes
    /// no new ones in that time, but sends clients to relays that are ready, and ends as soon as the
    /// last is gone.
    #[schemars(range(min = 0, max = 86400))]
    pub timeout_seconds: u32,
    /// How long, in seconds, an allocation may relay nothing before its next refresh is refused by a
    /// relay that has to end. Absent: for ever.
    #[schemars(range(min = 1, max = 86400))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u32>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout_seconds: 3600, idle_seconds: None }
    }
}

/// The relay's HTTP port on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Admin {
    /// The TCP port. Two TurnServers with relays on one node need different ones.
    #[schemars(range(min = 1024, max = 65535))]
    pub port: u16,
}

impl Default for Admin {
    fn default() -> Self {
        Self { port: 9478 }
    }
}
