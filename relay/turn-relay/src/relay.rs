//! A running relay.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use relay_config::{Config, Protocol};
use turn_auth::{TimeLimitedCredential, UnixSeconds};
use turn_net::{
    BindError, Identity, ListenerSpec, Snapshot, Terms, WorkerLost, Workers, bind, is_local,
};
use turn_probe::{Credentials, CredentialsError, Target, Transport, Trust};
use turn_proto::{ClientNetworks, Ledger, PortRange, RelayAddress};

use crate::{
    CertificateError, SecretError, certificate,
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
    /// A secret cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificate cannot be had.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
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

impl From<ApplyError> for StartError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Secret(error) => Self::Secret(error),
            ApplyError::Certificate(error) => Self::Certificate(error),
            ApplyError::Bind(error) => Self::Bind(error),
        }
    }
}

/// Why a running relay does not take a new configuration.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A secret cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificate cannot be had.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A new listener cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// A running relay. Dropped, it ends at once.
#[derive(Debug)]
pub struct Relay {
    /// What it was started with of the fields that need a restart.
    restart_digest: String,
    relay_ports: relay_config::PortRange,
    addresses: Vec<RelayAddress>,
    workers: Workers,
    ledger: Arc<Ledger>,
    current: Mutex<Current>,
    readiness: Mutex<Readiness>,
}

/// What a relay goes by now.
#[derive(Debug)]
struct Current {
    config: Arc<Config>,
    secrets: Secrets,
    identity: Option<Identity>,
    specs: Arc<[ListenerSpec]>,
    listeners: Arc<[ListenerStatus]>,
}

impl Current {
    /// Reads the files that a configuration names.
    fn read(config: Arc<Config>, addresses: &[RelayAddress]) -> Result<Self, ApplyError> {
        let secrets = Secrets::read(&config)?;
        let identity = certificate::read(&config)?;
        let (specs, listeners) = listeners(&config, addresses);
        Ok(Self { config, secrets, identity, specs: specs.into(), listeners: listeners.into() })
    }

    fn terms(&self, addresses: &[RelayAddress], workers: usize) -> Terms {
        Terms {
            settings: Arc::new(settings(&self.config, &self.secrets, addresses, workers)),
            limits: stream_limits(&self.config, workers),
            identity: self.identity.clone(),
        }
    }
}

impl Relay {
    /// Opens the listeners of `config` on `addresses` and starts the workers.
    ///
    /// # Errors
    /// When a secret, a certificate, an address or a listener is not to be had.
    pub fn start(config: Config, addresses: &[IpAddr]) -> Result<Self, StartError> {
        let addresses = relay_addresses(&config, addresses)?;
        let count = worker_count(&config);
        let current = Current::read(Arc::new(config), &addresses)?;
        let config = &current.config;
        let bound = bind(&current.specs, count)?;
        let relay_ports = PortRange { from: config.relay_ports.from, to: config.relay_ports.to };
        let seed = random().map_err(StartError::Workers)?;
        let table_seed = u64::from_le_bytes(*seed.first_chunk().unwrap_or(&[0; 8]));
        let ledger =
            Arc::new(Ledger::new(addresses.clone(), relay_ports, table_seed, Instant::now()));
        let terms = current.terms(&addresses, count);
        let workers =
            Workers::start(bound, &terms, &ledger, random).map_err(StartError::Workers)?;
        Ok(Self {
            restart_digest: config.restart_digest(),
            relay_ports: config.relay_ports,
            addresses,
            workers,
            ledger,
            current: Mutex::new(current),
            readiness: Mutex::new(Readiness::starting()),
        })
    }

    /// Takes what a running relay can of a new configuration: all but a few fields, which need a
    /// restart. Whether it has everything then.
    ///
    /// A listener that is no longer named is closed, and its clients lose their allocations; no other
    /// allocation is lost.
    ///
    /// # Errors
    /// When a secret, a certificate or a port is not to be had; nothing has changed then.
    pub fn apply(&self, config: &Config) -> Result<Applied, ApplyError> {
        let new = Current::read(Arc::new(config.clone()), &self.addresses)?;
        let mut current = self.current();
        let is_open =
            |new: &&ListenerSpec| current.specs.iter().any(|spec| spec.socket() == new.socket());
        let added: Vec<_> = new.specs.iter().filter(|spec| !is_open(spec)).cloned().collect();
        let count = self.workers.len();
        let bound = bind(&added, count)?;
        self.workers.apply(&new.terms(&self.addresses, count), &new.specs, bound);
        log_changes(&current.listeners, &new.listeners);
        *current = new;
        Ok(if config.restart_digest() == self.restart_digest {
            Applied::All
        } else {
            Applied::RestartNeeded
        })
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The configuration that it goes by. The fields that need a restart may have other values than
    /// those that hold.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.current().config)
    }

    /// What relayed transport addresses are made of.
    #[must_use]
    pub const fn relay_ports(&self) -> relay_config::PortRange {
        self.relay_ports
    }

