//! A running relay.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use relay_config::{Config, Protocol};
use turn_auth::{TimeLimitedCredential, UnixSeconds};
use turn_net::{BindError, ListenerSpec, Snapshot, WorkerLost, Workers, bind, is_local};
use turn_probe::{Credentials, CredentialsError, Target};
use turn_proto::{Ledger, PortRange, RelayAddress, Transport};

use crate::{
    SecretError,
    settings::{Secrets, settings, stream_limits},
    status::{ListenerStatus, Readiness},
};

/// How long a probe of one listener may take.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// Why a relay does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Neither the configuration nor the command line names an address.
    #[error("addresses: [] must name at least one address of this machine to listen on")]
    NoAddress,
    /// An address is none of this machine's.
    #[error("addresses: {0} is not an address of this machine")]
    NotLocal(IpAddr),
    /// A listener's protocol is not served.
    #[error("listeners: {0} is not served yet")]
    Protocol(Protocol),
    /// A secret cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A listener cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The admin port cannot be opened.
    #[error("admin.address: cannot listen on TCP {address}")]
    Admin {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no more threads or descriptors, or no random numbers.
    #[error("the workers cannot be started")]
    Workers(#[source] io::Error),
}

/// A running relay. Dropped, it ends at once.
#[derive(Debug)]
pub struct Relay {
    /// As it was at the start: what it takes anew is with the workers.
    config: Config,
    addresses: Vec<RelayAddress>,
    listeners: Vec<ListenerStatus>,
    workers: Workers,
    ledger: Arc<Ledger>,
    secrets: Mutex<Secrets>,
    readiness: Mutex<Readiness>,
}

impl Relay {
    /// Opens the listeners of `config` on `addresses` and starts the workers.
    ///
    /// # Errors
    /// When a secret, an address or a listener is not to be had.
    pub fn start(config: Config, addresses: &[IpAddr]) -> Result<Self, StartError> {
        if let Some(secure) = config.listeners.iter().find(|listener| listener.protocol.is_secure())
        {
            return Err(StartError::Protocol(secure.protocol));
        }
        let secrets = Secrets::read(&config)?;
        let addresses = relay_addresses(&config, addresses)?;
        let count = worker_count(&config);
        let (specs, listeners) = listeners(&config, &addresses);
        let bound = bind(&specs, count)?;
        let relay_ports = PortRange { from: config.relay_ports.from, to: config.relay_ports.to };
        let seed = random().map_err(StartError::Workers)?;
        let table_seed = u64::from_le_bytes(*seed.first_chunk().unwrap_or(&[0; 8]));
        let ledger =
            Arc::new(Ledger::new(addresses.clone(), relay_ports, table_seed, Instant::now()));
        let settings = Arc::new(settings(&config, &config.realm, &secrets, &addresses, count));
        let limits = stream_limits(&config, count);
        let workers = Workers::start(bound, &settings, limits, &ledger, random)
            .map_err(StartError::Workers)?;
        Ok(Self {
            config,
            addresses,
            listeners,
            workers,
            ledger,
            secrets: Mutex::new(secrets),
            readiness: Mutex::new(Readiness::starting()),
        })
    }

    /// Gives the workers what a running relay can take of a new configuration: secrets, users,
    /// peers, limits. Whether it has everything then: the rest needs a restart.
    ///
    /// # Errors
    /// When a secret is not to be had; nothing has changed then.
    pub fn apply(&self, config: &Config) -> Result<Applied, SecretError> {
        let secrets = Secrets::read(config)?;
        let count = self.workers.len();
        let settings = settings(config, &self.config.realm, &secrets, &self.addresses, count);
        self.workers.apply(&Arc::new(settings), stream_limits(config, count));
        *self.secrets.lock().unwrap_or_else(PoisonError::into_inner) = secrets;
        Ok(if config.restart_digest() == self.config.restart_digest() {
            Applied::All
        } else {
            Applied::RestartNeeded
        })
    }

    /// From now on no new allocations are made, and the relay is not ready.
    pub fn drain(&self) {
        self.workers.drain();
        self.set_readiness(Readiness::draining());
    }

    /// What the workers hold and have counted. Blocks for as long as a worker needs to answer.
    ///
    /// # Errors
    /// When one does not answer.
    pub fn snapshot(&self) -> Result<Snapshot, WorkerLost> {
        self.workers.snapshot()
    }

    /// Whether the relay is ready, and if not, why.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says whether the relay is ready. One that drains stays so.
    pub fn set_readiness(&self, readiness: Readiness) {
        let mut current = self.readiness.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.draining {
            *current = readiness;
        }
    }

    /// The configuration that it was started with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Where it listens.
    #[must_use]
    pub fn listeners(&self) -> &[ListenerStatus] {
        &self.listeners
    }

    /// How many workers it has.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.workers.len()
    }

    /// How many relay ports are free, over all addresses.
    #[must_use]
    pub fn free_ports(&self) -> usize {
        self.ledger.free_ports()
    }

    /// A username and a password that this relay accepts: time-limited where it has a shared secret,
    /// else those of its first user.
    #[must_use]
    pub fn own_credential(&self, user: &str, expires_at: UnixSeconds) -> (String, String) {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(secret), Some(hash)) = (secrets.shared.first(), secrets.hashes.last()) {
            let minted = TimeLimitedCredential::mint_with(*hash, secret, user, expires_at);
            return (minted.username, minted.password);
        }
        // A configuration without a shared secret has a user.
        secrets.users.first().map_or_else(Default::default, |(name, password)| {
            (name.clone(), String::from_utf8_lossy(password.expose()).into_owned())
        })
    }

    /// What a probe of one of this relay's listeners is to do. `users` are the names that it
    /// allocates as.
    ///
    /// # Errors
    /// When a name is too long for a USERNAME.
    pub fn probe_target(
        &self,
        listener: &ListenerStatus,
        users: [&str; 2],
        expires_at: UnixSeconds,
    ) -> Result<Target, CredentialsError> {
        let [first, second] = users.map(|user| {
            let (name, password) = self.own_credential(user, expires_at);
            Credentials::new(name, password)
        });
        Ok(Target {
            server: listener.external_address,
            transport: match listener.protocol {
                Protocol::Udp | Protocol::Dtls => turn_probe::Transport::Udp,
                Protocol::Tcp | Protocol::Tls | Protocol::Auto => turn_probe::Transport::Tcp,
            },
            credentials: [first?, second?],
            limit: PROBE_LIMIT,
            bind: None,
            relayed_at: None,
        })
    }

    /// The local address of the relayed addresses that clients of a listener at `local` get.
    #[must_use]
    pub fn relays_from(&self, local: IpAddr) -> IpAddr {
        let family = self.addresses.iter().find(|own| own.local.is_ipv4() == local.is_ipv4());
        family.map_or(local, |own| own.local)
    }
}

