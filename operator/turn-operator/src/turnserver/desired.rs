//! What there should be: a total, pure function from what a user wants and what there is to the
//! objects to apply, in the order in which they are applied.

mod config_map;
mod disruption_budget;
mod network_policy;
mod pod;
mod secret;
mod workload;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use relay_config::{Config, ConfigError, RawConfig};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use turn_api::{Protocol, Validated, ValidatedListener, Workload};

pub use secret::generated_secret;

use super::{
    certificate::{self, CertificateState},
    credentials::SecretKeys,
    observed::Observed,
    replacement,
};

/// Where the relay finds its configuration.
const CONFIG_DIRECTORY: &str = "/etc/turnpike/config";
/// The name of the file.
const CONFIG_FILE: &str = "relay.yaml";
/// Where the relay finds the shared secrets: one file for each key of the Secret.
const CREDENTIALS_DIRECTORY: &str = "/etc/turnpike/credentials";
/// Where the relay finds certificate and key.
const CERTIFICATE_DIRECTORY: &str = "/etc/turnpike/certificate";
/// The annotation with the digest of what was applied. It shows that a field was taken away, which
/// a comparison with what stands there cannot show.
pub const APPLIED_ANNOTATION: &str = "turnpike.dev/applied";
/// The annotation of a workload with the digest of the pods that it was given.
pub const TEMPLATE_ANNOTATION: &str = "turnpike.dev/template";
/// The annotation of the pods with the digest of what a running relay cannot take.
const RESTART_ANNOTATION: &str = "turnpike.dev/restart-digest";

/// What the operator was installed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The relay's image, unless a `TurnServer` says otherwise.
    pub relay_image: String,
    /// The `imagePullPolicy` of the relays. Absent: what Kubernetes makes of the tag.
    pub relay_image_pull_policy: Option<String>,
}

/// The kinds that are made for a `TurnServer`, the generated Secret excepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// The relays' configuration.
    ConfigMap,
    /// What may reach the relays.
    NetworkPolicy,
    /// How many relays may be evicted at once.
    PodDisruptionBudget,
    /// The relays of a region.
    Deployment,
    /// The relays of a region, one on each node.
    DaemonSet,
}

/// An object that there should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// All of it, with `apiVersion` and `kind`.
    pub manifest: Value,
}

impl Child {
    /// # Panics
    /// Never: the types of the API are maps with text keys, which JSON can say.
    #[expect(clippy::expect_used, reason = "the types of the API are plain data")]
    fn new(kind: ChildKind, object: &impl Serialize) -> Self {
        let mut manifest = serde_json::to_value(object).expect("an API object is JSON");
        if let Some(template) = manifest.pointer("/spec/template") {
            let digest = digest(&template.to_string());
            manifest["metadata"]["annotations"][TEMPLATE_ANNOTATION] = Value::String(digest);
        }
        let digest = digest(&manifest.to_string());
        manifest["metadata"]["annotations"][APPLIED_ANNOTATION] = Value::String(digest);
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Self { kind, name, manifest }
    }

    /// The digest of a workload's pods. None for an object that is no workload.
    #[must_use]
    pub fn template_digest(&self) -> Option<&str> {
        self.manifest["metadata"]["annotations"][TEMPLATE_ANNOTATION].as_str()
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The objects that there should be, in the order in which they are applied: the workloads last.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// The objects.
    pub children: Vec<Child>,
}

impl Desired {
    /// The workload of this name.
    #[must_use]
    pub fn workload(&self, name: &str) -> Option<&Child> {
        self.children.iter().find(|child| {
            matches!(child.kind, ChildKind::Deployment | ChildKind::DaemonSet) && child.name == name
        })
    }
}

/// The relays' configuration, as text and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    yaml: String,
    restart_digest: String,
}

