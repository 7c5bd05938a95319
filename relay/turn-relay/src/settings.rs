//! From the configuration to what workers take.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use relay_config::{Config, Protocol};
use turn_auth::{CredentialHash, Credentials, Secret};
use turn_net::StreamLimits;
use turn_proto::{
    Alternate, DiscoveryAddresses, Limits, PeerPolicy, Rate, RelayAddress, Settings, TcpRelaying,
    Transport,
};

/// A file that should hold a secret does not.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("{field}: {path:?} cannot be read")]
    Unreadable {
        /// The field of the configuration that names it.
        field: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("{field}: {path:?} is empty: it must hold a secret")]
    Empty {
        /// The field of the configuration that names it.
        field: String,
        /// The file.
        path: PathBuf,
    },
}

/// Secrets as they stand in their files.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) shared: Vec<Secret>,
    pub(crate) users: Vec<(String, Secret)>,
    /// What passwords of time-limited credentials may be made with; not empty.
    pub(crate) hashes: Vec<CredentialHash>,
}

impl Secrets {
    pub(crate) fn read(config: &Config) -> Result<Self, SecretError> {
        let shared = config.auth.shared_secrets.iter().enumerate();
        let shared = shared.map(|(i, path)| read(format!("auth.sharedSecrets[{i}]"), path));
        let users = config.auth.users.iter().enumerate().map(|(i, user)| {
            let password = read(format!("auth.users[{i}].passwordFile"), &user.password_file)?;
            Ok((user.name.clone(), password))
        });
        Ok(Self {
            shared: shared.collect::<Result<_, _>>()?,
            users: users.collect::<Result<_, _>>()?,
            hashes: hashes(config),
        })
    }

    pub(crate) fn credentials(&self, realm: &str) -> Credentials {
        let users = self.users.iter().map(|(name, password)| (name.as_str(), password));
        Credentials::new(realm, self.shared.clone(), users).with_hashes(self.hashes.clone())
    }
}

fn read(field: String, path: &Path) -> Result<Secret, SecretError> {
    let content = std::fs::read(path).map_err(|source| SecretError::Unreadable {
        field: field.clone(),
        path: path.to_owned(),
        source,
    })?;
    Secret::from_file(&content)
        .map_err(|_empty| SecretError::Empty { field, path: path.to_owned() })
}

/// What workers' server cores take.
pub(crate) fn settings(
    config: &Config,
    secrets: &Secrets,
    addresses: &[RelayAddress],
    workers: usize,
) -> Settings {
    let limits = &config.limits;
    // Each worker has a budget of its own, and the kernel spreads a prefix over all of them.
    let workers = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
    let rate = |bits_per_second, packets_per_second| Rate { bits_per_second, packets_per_second };
    let limits = Limits {
        allocations_per_user: limits.allocations_per_user,
        allocations: limits.allocations,
        permissions_per_allocation: limits.permissions_per_allocation,
        channels_per_allocation: limits.channels_per_allocation,
        unauthenticated_replies_per_second_per_prefix: limits
            .unauthenticated_replies_per_second_per_prefix
            .div_ceil(workers),
        new_peers_per_second: limits.new_peers_per_second_per_allocation,
        allocation_rate: rate(
            limits.bits_per_second_per_allocation,
            limits.packets_per_second_per_allocation,
        ),
        user_rate: rate(limits.bits_per_second_per_user, limits.packets_per_second_per_user),
        relay_rate: rate(limits.bits_per_second, limits.packets_per_second),
    };
    let credentials = secrets.credentials(&config.realm);
    Settings {
        alternates: config.drain.alternates.iter().filter_map(alternate).collect(),
        discovery: discovery(config, addresses),
        tcp_relaying: config.features.tcp_relaying.then_some(TcpRelaying {
            peers_per_allocation: config.limits.tcp_peers_per_allocation,
            peers: config.limits.tcp_peers,
        }),
        mobility: config.features.mobility,
        drain_idle: config.drain.idle_seconds.map(|idle| Duration::from_secs(idle.into())),
        ..Settings::new(credentials, peer_policy(config, addresses), limits)
    }
}

/// The first two addresses of each family, with the ports of the first two UDP listeners.
fn discovery(config: &Config, addresses: &[RelayAddress]) -> Vec<DiscoveryAddresses> {
    if !config.features.nat_discovery {
        return Vec::new();
    }
    let udp = config.listeners.iter().filter(|listener| listener.protocol == Protocol::Udp);
    let ports: Vec<u16> = udp.map(|listener| listener.port).collect();
    let of = |v4: bool| -> Option<DiscoveryAddresses> {
        let mut own = addresses.iter().filter(|own| own.local.is_ipv4() == v4);
        let addresses = [*own.next()?, *own.next()?];
        Some(DiscoveryAddresses { addresses, ports: [*ports.first()?, *ports.get(1)?] })
    };
    let found: Vec<_> = [of(true), of(false)].into_iter().flatten().collect();
    if found.is_empty() {
        tracing::warn!(
            ?addresses,
            "features.natDiscovery: true needs two addresses of a family; it is not served"
        );
    }
    found
}

fn hashes(config: &Config) -> Vec<CredentialHash> {
    let hashes = config.auth.credential_hashes.iter().map(|hash| match hash {
        relay_config::CredentialHash::Sha1 => CredentialHash::Sha1,
        relay_config::CredentialHash::Sha256 => CredentialHash::Sha256,
    });
    hashes.collect()
}

fn alternate(other: &relay_config::Alternate) -> Option<Alternate> {
    let transport = match other.protocol {
        Protocol::Udp => Transport::Udp,
        Protocol::Tcp => Transport::Tcp,
        Protocol::Tls => Transport::Tls,
        Protocol::Dtls => Transport::Dtls,
        // The check has refused it.
        Protocol::Auto => return None,
    };
    Some(Alternate { transport, address: other.address, domain: other.domain.clone() })
}

/// What workers' connections take.
pub(crate) fn stream_limits(config: &Config, workers: usize) -> StreamLimits {
    let limits = &config.limits;
    let workers = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
    StreamLimits {
        pending_per_prefix: limits.pending_connections_per_prefix.div_ceil(workers),
        pending_timeout: Duration::from_secs(limits.pending_connection_timeout_seconds.into()),
        queue_bytes: limits.queue_bytes_per_connection as usize,
        // Those that have an allocation, and as many again that do not have one yet.
        associations: 2 * limits.allocations as usize,
    }
}

fn peer_policy(config: &Config, addresses: &[RelayAddress]) -> PeerPolicy {
    let own: Vec<IpAddr> = addresses.iter().flat_map(|own| [own.local, own.external]).collect();
    let ports = |stream: bool| {
        let listeners = config.listeners.iter();
        let of_kind = listeners.filter(move |listener| listener.protocol.is_stream() == stream);
        of_kind.map(|listener| listener.port)
    };
    let admin = config.admin.address.port();
    PeerPolicy {
        deny: config.peers.deny.clone(),
        allow: config.peers.allow.clone(),
        own,
        relays: config.peers.relays.clone(),
        deny_cluster: config.peers.deny_cluster.clone(),
        own_listener_ports: ports(false).collect(),
        own_stream_ports: ports(true).chain([admin]).collect(),
    }
}