/// How much of a new configuration a running relay has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// All of it.
    All,
    /// Not the fields that need a restart.
    RestartNeeded,
}

/// The addresses to listen on and to relay from. Where a public address stands on this machine too,
/// both are listened on; where a NAT stands between, the local one stands for it.
fn relay_addresses(config: &Config, local: &[IpAddr]) -> Result<Vec<RelayAddress>, StartError> {
    let local = if local.is_empty() { &config.addresses } else { local };
    if local.is_empty() {
        return Err(StartError::NoAddress);
    }
    let mut addresses: Vec<RelayAddress> = Vec::new();
    for &local in local {
        if !is_local(local) {
            return Err(StartError::NotLocal(local));
        }
        let external = config.external_address(local);
        if external != local && is_local(external) {
            addresses.push(RelayAddress { local: external, external });
        }
        addresses.push(RelayAddress { local, external });
    }
    addresses.dedup();
    Ok(addresses)
}

fn listeners(
    config: &Config,
    addresses: &[RelayAddress],
) -> (Vec<ListenerSpec>, Vec<ListenerStatus>) {
    let mut specs = Vec::new();
    let mut listeners = Vec::new();
    for address in addresses {
        for listener in &config.listeners {
            let transport = match listener.protocol {
                Protocol::Udp | Protocol::Dtls => Transport::Udp,
                Protocol::Tcp | Protocol::Tls | Protocol::Auto => Transport::Tcp,
            };
            let local = SocketAddr::new(address.local, listener.port);
            specs.push(ListenerSpec { name: listener.name.clone(), transport, address: local });
            listeners.push(ListenerStatus {
                name: listener.name.clone(),
                protocol: listener.protocol,
                address: local,
                external_address: SocketAddr::new(address.external, listener.port),
            });
        }
    }
    (specs, listeners)
}

/// One worker for each core that the process may use, by its affinity and its cgroup's quota.
fn worker_count(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    config.workers.map_or_else(cores, usize::from)
}

fn random() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    Ok(seed)
}