impl Rendered {
    /// Renders the configuration.
    ///
    /// # Errors
    /// When the relay would refuse it: then a rule of the resource is missing.
    pub fn new(raw: RawConfig) -> Result<Self, ConfigError> {
        let yaml = raw.to_yaml()?;
        let restart_digest = Config::try_from(raw)?.restart_digest();
        Ok(Self { yaml, restart_digest })
    }
}

/// What there should be.
#[must_use]
pub fn desired(
    validated: &Validated,
    observed: &Observed,
    rendered: &Rendered,
    settings: &Settings,
) -> Desired {
    let mut children = vec![
        Child::new(ChildKind::ConfigMap, &config_map::config_map(validated, rendered)),
        Child::new(ChildKind::NetworkPolicy, &network_policy::network_policy(validated)),
    ];
    for region in validated.regions() {
        // Eviction leaves the pods of a DaemonSet alone.
        if validated.workload() == Workload::Deployment {
            let budget = disruption_budget::disruption_budget(validated, region);
            children.push(Child::new(ChildKind::PodDisruptionBudget, &budget));
        }
    }
    for region in validated.regions() {
        let template = pod::template(validated, region, rendered, settings);
        children.push(match validated.workload() {
            Workload::Deployment => {
                let replicas = replacement::replicas(validated, region, observed);
                let deployment = workload::deployment(validated, region, replicas, template);
                Child::new(ChildKind::Deployment, &deployment)
            }
            Workload::DaemonSet => {
                let daemon_set = workload::daemon_set(validated, region, template);
                Child::new(ChildKind::DaemonSet, &daemon_set)
            }
        });
    }
    Desired { children }
}

/// The configuration of the relays of `validated`: one for the whole fleet. The relay adds its own
/// addresses when it starts. Without nodes (`Observed::default()`) it is that of a relay on a bare
/// machine.
#[must_use]
pub fn relay_config(validated: &Validated, observed: &Observed) -> RawConfig {
    let limits = validated.limits();
    let relay_ports = validated.relay_ports();
    RawConfig {
        realm: validated.realm().to_owned(),
        listeners: listeners(validated),
        addresses: Vec::new(),
        external_addresses: observed
            .candidates(validated)
            .flat_map(|node| node.advertised(validated.advertised()))
            .filter_map(|(local, public)| Some((local, public?)))
            .filter(|(local, public)| local != public)
            .collect(),
        relay_ports: relay_config::PortRange { from: relay_ports.from, to: relay_ports.to },
        auth: relay_config::Auth {
            shared_secrets: secret_files(validated),
            credential_hashes: validated.credential_hashes().iter().map(credential_hash).collect(),
            users: Vec::new(),
        },
        peers: peers(validated, observed),
        limits: relay_config::Limits {
            allocations_per_user: limits.allocations_per_user,
            allocations: limits.allocations,
            permissions_per_allocation: limits.permissions_per_allocation,
            channels_per_allocation: limits.channels_per_allocation,
            pending_connections_per_prefix: limits.pending_connections_per_prefix,
            unauthenticated_replies_per_second_per_prefix: limits
                .unauthenticated_replies_per_second_per_prefix,
            new_peers_per_second_per_allocation: limits.new_peers_per_second_per_allocation,
            tcp_peers_per_allocation: limits.tcp_peers_per_allocation,
            tcp_peers: limits.tcp_peers,
            bits_per_second_per_allocation: Some(limits.bits_per_second_per_allocation),
            packets_per_second_per_allocation: limits.packets_per_second_per_allocation,
            bits_per_second_per_user: limits.bits_per_second_per_user,
            packets_per_second_per_user: limits.packets_per_second_per_user,
            bits_per_second: limits.bits_per_second,
            packets_per_second: limits.packets_per_second,
            ..relay_config::Limits::default()
        },
        features: relay_config::Features {
            mobility: validated.features().mobility,
            tcp_relaying: validated.features().tcp_relaying,
            ..relay_config::Features::default()
        },
        drain: relay_config::Drain {
            timeout_seconds: validated.drain().timeout_seconds,
            idle_seconds: validated.drain().idle_seconds,
            alternates: alternates(validated, observed),
        },
        admin: relay_config::Admin { address: admin_address(validated, observed) },
        tls: validated.tls_secret_name().map(|_| tls_files(Path::new(CERTIFICATE_DIRECTORY))),
        log_level: relay_config::LogLevel::default(),
        workers: None,
    }
}

