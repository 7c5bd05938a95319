//! One run: everything that happens, from a seed.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use turn_auth::{PasswordAlgorithm, UnixSeconds};
use turn_proto::{Counters, Transport};

use crate::{
    link::Link,
    network::{Event, Network},
    oracle::Broken,
    person::{Birth, Person, Wish},
    prober::{Credential, Deed, Prober},
    relay::{Relay, Sent, five_tuple},
    rules::Rules,
    stranger::Stranger,
};

/// How long people may come and talk.
const OPEN_FOR: Duration = Duration::from_secs(5400);

/// How long after that nothing can be left: the longest lifetime, and some.
const EMPTY_AFTER: Duration = Duration::from_secs(3700);

/// How often the relay's owner does something, at most.
const OPERATIONS: u32 = 8;

/// What happened in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events.
    pub steps: u64,
    /// Datagrams that clients got back from their peers.
    pub echoed: u64,
    /// What the relay has counted.
    pub counters: Counters,
}

impl Summary {
    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.echoed += other.echoed;
        self.counters.merge(&other.counters);
    }
}

struct World {
    now: Instant,
    start: Instant,
    rng: StdRng,
    network: Network,
    relay: Relay,
    people: Vec<Person>,
    probers: Vec<Prober>,
    stranger: Stranger,
    peers: Vec<SocketAddr>,
    link: Link,
    /// Operations that are still to come.
    operations: u32,
    steps: u64,
}

/// Runs a seed to its end.
///
/// # Errors
/// What was broken, and when.
pub fn run(seed: u64) -> Result<Summary, String> {
    let start = Instant::now();
    let mut world = World::new(seed, start);
    let end = start + OPEN_FOR + EMPTY_AFTER;
    let broken = |world: &World, broken: Broken| {
        let after = world.now.duration_since(start);
        format!("seed {seed}, step {}, after {after:?}: {broken}", world.steps)
    };
    while world.step(end).map_err(|error| broken(&world, error))? {}
    let counters = world.relay.is_as_new(end).map_err(|error| broken(&world, error))?;
    let echoed = world.people.iter().map(|person| person.echoed).sum();
    Ok(Summary { steps: world.steps, echoed, counters })
}

/// What the relay is told at its start.
fn rules(rng: &mut impl Rng) -> Rules {
    Rules {
        generations: vec![0],
        per_user: rng.random_range(2..5),
        in_all: rng.random_range(6..20),
        denied: Vec::new(),
        draining: false,
        sibling: rng.random::<bool>().then(|| SocketAddr::from(([198, 51, 100, 2], 3478))),
        idle: rng.random::<bool>().then(|| Duration::from_secs(rng.random_range(1..300))),
    }
}

impl World {
    fn new(seed: u64, start: Instant) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let v4 = (1..=4_u8).map(|n| SocketAddr::from(([8, 8, 8, n], 4000 + u16::from(n))));
        let v6 =
            (1..=2_u16).map(|n| SocketAddr::from(([0x2001, 0x4860, 0, 0, 0, 0, 0, n], 5000 + n)));
        let mut peers: Vec<_> = v4.chain(v6).collect();
        // Two programs of one host.
        peers.push(SocketAddr::new(peers[0].ip(), 4010));
        let rules = rules(&mut rng);
        let relay = Relay::new(start, rng.random(), rules);
        let link = Link::random(&mut rng);
        let mut world = Self {
            now: start,
            start,
            network: Network::default(),
            relay,
            people: Vec::new(),
            probers: Vec::new(),
            stranger: Stranger::default(),
            peers,
            link,
            operations: rng.random_range(..=OPERATIONS),
            steps: 0,
            rng,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        for index in 0..self.rng.random_range(1..16) {
            let at = self.sometime();
            self.network.at(at, Event::Wake(index));
            let person = self.person(1000 + u16::try_from(index).unwrap_or_default(), 0);
            self.people.push(person);
        }
        for index in 0..self.rng.random_range(1..6) {
            let at = self.sometime();
            self.network.at(at, Event::Probe(index));
            let prober = self.prober(u16::try_from(index).unwrap_or_default());
            self.probers.push(prober);
        }
        for _ in 0..self.operations {
            let at = self.sometime();
            self.network.at(at, Event::Operate);
        }
    }

    /// A moment while people come.
    fn sometime(&mut self) -> Instant {
        self.start + OPEN_FOR.mul_f64(self.rng.random::<f64>() * 0.7)
    }

