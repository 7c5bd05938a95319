//! What clients do, as the relays count it: it shows what no probe sees, since clients come from where
//! nobody probes. A port that is closed to one network, answers that do not get back to anybody, a
//! listener that nobody finds any more.
//!
//! Relays tell cumulative counts; here they become what came in each five minutes of the last hour.
//! Nothing is judged that few clients do, and nothing alone: it takes others of which it is known at
//! the same time that they are well.

mod counts;
mod fell_silent;
mod gives_up;
mod network;
mod window;
mod without_udp;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
    time::{Duration, Instant},
};

pub use counts::{ByTransport, ClientCounts, ListenerClients, NetworkClients};
pub use network::Network;

use self::{
    counts::MOST_NETWORKS,
    gives_up::GiveUp,
    window::{BUCKET, Bucket, Window},
};
use crate::{Transport, plan::Listener, sign::Sign};

/// How often it is thought over: as often as relays are asked.
const REVIEW_EVERY: Duration = Duration::from_secs(15);
/// How long a sign about a listener lasts at most: by then it is as its owner wants it.
const TOLD_AT_MOST: Duration = Duration::from_secs(86_400);
/// So many allocations in each bucket are a steady stream of clients: that none comes for two buckets
/// happens by chance once in 20,000 times, and less often where the buckets before had so many each.
const STEADY: u64 = 5;

/// A listener, and what is spoken there.
type Key = (Arc<str>, Transport);
/// A listener of a relay.
type Place = (Arc<str>, Key);

/// What came to a listener: in the order of [`ListenerClients::steps`].
type Listeners = BTreeMap<Key, Window<5>>;

/// What clients did at one relay.
#[derive(Debug, Default)]
struct OfRelay {
    last: ClientCounts,
    /// When it was heard last.
    heard_at: Option<Instant>,
    listeners: Listeners,
    networks: BTreeMap<Network, Window<4>>,
    other_networks: Window<4>,
}

/// What is told of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    FellSilent,
    GivesUp(GiveUp),
}

/// What clients do at the relays of a fleet, and what it is a sign of.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    start: Option<Instant>,
    relays: BTreeMap<Arc<str>, OfRelay>,
    /// What is told, and since when.
    told: BTreeMap<Place, (Told, Instant)>,
    told_networks: BTreeSet<Network>,
    reviewed_at: Option<Instant>,
    signs: Vec<Sign>,
}

impl Clients {
    /// Takes what a relay has counted since its start.
    pub(crate) fn record(
        &mut self,
        relay: &Arc<str>,
        counts: &ClientCounts,
        listeners: &[Listener],
        now: Instant,
    ) {
        let bucket = self.bucket(now);
        let of_relay = self.relays.entry(Arc::clone(relay)).or_default();
        of_relay.take(counts, listeners, bucket, now);
    }

    /// Forgets what a relay did: clients are not sent there.
    pub(crate) fn forget(&mut self, relay: &str) {
        self.relays.remove(relay);
        self.told.retain(|(told, _), _| **told != *relay);
    }

    /// Forgets the relays that are no more.
    pub(crate) fn retain(&mut self, relays: &BTreeSet<Arc<str>>) {
        self.relays.retain(|name, _| relays.contains(name));
        self.told.retain(|(relay, _), _| relays.contains(relay));
    }

    /// Thinks it over, from time to time: the listeners of which something new is told.
    pub(crate) fn review(&mut self, listeners: &[Listener], now: Instant) -> Vec<Place> {
        let since = self.reviewed_at.map(|at| now.saturating_duration_since(at));
        if since.is_some_and(|since| since < REVIEW_EVERY) {
            return Vec::new();
        }
        self.reviewed_at = Some(now);
        let bucket = self.bucket(now);
        // Of who is not heard nothing is known, and what was told may be over.
        let is_heard = |of: &OfRelay| {
            of.heard_at.is_some_and(|at| now.saturating_duration_since(at) < BUCKET * 2)
        };
        self.relays.retain(|_, of| is_heard(of));
        let new = self.review_listeners(listeners, bucket, now);
        self.told_networks = without_udp::found(&self.relays, &self.told_networks, bucket);
        self.signs = self.worded(listeners);
        new
    }

    /// What is told.
    pub(crate) fn signs(&self) -> impl Iterator<Item = Sign> {
        self.signs.iter().cloned()
    }

    fn bucket(&mut self, now: Instant) -> Bucket {
        let start = *self.start.get_or_insert(now);
        Bucket::of(now.saturating_duration_since(start))
    }

    fn review_listeners(
        &mut self,
        listeners: &[Listener],
        bucket: Bucket,
        now: Instant,
    ) -> Vec<Place> {
        let before = std::mem::take(&mut self.told);
        let mut new = Vec::new();
        for (relay, of_relay) in &self.relays {
            let known = |key: &&Key| listeners.iter().any(|listener| is_of(listener, key));
            for key in of_relay.listeners.keys().filter(known) {
                let place = (Arc::clone(relay), key.clone());
                let told = before.get(&place).copied();
                if let Some(judged) = self.judge(&place, told, bucket, now) {
                    if told.is_none() {
                        new.push(place.clone());
                    }
                    self.told.insert(place, judged);
                }
            }
        }
        new
    }

