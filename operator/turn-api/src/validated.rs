//! The resource once it is checked.

mod addresses;
mod check;

use std::{collections::BTreeMap, fmt};

use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;

pub use addresses::{Advertised, StaticAddresses};

use crate::{
    CredentialHash, Dns, Drain, Features, IceServers, Limits, PodSettings, Protocol, Reachability,
    RelayPorts, TurnServer, Violation, Workload,
};

/// The region of a `TurnServer` that names none.
pub const DEFAULT_REGION: &str = "default";

/// Why a `TurnServer` is refused: every wrong field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    violations: Vec<Violation>,
}

impl Invalid {
    pub(crate) fn new(violations: Vec<Violation>) -> Self {
        Self { violations }
    }

    /// The wrong fields, at least one.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.violations.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
        }
        Ok(())
    }
}

/// A `TurnServer` that has been checked. Made by `TryFrom<&TurnServer>` only.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated {
    namespace: String,
    name: String,
    uid: String,
    generation: Option<i64>,
    created: Option<Timestamp>,
    realm: String,
    workload: Workload,
    regions: Vec<ValidatedRegion>,
    listeners: Vec<ValidatedListener>,
    tls_secret_name: Option<String>,
    relay_ports: RelayPorts,
    advertised: Advertised,
    credentials: CredentialsSource,
    credential_ttl_seconds: u32,
    credential_hashes: Vec<CredentialHash>,
    allowed_peers: Vec<IpNet>,
    denied_peers: Vec<IpNet>,
    limits: Limits,
    features: Features,
    reachability: Reachability,
    ice_servers: IceServers,
    dns: Option<Dns>,
    drain: Drain,
    admin_port: u16,
    pod: PodSettings,
}

/// A region that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatedRegion {
    name: String,
    node_selector: BTreeMap<String, String>,
    replicas: u16,
}

impl ValidatedRegion {
    /// The name, a DNS label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The labels that a node must have.
    #[must_use]
    pub fn node_selector(&self) -> &BTreeMap<String, String> {
        &self.node_selector
    }

    /// The number of relays; of no meaning for a DaemonSet.
    #[must_use]
    pub fn replicas(&self) -> u16 {
        self.replicas
    }

    /// Whether a node with these labels belongs to the region.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// A listener that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatedListener {
    name: String,
    protocol: Protocol,
    port: u16,
    load_balancers: Vec<IpNet>,
}

impl ValidatedListener {
    /// The name, a DNS label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The transport between client and relay.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The port on the node.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whose connections begin with a PROXY protocol v2 header.
    #[must_use]
    pub fn load_balancers(&self) -> &[IpNet] {
        &self.load_balancers
    }
}

/// Where the shared secrets come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialsSource {
    /// A Secret is generated.
    Generated,
    /// A Secret that the user made.
    Referenced {
        /// Its name.
        name: String,
        /// The keys with one shared secret each, newest first; at least one.
        keys: Vec<String>,
    },
}

impl TryFrom<&TurnServer> for Validated {
    type Error = Invalid;

    fn try_from(turn_server: &TurnServer) -> Result<Self, Invalid> {
        check::validate(turn_server)
    }
}

impl Validated {
    /// The namespace; `default` when the manifest names none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The uid; empty when the object comes from a file.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The generation of the spec; absent when the object comes from a file.
    #[must_use]
    pub fn generation(&self) -> Option<i64> {
        self.generation
    }

    /// When it was made; absent when the object comes from a file.
    #[must_use]
    pub fn created(&self) -> Option<Timestamp> {
        self.created
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// What runs the relays.
    #[must_use]
    pub fn workload(&self) -> Workload {
        self.workload
    }

    /// The regions, in the order of the spec; at least one.
    #[must_use]
    pub fn regions(&self) -> &[ValidatedRegion] {
        &self.regions
    }

    /// The listeners, in the order of the spec; at least one.
    #[must_use]
    pub fn listeners(&self) -> &[ValidatedListener] {
        &self.listeners
    }

    /// The Secret with certificate and key. None when no listener needs one.
    #[must_use]
    pub fn tls_secret_name(&self) -> Option<&str> {
        let secure = self.listeners.iter().any(|listener| listener.protocol.is_secure());
        self.tls_secret_name.as_deref().filter(|_| secure)
    }

    /// The range of relayed ports.
    #[must_use]
    pub fn relay_ports(&self) -> RelayPorts {
        self.relay_ports
    }

    /// Which addresses clients are told.
    #[must_use]
    pub fn advertised(&self) -> &Advertised {
        &self.advertised
    }

    /// Where the shared secrets come from.
    #[must_use]
    pub fn credentials(&self) -> &CredentialsSource {
        &self.credentials
    }

    /// How long a minted credential is valid, in seconds.
    #[must_use]
    pub fn credential_ttl_seconds(&self) -> u32 {
        self.credential_ttl_seconds
    }

    /// The hashes that time-limited passwords may be made with.
    #[must_use]
    pub fn credential_hashes(&self) -> &[CredentialHash] {
        &self.credential_hashes
    }

    /// Ranges that clients may reach although they are denied by default.
    #[must_use]
    pub fn allowed_peers(&self) -> &[IpNet] {
        &self.allowed_peers
    }

    /// Ranges that clients may not reach.
    #[must_use]
    pub fn denied_peers(&self) -> &[IpNet] {
        &self.denied_peers
    }

    /// What one user and one relay may hold.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What not everybody needs.
    #[must_use]
    pub fn features(&self) -> Features {
        self.features
    }

    /// Whether the relays are reached from outside, who tries it, and what follows.
    #[must_use]
    pub fn reachability(&self) -> &Reachability {
        &self.reachability
    }

    /// What the ICE-servers API hands out.
    #[must_use]
    pub fn ice_servers(&self) -> &IceServers {
        &self.ice_servers
    }

    /// The name under which clients find the relays.
    #[must_use]
    pub fn dns(&self) -> Option<&Dns> {
        self.dns.as_ref()
    }

    /// How a relay ends.
    #[must_use]
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// The relay's HTTP port.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// Settings of the pods.
    #[must_use]
    pub fn pod(&self) -> &PodSettings {
        &self.pod
    }

    /// Whether a port below 1024 is among the listeners, which needs NET_BIND_SERVICE.
    #[must_use]
    pub fn has_privileged_port(&self) -> bool {
        self.listeners.iter().any(|listener| listener.port < 1024)
    }

    /// What the relayed ports are ports of: UDP, and TCP where it is relayed.
    pub fn relayed_transports(&self) -> impl Iterator<Item = Protocol> + use<> {
        let tcp = self.features.tcp_relaying.then_some(Protocol::Tcp);
        [Protocol::Udp].into_iter().chain(tcp)
    }

    /// Every port that a relay opens on its node, as ranges of UDP or TCP: listeners, the relayed
    /// ports, the HTTP port.
    pub fn node_ports(&self) -> impl Iterator<Item = (Protocol, RelayPorts)> {
        let one = |port| RelayPorts { from: port, to: port };
        let listeners = self.listeners.iter().map(move |l| (l.protocol.transport(), one(l.port)));
        let relayed = self.relayed_transports().map(|protocol| (protocol, self.relay_ports));
        listeners.chain(relayed).chain([(Protocol::Tcp, one(self.admin_port))])
    }
}