    fn expiry(&mut self) -> UnixSeconds {
        let now = self.relay.moment(self.now).unix;
        UnixSeconds(now.0 + self.rng.random_range(60..9000))
    }

    fn person(&mut self, port: u16, generation: u8) -> Person {
        let net = self.rng.random_range(4..6);
        let birth = Birth {
            address: SocketAddr::from(([8, 8, 4, net], port)),
            user: self.rng.random_range(..6),
            peers: self.peers.clone(),
            expires_at: self.expiry(),
            generation,
        };
        Person::new(birth, &mut self.rng)
    }

    fn prober(&mut self, index: u16) -> Prober {
        let transport =
            [Transport::Udp, Transport::Udp, Transport::Tcp][self.rng.random_range(..3_usize)];
        // Behind the same NAT as people.
        let address = |second| {
            five_tuple(SocketAddr::from(([8, 8, 4, 4], 3000 + 2 * index + second)), transport)
        };
        let mut credentials = Vec::new();
        for user in [index, index, self.rng.random_range(..6)] {
            let algorithm = [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256]
                [self.rng.random_range(..2_usize)];
            let expires_at = self.expiry();
            credentials.push(Credential::new(user, 0, algorithm, expires_at));
        }
        let until = self.start + OPEN_FOR;
        let peers = self.peers.clone();
        Prober::new([address(0), address(1)], credentials, peers, until)
    }