fn listeners(validated: &Validated) -> Vec<relay_config::Listener> {
    let protocol = |protocol| match protocol {
        Protocol::Udp => relay_config::Protocol::Udp,
        Protocol::Tcp => relay_config::Protocol::Tcp,
        Protocol::Tls => relay_config::Protocol::Tls,
        Protocol::Dtls => relay_config::Protocol::Dtls,
        Protocol::Auto => relay_config::Protocol::Auto,
    };
    let listener = |listener: &ValidatedListener| relay_config::Listener {
        proxy_protocol: listener.load_balancers().to_vec(),
        ..relay_config::Listener::new(
            listener.name(),
            protocol(listener.protocol()),
            listener.port(),
        )
    };
    validated.listeners().iter().map(listener).collect()
}

const fn credential_hash(hash: &turn_api::CredentialHash) -> relay_config::CredentialHash {
    match hash {
        turn_api::CredentialHash::Sha1 => relay_config::CredentialHash::Sha1,
        turn_api::CredentialHash::Sha256 => relay_config::CredentialHash::Sha256,
    }
}

/// Where a relay that has to end sends new clients: every listener of every relay that is ready. The
/// relays take no notice of their own.
fn alternates(validated: &Validated, observed: &Observed) -> Vec<relay_config::Alternate> {
    let ready = observed.pods.iter().filter(|pod| pod.ready);
    let nodes = ready.filter_map(|pod| observed.node(pod.node.as_deref()?));
    let public: BTreeSet<IpAddr> = nodes
        .flat_map(|node| node.advertised(validated.advertised()))
        .filter_map(|(_, public)| public)
        .collect();
    let certificate = certificate::state(validated, observed.tls_secret.as_ref());
    let domain = match &certificate {
        CertificateState::Usable(certificate) => certificate.domain(),
        CertificateState::NotNeeded | CertificateState::Problem { .. } => None,
    };
    let endpoints: Vec<_> = listeners(validated).iter().flat_map(endpoints).collect();
    let at = |address: IpAddr| {
        endpoints.iter().map(move |(protocol, port)| relay_config::Alternate {
            protocol: *protocol,
            address: SocketAddr::new(address, *port),
            domain: domain.filter(|_| protocol.is_secure()).map(str::to_owned),
        })
    };
    public.into_iter().flat_map(at).collect()
}

/// The protocols that clients speak with a listener.
fn endpoints(listener: &relay_config::Listener) -> Vec<(relay_config::Protocol, u16)> {
    let protocols = match listener.protocol {
        relay_config::Protocol::Auto => {
            vec![relay_config::Protocol::Tcp, relay_config::Protocol::Tls]
        }
        other @ (relay_config::Protocol::Udp
        | relay_config::Protocol::Tcp
        | relay_config::Protocol::Tls
        | relay_config::Protocol::Dtls) => vec![other],
    };
    protocols.into_iter().map(|protocol| (protocol, listener.port)).collect()
}

/// Certificate and key in a directory that holds a Secret of the type `kubernetes.io/tls`.
#[must_use]
pub fn tls_files(directory: &Path) -> relay_config::Tls {
    relay_config::Tls {
        certificate_file: directory.join(certificate::CERTIFICATE_KEY),
        private_key_file: directory.join(certificate::PRIVATE_KEY_KEY),
    }
}

fn secret_files(validated: &Validated) -> Vec<PathBuf> {
    let directory = PathBuf::from(CREDENTIALS_DIRECTORY);
    SecretKeys::of(validated).keys.iter().map(|key| directory.join(key)).collect()
}

