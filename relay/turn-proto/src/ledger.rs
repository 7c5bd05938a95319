//! What the shards of one relay have in common: ports and quotas.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rand::CryptoRng;
use turn_auth::Authenticated;

use crate::{
    Limits, Refusal, RelayAddress,
    meter::Meters,
    networks::{ClientNetworks, Networks},
    peer_connection::PeerConnections,
    port_allocator::{Parity, PortAllocator, PortRange},
    probe_user::{self, MAX_ALLOCATIONS_PER_USER, is_probe},
    relayed_address::RelayedTransport,
    ticket::Tickets,
};

/// Ports and quotas of a relay, shared by its shards.
///
/// Asked when an allocation is made and when it ends. The one thing that the data path reads,
/// whether a port of our own is a live relayed address, is a bit that is read without a lock.
#[derive(Debug)]
pub struct Ledger {
    addresses: Vec<RelayAddress>,
    range: PortRange,
    books: Mutex<Books>,
    /// A bit for each port of each address.
    live: Vec<Live>,
    allocations: AtomicU32,
    start: Instant,
    /// What the relay has relayed.
    meters: Meters,
    peer_connections: PeerConnections,
    tickets: Tickets,
    networks: Mutex<Networks>,
}

/// Which ports of an address are live relayed addresses: a port of UDP is not one of TCP.
#[derive(Debug)]
struct Live {
    udp: Box<[AtomicU64]>,
    tcp: Box<[AtomicU64]>,
}

impl Live {
    fn new() -> Self {
        let words = || (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Self { udp: words(), tcp: words() }
    }
}

#[derive(Debug)]
struct Books {
    /// One for each address.
    ports: Vec<PortAllocator>,
    users: HashMap<String, Account, FixedState>,
    allocations: u32,
    /// Those of them that are probers'.
    probes: u32,
    /// Ports that are kept for whoever brings the token.
    reservations: HashMap<[u8; 8], Reservation, FixedState>,
}

/// What one user holds.
#[derive(Debug, Default)]
struct Account {
    charges: u32,
    meters: Arc<Meters>,
}

#[derive(Debug)]
struct Reservation {
    port: HeldPort,
    /// Whom it is charged to, and who alone may have it.
    user: String,
}

impl Books {
    fn discharge(&mut self, user: &str) {
        if let Some(account) = self.users.get_mut(user) {
            account.charges -= 1;
            if account.charges == 0 {
                self.users.remove(user);
            }
        }
    }
}

/// A port that one allocation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldPort {
    /// Which of the relay's addresses.
    pub(crate) address: usize,
    pub(crate) port: u16,
}

impl HeldPort {
    /// The next higher port of the same address.
    pub(crate) const fn next(self) -> Self {
        Self { address: self.address, port: self.port + 1 }
    }
}

const WORDS: usize = 65_536 / 64;

impl Ledger {
    /// The books of a relay that makes relayed transport addresses of `addresses` and `range`. The
    /// seed keys the table of users; times are counted from `start`.
    #[must_use]
    pub fn new(addresses: Vec<RelayAddress>, range: PortRange, seed: u64, start: Instant) -> Self {
        let live = addresses.iter().map(|_| Live::new());
        let books = Books {
            ports: addresses.iter().map(|_| PortAllocator::new(range)).collect(),
            users: HashMap::with_hasher(FixedState::with_seed(seed)),
            allocations: 0,
            probes: 0,
            reservations: HashMap::with_hasher(FixedState::with_seed(seed)),
        };
        Self {
            live: live.collect(),
            books: Mutex::new(books),
            addresses,
            range,
            allocations: AtomicU32::new(0),
            start,
            meters: Meters::default(),
            peer_connections: PeerConnections::new(FixedState::with_seed(seed)),
            tickets: Tickets::new(FixedState::with_seed(seed)),
            networks: Mutex::default(),
        }
    }