    /// Where it listens.
    #[must_use]
    pub fn listeners(&self) -> Arc<[ListenerStatus]> {
        Arc::clone(&self.current().listeners)
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

    /// From which networks clients have allocated.
    #[must_use]
    pub fn client_networks(&self) -> ClientNetworks {
        self.ledger.client_networks()
    }

    /// How many connections to peers there are: being made, waiting for their clients, and bound.
    #[must_use]
    pub fn peer_connections(&self) -> usize {
        self.ledger.peer_connections()
    }

    /// How many allocations may move with their clients.
    #[must_use]
    pub fn mobile_allocations(&self) -> usize {
        self.ledger.mobile_allocations()
    }

    /// A username and a password that this relay accepts: time-limited where it has a shared secret,
    /// else those of its first user.
    #[must_use]
    pub fn own_credential(&self, user: &str, expires_at: UnixSeconds) -> (String, String) {
        let current = self.current();
        let secrets = &current.secrets;
        if let (Some(secret), Some(hash)) = (secrets.shared.first(), secrets.hashes.last()) {
            let minted = TimeLimitedCredential::mint_with(*hash, secret, user, expires_at);
            return (minted.username, minted.password);
        }
        // A configuration without a shared secret has a user.
        secrets.users.first().map_or_else(Default::default, |(name, password)| {
            (name.clone(), String::from_utf8_lossy(password.expose()).into_owned())
        })
    }

    /// Whether a holder of the fleet's secret has signed an order to probe.
    #[must_use]
    pub fn verify_probe_order(&self, signature: &str, body: &[u8], now: UnixSeconds) -> bool {
        turn_auth::verify_probe_order(&self.current().secrets.shared, signature, body, now)
    }

    /// What probes of one of this relay's listeners are to do: one for each transport that is spoken
    /// there. `users` are the names that they allocate as, `from` is where they come from.
    ///
    /// # Errors
    /// When a name is too long for a USERNAME.
    pub fn probe_targets(
        &self,
        listener: &ListenerStatus,
        users: [&str; 2],
        expires_at: UnixSeconds,
        from: IpAddr,
    ) -> Result<Vec<Target>, CredentialsError> {
        let [first, second] = users.map(|user| {
            let (name, password) = self.own_credential(user, expires_at);
            Credentials::new(name, password)
        });
        let credentials = [first?, second?];
        let target = |transport: &Transport| Target {
            last: turn_probe::Stage::Refresh,
            server: listener.external_address,
            transport: *transport,
            credentials: credentials.clone(),
            limit: PROBE_LIMIT,
            bind: None,
            relayed_at: None,
            relay_ports: [None; 2],
            trust: self.trust(),
            as_proxy: listener.proxy_protocol.iter().any(|range| range.contains(&from)),
        };
        Ok(transports(listener.protocol).iter().map(target).collect())
    }

    /// The holder of this relay's certificate, and nobody else.
    fn trust(&self) -> Option<Trust> {
        let leaf = self.current().identity.as_ref()?.leaf().clone();
        // Fails only where the relay itself could not have taken the certificate.
        Trust::exactly(leaf).ok()
    }

    /// The local address of the relayed addresses that clients of a listener at `local` get.
    #[must_use]
    pub fn relays_from(&self, local: IpAddr) -> IpAddr {
        let family = self.addresses.iter().find(|own| own.local.is_ipv4() == local.is_ipv4());
        family.map_or(local, |own| own.local)
    }
}

/// What can be spoken to a listener.
const fn transports(protocol: Protocol) -> &'static [Transport] {
    match protocol {
        Protocol::Udp => &[Transport::Udp],
        Protocol::Tcp => &[Transport::Tcp],
        Protocol::Tls => &[Transport::Tls],
        Protocol::Dtls => &[Transport::Dtls],
        Protocol::Auto => &[Transport::Tcp, Transport::Tls],
    }
}

/// Says which listeners have come and which have gone.
fn log_changes(before: &[ListenerStatus], after: &[ListenerStatus]) {
    for gone in before.iter().filter(|listener| !after.contains(listener)) {
        let ListenerStatus { name, protocol, address, .. } = gone;
        tracing::info!(name, %protocol, %address, "no longer listening");
    }
    for come in after.iter().filter(|listener| !before.contains(listener)) {
        come.log();
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
            let local = SocketAddr::new(address.local, listener.port);
            specs.push(ListenerSpec {
                name: listener.name.clone(),
                protocol: protocol(listener.protocol),
                address: local,
                proxies: listener.proxy_protocol.clone(),
            });
            listeners.push(ListenerStatus {
                name: listener.name.clone(),
                protocol: listener.protocol,
                address: local,
                external_address: SocketAddr::new(address.external, listener.port),
                proxy_protocol: listener.proxy_protocol.clone(),
            });
        }
    }
    (specs, listeners)
}

const fn protocol(protocol: Protocol) -> turn_net::Protocol {
    match protocol {
        Protocol::Udp => turn_net::Protocol::Udp,
        Protocol::Tcp => turn_net::Protocol::Tcp,
        Protocol::Tls => turn_net::Protocol::Tls,
        Protocol::Dtls => turn_net::Protocol::Dtls,
        Protocol::Auto => turn_net::Protocol::Auto,
    }
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