    /// The next thing that happens; whether there is one.
    fn step(&mut self, end: Instant) -> Result<bool, Broken> {
        let next = [self.network.next_at(), self.relay.next_at()].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= end) else { return Ok(false) };
        self.now = self.now.max(next);
        self.steps += 1;
        if self.relay.next_at().is_some_and(|due| due <= self.now) {
            // Later than the server wishes, as a busy machine is.
            if self.rng.random_range(..50_u32) == 0 {
                self.now += Duration::from_millis(self.rng.random_range(1..90));
            }
            self.relay.pass(self.now)?;
        }
        if self.network.next_at().is_some_and(|at| at <= self.now)
            && let Some(event) = self.network.pop()
        {
            self.happen(event)?;
        }
        Ok(true)
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Wake(index) => self.wake(index),
            Event::Probe(index) => return self.probe(index),
            Event::Operate => return self.operate(),
            Event::Disconnect(client) => return self.relay.disconnects(self.now, &client),
            Event::AtListener { from, bytes } => {
                self.stranger.hear(from, &bytes);
                let sent = self.relay.hears_client(self.now, &from, &bytes)?;
                self.carry(sent);
            }
            Event::AtRelayed { to, from, bytes } => {
                let sent = self.relay.hears_peer(self.now, to, from, &bytes)?;
                self.carry(sent);
            }
            Event::AtPeer { to, from, bytes } => return self.at_peer(to, from, bytes),
            Event::AtClient { to, bytes } => {
                if let Some(index) = self.people.iter().position(|person| person.address == to) {
                    let wish = self.people[index].hear(self.now, &bytes);
                    self.grant(index, wish);
                }
            }
        }
        Ok(())
    }

    fn wake(&mut self, index: usize) {
        let wish = self.people[index].wake(self.now, &mut self.rng);
        self.grant(index, wish);
        if self.rng.random_range(..4_u32) == 0 {
            self.strange();
        }
        if self.rng.random_range(..60_u32) == 0 {
            self.rebind(index);
        }
    }

    /// A NAT gives somebody a new port: a fresh one, or one that another had before.
    fn rebind(&mut self, index: usize) {
        let port = if self.rng.random() {
            self.rng.random_range(5000..6000)
        } else {
            1000 + self.rng.random_range(..20_u16)
        };
        let address = SocketAddr::new(self.people[index].ip(), port);
        let in_use = |person: &Person| person.address.client.0 == address && !person.gone;
        if !self.people.iter().any(in_use) {
            self.people[index].moves(address);
        }
    }

    /// Datagrams of a prober arrive when it wants them to.
    fn probe(&mut self, index: usize) -> Result<(), Broken> {
        let others: Vec<_> = self.people.iter().map(|person| person.address).collect();
        let oracle = &self.relay.oracle;
        let (deeds, next) = self.probers[index].probe(self.now, oracle, &others, &mut self.rng);
        for deed in deeds {
            match deed {
                Deed::Say(from, bytes) => {
                    self.stranger.hear(from, &bytes);
                    let sent = self.relay.hears_client(self.now, &from, &bytes)?;
                    if let Some(Sent::ToClient { bytes, .. }) = &sent {
                        self.probers[index].hear(bytes);
                    }
                    self.carry(sent);
                }
                Deed::Peer { from, to } => {
                    let sent = self.relay.hears_peer(self.now, to, from, b"knock")?;
                    self.carry(sent);
                }
                Deed::Disconnect(client) => self.relay.disconnects(self.now, &client)?,
            }
        }
        if let Some(at) = next {
            self.network.at(at, Event::Probe(index));
        }
        Ok(())
    }

    /// The relay's owner does something.
    fn operate(&mut self) -> Result<(), Broken> {
        match self.rng.random_range(..9_u32) {
            8 => {
                let transport = [Transport::Udp, Transport::Tcp][self.rng.random_range(..2_usize)];
                self.relay.changes_listener(self.now, transport)?;
            }
            0..=2 => self.relay.reload(|rules| {
                let newest = rules.generations[0];
                rules.generations = vec![newest + 1, newest];
            }),
            3 | 4 => {
                let denied = self.peers[self.rng.random_range(..self.peers.len())].ip();
                self.relay.reload(|rules| rules.denied = vec![denied]);
            }
            5 => {
                let per_user = self.rng.random_range(1..4);
                self.relay.reload(|rules| rules.per_user = per_user);
            }
            6 => self.relay.reload(|rules| rules.draining = true),
            _ => {
                self.relay.restart(self.now, self.rng.random())?;
                let connected = |person: &&mut Person| person.address.transport == Transport::Tcp;
                self.people.iter_mut().filter(connected).for_each(|person| person.gone = true);
            }
        }
        // Somebody comes with a new credential.
        let generation = self.relay.oracle.rules.generations[0];
        let index = self.people.len();
        let person = self.person(1000 + u16::try_from(index).unwrap_or_default(), generation);
        self.people.push(person);
        self.network.at(self.now + Duration::from_secs(1), Event::Wake(index));
        Ok(())
    }

    /// A peer sends back what it gets; or its host says that there is no such peer.
    fn at_peer(&mut self, to: SocketAddr, from: SocketAddr, bytes: Vec<u8>) -> Result<(), Broken> {
        if crate::rules::ADDRESSES.contains(&to.ip()) {
            let sent = self.relay.hears_peer(self.now, to, from, &bytes)?;
            self.carry(sent);
        } else if self.rng.random_range(..20_u32) == 0 {
            let sent = self.relay.hears_icmp(self.now, from, to)?;
            self.carry(sent);
        } else {
            self.under_way(Transport::Udp, Event::AtRelayed { to: from, from: to, bytes });
        }
        Ok(())
    }

    fn grant(&mut self, index: usize, wish: Wish) {
        let from = self.people[index].address;
        for bytes in wish.messages {
            self.under_way(from.transport, Event::AtListener { from, bytes });
        }
        if wish.disconnects {
            self.under_way(Transport::Tcp, Event::Disconnect(from));
        }
        if let Some(at) = wish.wake_at {
            self.network.at(at, Event::Wake(index));
        }
    }

    fn carry(&mut self, sent: Option<Sent>) {
        match sent {
            Some(Sent::ToClient { to, bytes }) => {
                self.under_way(to.transport, Event::AtClient { to, bytes });
            }
            Some(Sent::ToPeer { from, to, bytes }) => {
                self.under_way(Transport::Udp, Event::AtPeer { to, from, bytes });
            }
            None => {}
        }
    }

    /// Somebody sends what it should not, to the listener and to relayed addresses.
    fn strange(&mut self) {
        let from = match self.rng.random_range(..2_u32) {
            0 => self.peers[self.rng.random_range(..self.peers.len())],
            _ => SocketAddr::from(([8, 8, 8, self.rng.random()], self.rng.random())),
        };
        let relayed = self.relay.oracle.relayed();
        if !relayed.is_empty() {
            let to = relayed[self.rng.random_range(..relayed.len())];
            let bytes = b"let me in".to_vec();
            self.under_way(Transport::Udp, Event::AtRelayed { to, from, bytes });
        }
        for (from, bytes) in self.stranger.speak(&mut self.rng) {
            self.under_way(Transport::Udp, Event::AtListener { from, bytes });
        }
    }

    fn under_way(&mut self, transport: Transport, event: Event) {
        let arrivals: Vec<_> = self.link.arrivals(transport, &mut self.rng).collect();
        for late in arrivals {
            self.network.at(self.now + late, event.clone());
        }
    }
}
