//! A network whose clients never come over UDP, as those of others do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Network, OfRelay,
    window::{Bucket, Window},
};
use crate::{
    Transport,
    plan::Listener,
    sign::{Sign, SignKind},
};

/// How far back it is looked, in full buckets: a quarter of an hour finds it soon where many clients
/// are, and an hour where there are few.
const SPANS: [u64; 2] = [3, 12];
/// How many allocations it takes: one client that is told of no UDP at all makes a few.
const ENOUGH: u64 = 20;
/// How many of a network's would be over UDP if its clients were as those of the others are. That
/// there is none by chance happens once in a million times.
const EXPECTED: u128 = 14;
/// How many allocations another network has to have to be compared with, and how many networks.
const COMPARED: u64 = 5;
const NETWORKS_COMPARED: usize = 3;
/// How many networks are told of at most: from where so many come without UDP, it is closed by
/// something else.
const MOST_TOLD: usize = 16;

/// Over UDP, and over all.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    udp: u64,
    all: u64,
}

impl Sum {
    fn add(&mut self, [udp, tcp, tls, dtls]: [u64; 4]) {
        let datagrams = udp.saturating_add(dtls);
        self.udp = self.udp.saturating_add(datagrams);
        self.all = self.all.saturating_add(datagrams).saturating_add(tcp).saturating_add(tls);
    }
}

/// The networks that come without UDP: those found now, and those told before of which nobody has come
/// over UDP since.
pub(super) fn found(
    relays: &BTreeMap<Arc<str>, OfRelay>,
    told: &BTreeSet<Network>,
    now: Bucket,
) -> BTreeSet<Network> {
    let mut found: BTreeSet<_> =
        told.iter().filter(|network| lasts(relays, **network, now)).copied().collect();
    for span in SPANS {
        let new = found_in(relays, now, span);
        let room = MOST_TOLD.saturating_sub(found.len());
        let new: Vec<_> = new.filter(|network| !found.contains(network)).take(room).collect();
        found.extend(new);
    }
    found
}

fn found_in(
    relays: &BTreeMap<Arc<str>, OfRelay>,
    now: Bucket,
    span: u64,
) -> impl Iterator<Item = Network> + use<> {
    let mut networks = BTreeMap::<Network, Sum>::new();
    let mut total = Sum::default();
    for of_relay in relays.values() {
        total.add(of_relay.other_networks.sum(now, span));
        for (network, window) in &of_relay.networks {
            let counts = window.sum(now, span);
            total.add(counts);
            networks.entry(*network).or_default().add(counts);
        }
    }
    let compared = || networks.values().filter(|sum| sum.all >= COMPARED);
    let with_udp = compared().filter(|sum| sum.udp > 0).count();
    let most_have = with_udp >= NETWORKS_COMPARED && with_udp * 2 > compared().count();
    networks.into_iter().filter_map(move |(network, own)| {
        let others = total.all.saturating_sub(own.all);
        let expected = u128::from(own.all) * u128::from(total.udp);
        let lacks = own.udp == 0 && own.all >= ENOUGH && expected >= EXPECTED * u128::from(others);
        (most_have && lacks).then_some(network)
    })
}

fn lasts(relays: &BTreeMap<Arc<str>, OfRelay>, network: Network, now: Bucket) -> bool {
    let windows = || relays.values().filter_map(|of_relay| of_relay.networks.get(&network));
    let sum = |span| {
        let mut sum = Sum::default();
        let counts = windows().map(|window: &Window<4>| window.sum(now, span));
        counts.for_each(|counts| sum.add(counts));
        sum
    };
    let [soon, late] = SPANS.map(sum);
    soon.udp == 0 && late.all > 0
}

/// None where there is no listener that the sign could be about.
pub(super) fn sign_of(network: Network, listeners: &[Listener]) -> Option<Sign> {
    let over = |wanted: Transport| listeners.iter().find(|of| of.transport == wanted);
    let closed = over(Transport::Udp).or_else(|| over(Transport::Dtls))?.port;
    let instead = match (over(Transport::Tls), over(Transport::Tcp)) {
        (Some(tls), _) => format!("see that it is handed out TLS {}", tls.port),
        (None, Some(tcp)) => format!("see that it is handed out TCP {}", tcp.port),
        (None, None) => "give it a listener of TLS on port 443".to_owned(),
    };
    let says = format!(
        "no client of network {network} comes over UDP, as most of other networks do: UDP {closed} may \
         be closed to it; {instead}"
    );
    Some(Sign { kind: SignKind::NetworkWithoutUDP, says })
}