    /// What is to be told of a listener.
    fn judge(
        &self,
        place: &Place,
        told: Option<(Told, Instant)>,
        bucket: Bucket,
        now: Instant,
    ) -> Option<(Told, Instant)> {
        let own = self.relays.get(&place.0)?.listeners.get(&place.1)?;
        if let Some((what, since)) = told {
            let lasts = match what {
                Told::FellSilent | Told::GivesUp(GiveUp::AfterBinding) => {
                    fell_silent::lasts(own, bucket)
                }
                Told::GivesUp(GiveUp::AfterChallenge | GiveUp::WrongCredentials) => {
                    gives_up::lasts(own, bucket)
                }
            };
            let is_old = now.saturating_duration_since(since) >= TOLD_AT_MOST;
            return (lasts && !is_old).then_some((what, since));
        }
        let others: Vec<_> = self.comparable(place).collect();
        fell_silent::found(own, &others, bucket)
            .or_else(|| gives_up::found(own, &others, bucket).map(Told::GivesUp))
            .map(|what| (what, now))
    }

    /// With what a listener is compared: the same one of other relays, and the others of its own.
    fn comparable<'a>(
        &'a self,
        (relay, key): &'a Place,
    ) -> impl Iterator<Item = &'a Window<5>> + use<'a> {
        self.relays.iter().flat_map(move |(other_relay, of)| {
            let is_own = other_relay == relay;
            let compared = of.listeners.iter().filter(move |(other, _)| (*other == key) != is_own);
            compared.map(|(_, window)| window)
        })
    }

    fn worded(&self, listeners: &[Listener]) -> Vec<Sign> {
        let of_listener = |((relay, key), (what, _)): (&Place, &(Told, Instant))| {
            let port = listeners.iter().find(|listener| is_of(listener, key))?.port;
            let at = format!("relay {relay} ({} {port})", key.1);
            Some(match what {
                Told::FellSilent => fell_silent::sign_of(&at),
                Told::GivesUp(how) => gives_up::sign_of(*how, &at),
            })
        };
        let of_network = |network: &Network| without_udp::sign_of(*network, listeners);
        let of_networks = self.told_networks.iter().filter_map(of_network);
        self.told.iter().filter_map(of_listener).chain(of_networks).collect()
    }
}

fn is_of(listener: &Listener, (name, transport): &Key) -> bool {
    listener.name == *name && listener.transport == *transport
}

impl OfRelay {
    fn take(&mut self, counts: &ClientCounts, known: &[Listener], bucket: Bucket, now: Instant) {
        let last = std::mem::replace(&mut self.last, counts.clone());
        let is_first = self.heard_at.replace(now).is_none();
        let mut has_restarted = false;
        for listener in &counts.listeners {
            let of = |other: &&Listener| {
                *other.name == *listener.name && other.transport == listener.transport
            };
            let Some(known) = known.iter().find(of) else { continue };
            let window =
                self.listeners.entry((Arc::clone(&known.name), known.transport)).or_default();
            let before = last.steps(&listener.name, listener.transport);
            match before.map(|before| increase(before, listener.steps())) {
                Some(Some(more)) => window.add(bucket, more),
                Some(None) => has_restarted = true,
                // Nobody knows since when it has been counted.
                None => {}
            }
        }
        if !is_first && !has_restarted {
            self.take_networks(counts, &last, bucket);
        }
        self.networks.retain(|_, window| window.is_used(bucket));
    }

    fn take_networks(&mut self, counts: &ClientCounts, last: &ClientCounts, bucket: Bucket) {
        for of in &counts.networks {
            let now = of.allocated.counts();
            // One that was not there before was counted from nothing on, and so was one that the relay
            // has forgotten meanwhile.
            let before = last.network(of.network).unwrap_or_default();
            let more = increase(before, now).unwrap_or(now);
            if more == [0; 4] {
                continue;
            }
            // Who lies has as little room as others.
            let has_room = self.networks.len() < MOST_NETWORKS;
            match self.networks.entry(of.network) {
                Entry::Occupied(known) => known.into_mut().add(bucket, more),
                Entry::Vacant(new) if has_room => new.insert(Window::default()).add(bucket, more),
                Entry::Vacant(_) => self.other_networks.add(bucket, more),
            }
        }
        let (before, now) = (last.other_networks.counts(), counts.other_networks.counts());
        if let Some(more) = increase(before, now) {
            self.other_networks.add(bucket, more);
        }
    }
}

/// By how much counts have grown. None: they have begun anew.
fn increase<const N: usize>(before: [u64; N], now: [u64; N]) -> Option<[u64; N]> {
    let mut more = [0; N];
    for ((more, before), now) in more.iter_mut().zip(before).zip(now) {
        *more = now.checked_sub(before)?;
    }
    Some(more)
}

#[cfg(test)]
mod tests;
