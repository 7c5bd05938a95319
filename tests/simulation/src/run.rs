//! One run: everything that happens, from a seed.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use turn_auth::UnixSeconds;

use crate::{
    link::Link,
    network::{Event, Network},
    oracle::Broken,
    person::{Person, Wish},
    relay::{Relay, Sent, listener},
};

/// How long people may come and talk.
const OPEN_FOR: Duration = Duration::from_secs(3600);

/// How long after that nothing can be left: the longest lifetime, and some.
const EMPTY_AFTER: Duration = Duration::from_secs(2 * 3600);

/// What happened in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events.
    pub steps: u64,
    /// Datagrams that went to peers.
    pub to_peers: u64,
    /// Datagrams that went to clients.
    pub to_clients: u64,
    /// Datagrams that clients got back from their peers.
    pub echoed: u64,
}

struct World {
    now: Instant,
    rng: StdRng,
    network: Network,
    relay: Relay,
    people: Vec<Person>,
    peers: Vec<SocketAddr>,
    link: Link,
    rotations: u8,
    rotate_at: Instant,
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
    let [to_peers, to_clients] = world.relay.is_as_new().map_err(|error| broken(&world, error))?;
    let echoed = world.people.iter().map(|person| person.echoed).sum();
    Ok(Summary { steps: world.steps, to_peers, to_clients, echoed })
}

impl World {
    fn new(seed: u64, start: Instant) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let peers: Vec<_> =
            (1..=5).map(|n| SocketAddr::from(([8, 8, 8, n], 4000 + u16::from(n)))).collect();
        let relay = Relay::new(start, rng.random());
        let mut network = Network::default();
        let count = rng.random_range(2..24);
        let people: Vec<_> = (0..count)
            .map(|index| {
                let user = rng.random_range(..8);
                let expires_at = UnixSeconds(relay.unix(start).0 + rng.random_range(60..7200));
                let at = start + OPEN_FOR.mul_f64(rng.random::<f64>() * 0.7);
                network.at(at, Event::Wake(index));
                let index = u16::try_from(index).unwrap_or(u16::MAX);
                Person::new(index, user, peers.clone(), expires_at, &mut rng)
            })
            .collect();
        let link = Link::random(&mut rng);
        let rotate_at = start + OPEN_FOR.mul_f64(rng.random());
        Self {
            now: start,
            network,
            relay,
            people,
            peers,
            link,
            rotations: 0,
            rotate_at,
            steps: 0,
            rng,
        }
    }

    /// The next thing that happens; whether there is one.
    fn step(&mut self, end: Instant) -> Result<bool, Broken> {
        let next = [self.network.next_at(), self.relay.next_at()].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= end) else { return Ok(false) };
        self.now = self.now.max(next);
        self.steps += 1;
        if self.rotations == 0 && self.now >= self.rotate_at {
            self.rotations = 1;
            self.relay.rotate(1);
        }
        // Later than the server wishes, as a busy machine is.
        if self.relay.next_at().is_some_and(|due| due <= self.now) {
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
            Event::Wake(index) => {
                if let Some(person) = self.people.get_mut(index) {
                    let wish = person.wake(self.now, &mut self.rng);
                    self.grant(index, wish);
                }
                if self.rng.random_range(..4_u32) == 0 {
                    self.strange();
                }
            }
            Event::AtListener { from, bytes } => {
                let sent = self.relay.hears_client(self.now, from, &bytes)?;
                self.carry(sent);
            }
            Event::AtRelayed { to, from, bytes } => {
                let sent = self.relay.hears_peer(self.now, to, from, &bytes)?;
                self.carry(sent);
            }
            Event::AtHost { to, from, bytes } if self.peers.contains(&to) => {
                // A peer sends back what it gets.
                let event = Event::AtRelayed { to: from, from: to, bytes };
                self.under_way(event);
            }
            Event::AtHost { to, bytes, .. } => {
                let index = self.people.iter().position(|person| person.address == to);
                if let Some(index) = index {
                    let wish = self.people[index].hear(self.now, &bytes)?;
                    self.grant(index, wish);
                }
            }
        }
        Ok(())
    }

    fn grant(&mut self, index: usize, wish: Wish) {
        let from = self.people[index].address;
        for bytes in wish.messages {
            self.under_way(Event::AtListener { from, bytes });
        }
        if let Some(at) = wish.wake_at {
            self.network.at(at, Event::Wake(index));
        }
    }

    fn carry(&mut self, sent: Vec<Sent>) {
        for sent in sent {
            self.under_way(match sent {
                Sent::ToClient { to, bytes } => Event::AtHost { to, from: listener(), bytes },
                Sent::ToPeer { from, to, bytes } => Event::AtHost { to, from, bytes },
            });
        }
    }

    /// Somebody sends what it should not: noise, from anywhere, to listener and relayed addresses.
    fn strange(&mut self) {
        let mut bytes = vec![0; self.rng.random_range(..120_usize)];
        self.rng.fill_bytes(&mut bytes);
        let someone = self.rng.random_range(..self.people.len());
        let from = match self.rng.random_range(..3_u32) {
            0 => self.people[someone].address,
            1 => self.peers[0],
            _ => SocketAddr::from(([8, 8, 8, self.rng.random()], self.rng.random())),
        };
        let port = self.rng.random_range(61_000..61_020);
        let to = SocketAddr::new(listener().ip(), port);
        self.under_way(Event::AtRelayed { to, from, bytes: bytes.clone() });
        self.under_way(Event::AtListener { from, bytes });
    }

    fn under_way(&mut self, event: Event) {
        let arrivals: Vec<_> = self.link.arrivals(&mut self.rng).collect();
        for late in arrivals {
            self.network.at(self.now + late, event.clone());
        }
    }
}