    /// The addresses that relayed transport addresses are made of.
    #[must_use]
    pub fn addresses(&self) -> &[RelayAddress] {
        &self.addresses
    }

    /// The ports that relayed transport addresses are made of.
    #[must_use]
    pub const fn port_range(&self) -> PortRange {
        self.range
    }

    /// How many allocations there are, over all shards.
    #[must_use]
    pub fn allocations(&self) -> u32 {
        self.allocations.load(Ordering::Relaxed)
    }

    /// How many ports are free, over all addresses.
    #[must_use]
    pub fn free_ports(&self) -> usize {
        self.books().ports.iter().map(PortAllocator::free).sum()
    }

    /// From which networks clients have allocated.
    #[must_use]
    pub fn client_networks(&self) -> ClientNetworks {
        self.networks().counted()
    }

    pub(crate) fn networks(&self) -> MutexGuard<'_, Networks> {
        // As with the books.
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges a user with one allocation; with a reservation too, if one comes with it.
    pub(crate) fn charge(
        &self,
        client: &Authenticated,
        limits: &Limits,
        reserve: bool,
    ) -> Result<Arc<Meters>, Refusal> {
        let (user, is_probe) = (client.user.as_str(), is_probe(client));
        let most = if is_probe { MAX_ALLOCATIONS_PER_USER } else { limits.allocations_per_user };
        let mut books = self.books();
        if books.allocations >= limits.allocations {
            return Err(Refusal::InsufficientCapacity);
        }
        let charges = 1 + u32::from(reserve);
        let held = books.users.get(user).map_or(0, |account| account.charges);
        if held + charges > most || is_probe && books.probes >= probe_user::MAX_ALLOCATIONS {
            return Err(Refusal::AllocationQuotaReached);
        }
        let account = books.users.entry_ref(user).or_default();
        account.charges += charges;
        let meters = Arc::clone(&account.meters);
        books.allocations += 1;
        books.probes += u32::from(is_probe);
        self.publish(&books);
        Ok(meters)
    }

    /// Takes the charge of an allocation back.
    pub(crate) fn discharge(&self, client: &Authenticated) {
        let mut books = self.books();
        books.discharge(&client.user);
        books.allocations = books.allocations.saturating_sub(1);
        books.probes = books.probes.saturating_sub(u32::from(is_probe(client)));
        self.publish(&books);
    }

    /// Takes the charge of a reservation back that was not made after all.
    pub(crate) fn discharge_reservation(&self, user: &str) {
        self.books().discharge(user);
    }

    /// Keeps a port for whoever brings the token. It has been charged with the allocation that it
    /// came with.
    pub(crate) fn reserve(&self, token: [u8; 8], port: HeldPort, user: &str) {
        let reservation = Reservation { port, user: user.to_owned() };
        self.books().reservations.insert(token, reservation);
    }

    /// Gives a reserved port to the user that reserved it. The reservation's charge is the
    /// allocation's from now on.
    pub(crate) fn redeem(
        &self,
        token: [u8; 8],
        user: &str,
        limits: &Limits,
    ) -> Result<(HeldPort, Arc<Meters>), Refusal> {
        let mut books = self.books();
        let kept = books.reservations.get(&token).filter(|kept| kept.user == user);
        let port = kept.map(|kept| kept.port).ok_or(Refusal::InsufficientCapacity)?;
        if books.allocations >= limits.allocations {
            return Err(Refusal::InsufficientCapacity);
        }
        books.reservations.remove(&token);
        books.allocations += 1;
        self.publish(&books);
        // The reservation's charge kept the account open.
        let account = books.users.entry_ref(user).or_default();
        Ok((port, Arc::clone(&account.meters)))
    }

    /// Nobody has brought the token in time: the port is free again.
    pub(crate) fn release(&self, token: [u8; 8]) {
        let mut books = self.books();
        let Some(Reservation { port, user }) = books.reservations.remove(&token) else { return };
        books.discharge(&user);
        if let Some(ports) = books.ports.get_mut(port.address) {
            ports.give_back(port.port);
        }
    }