/// The relays are told the addresses of every node that *may* have a relay, not only of those that
/// have one: a kubelet takes up to two minutes to bring a change to a pod, and until then clients
/// of an older relay could not reach those of a new one.
fn peers(validated: &Validated, observed: &Observed) -> relay_config::Peers {
    let public = |node: &super::observed::NodeFacts| -> Vec<IpAddr> {
        let both = node.advertised(validated.advertised());
        both.flat_map(|(local, public)| [Some(local), public]).flatten().collect()
    };
    let relays: BTreeSet<IpAddr> = observed.candidates(validated).flat_map(public).collect();
    let nodes = observed.nodes.iter().flat_map(|node| node.addresses().map(IpNet::from));
    let pods = observed.nodes.iter().flat_map(|node| node.pod_ranges.iter().copied());
    let services = observed.service_ranges.iter().copied();
    let cluster: BTreeSet<IpNet> = nodes.chain(pods).chain(services).collect();
    relay_config::Peers {
        deny: validated.denied_peers().to_vec(),
        allow: validated.allowed_peers().to_vec(),
        relays: relays.into_iter().collect(),
        deny_cluster: cluster.into_iter().collect(),
    }
}

/// Every local address, in the family that the kubelet probes.
fn admin_address(validated: &Validated, observed: &Observed) -> SocketAddr {
    let mut addresses = observed.nodes.iter().flat_map(|node| node.internal_addresses.iter());
    let only_ipv6 = !observed.nodes.is_empty() && addresses.all(|address| address.is_ipv6());
    let any: IpAddr =
        if only_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    SocketAddr::new(any, validated.admin_port())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_defaults_of_the_resource_are_those_of_the_relay() {
        let ours = turn_api::TurnServerSpec::default();
        let relay = relay_config::RawConfig::default();
        assert_eq!(ours.realm, relay.realm);
        assert_eq!(ours.relay_ports.from, relay.relay_ports.from);
        assert_eq!(ours.relay_ports.to, relay.relay_ports.to);
        assert_eq!(ours.drain.timeout_seconds, relay.drain.timeout_seconds);
        assert_eq!(ours.admin.port, relay.admin.address.port());
        assert_eq!(ours.limits.allocations_per_user, relay.limits.allocations_per_user);
        assert_eq!(ours.limits.allocations, relay.limits.allocations);
        assert_eq!(ours.limits.permissions_per_allocation, relay.limits.permissions_per_allocation);
        assert_eq!(ours.limits.channels_per_allocation, relay.limits.channels_per_allocation);
        assert_eq!(
            ours.limits.pending_connections_per_prefix,
            relay.limits.pending_connections_per_prefix
        );
        assert_eq!(
            ours.limits.unauthenticated_replies_per_second_per_prefix,
            relay.limits.unauthenticated_replies_per_second_per_prefix
        );
        assert_eq!(
            ours.limits.new_peers_per_second_per_allocation,
            relay.limits.new_peers_per_second_per_allocation
        );
        assert_eq!(
            Some(ours.limits.bits_per_second_per_allocation),
            relay.limits.bits_per_second_per_allocation
        );
        assert_eq!(ours.limits.tcp_peers_per_allocation, relay.limits.tcp_peers_per_allocation);
        assert_eq!(ours.limits.tcp_peers, relay.limits.tcp_peers);
        assert_eq!(ours.features.mobility, relay.features.mobility);
        assert_eq!(ours.features.tcp_relaying, relay.features.tcp_relaying);
        let names = |list: &[(String, u16)]| list.to_vec();
        let ours: Vec<_> = ours.listeners().iter().map(|l| (l.name.clone(), l.port)).collect();
        let relay: Vec<_> = relay.listeners.iter().map(|l| (l.name.clone(), l.port)).collect();
        assert_eq!(names(&ours), names(&relay));
    }
}