    fn publish(&self, books: &Books) {
        self.allocations.store(books.allocations, Ordering::Relaxed);
    }

    /// The address on this machine that a port belongs to.
    pub(crate) fn local(&self, held: HeldPort) -> SocketAddr {
        SocketAddr::new(self.addresses[held.address].local, held.port)
    }

    /// Takes a random free port of an address; of a pair, both, and gives the lower one.
    pub(crate) fn take_port(
        &self,
        address: usize,
        parity: Parity,
        rng: &mut impl CryptoRng,
    ) -> Option<HeldPort> {
        let port = self.books().ports.get_mut(address)?.take(parity, rng)?;
        Some(HeldPort { address, port })
    }

    /// Takes this port of an address, if it is free.
    pub(crate) fn take_this_port(&self, address: usize, port: u16) -> Option<HeldPort> {
        let port = self.books().ports.get_mut(address)?.take_this(port)?;
        Some(HeldPort { address, port })
    }

    /// Gives a port back. It is no live relayed address any more.
    pub(crate) fn give_back(&self, held: HeldPort) {
        self.set_live(held, RelayedTransport::Udp, false);
        self.set_live(held, RelayedTransport::Tcp, false);
        if let Some(ports) = self.books().ports.get_mut(held.address) {
            ports.give_back(held.port);
        }
    }

    /// Says that the socket of a port is open, or that it is not.
    pub(crate) fn set_live(&self, held: HeldPort, transport: RelayedTransport, live: bool) {
        let Some(word) = self.word(held.address, held.port, transport) else { return };
        let bit = 1 << (held.port % 64);
        if live {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Whether this address of ours is a relayed address of a live allocation that relays datagrams.
    /// `None` when the IP address is none of ours.
    #[must_use]
    pub fn is_live(&self, address: &SocketAddr) -> Option<bool> {
        self.is_live_for(address, RelayedTransport::Udp)
    }

    pub(crate) fn is_live_for(
        &self,
        address: &SocketAddr,
        transport: RelayedTransport,
    ) -> Option<bool> {
        let index = self.position(address.ip())?;
        let word = self.word(index, address.port(), transport)?;
        Some(word.load(Ordering::Relaxed) & (1 << (address.port() % 64)) != 0)
    }

    /// Whether relayed transport addresses are made of this address.
    pub(crate) fn is_own(&self, ip: IpAddr) -> bool {
        self.position(ip).is_some()
    }

    fn position(&self, ip: IpAddr) -> Option<usize> {
        self.addresses.iter().position(|own| own.local == ip || own.external == ip)
    }

    /// What the relay as a whole has relayed.
    pub(crate) const fn meters(&self) -> &Meters {
        &self.meters
    }

    /// The time that meters count.
    pub(crate) fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    /// How many connections to peers there are, over all shards: being made, waiting, and bound.
    #[must_use]
    pub fn peer_connections(&self) -> usize {
        self.peer_connections.len()
    }

    /// The connections to peers, of all shards.
    pub(crate) const fn connection_table(&self) -> &PeerConnections {
        &self.peer_connections
    }

    /// How many allocations may move with their clients, over all shards.
    #[must_use]
    pub fn mobile_allocations(&self) -> usize {
        self.tickets.len()
    }

    /// The tickets of allocations that may move, of all shards.
    pub(crate) const fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    fn word(&self, address: usize, port: u16, transport: RelayedTransport) -> Option<&AtomicU64> {
        let live = self.live.get(address)?;
        let words = match transport {
            RelayedTransport::Udp => &live.udp,
            RelayedTransport::Tcp => &live.tcp,
        };
        words.get(usize::from(port) / 64)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing panics while the lock is held; if it ever did, the books are still consistent
        // enough to serve those who are connected.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
