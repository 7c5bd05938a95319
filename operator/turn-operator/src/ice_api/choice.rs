//! Which URLs a client is given. Pure.
//!
//! Browsers try every URL on every network, and gather until the slowest has ended, so there are few:
//! one of each transport of one relay first, because a network that lets nothing out but TLS needs
//! that one; then those of a second relay. UDP stands first, since browsers prefer what comes first
//! among equals. Which relay is the first is drawn, so that clients spread.

use std::collections::BTreeSet;

use rand::{CryptoRng, seq::SliceRandom as _};
use turn_api::{Reached, RelayStatus};

use super::answer::LeftOut;

/// How a URL leads to a relay, in the order in which clients should try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Udp,
    Tcp,
    /// TLS where everything lets it through.
    TlsOn443,
    Tls,
}

impl Kind {
    fn of(url: &str) -> Self {
        let place = url.split_once('?').map_or(url, |(place, _)| place);
        match () {
            () if url.starts_with("turns:") && place.ends_with(":443") => Self::TlsOn443,
            () if url.starts_with("turns:") => Self::Tls,
            () if url.ends_with("transport=tcp") => Self::Tcp,
            () => Self::Udp,
        }
    }
}

/// Whether clients may be sent to a relay at all.
fn is_open(relay: &RelayStatus) -> bool {
    relay.ready && !relay.draining && !relay.full
}

/// The URLs for a client that is nearest to `region`, at most `most`.
pub(super) fn choose(
    relays: &[RelayStatus],
    region: Option<&str>,
    most: usize,
    random: &mut impl CryptoRng,
) -> Vec<String> {
    let mut open: Vec<_> = relays.iter().filter(|relay| is_open(relay)).collect();
    open.shuffle(random);
    // Stable: within a region the order stays the drawn one.
    open.sort_by_key(|relay| region.is_some_and(|region| relay.region != region));
    let mut taken = BTreeSet::new();
    let mut chosen: Vec<(Kind, &str)> = Vec::new();
    let in_order = open.iter().flat_map(|relay| one_of_each(&relay.urls));
    let rest = open.iter().flat_map(|relay| relay.urls.iter().map(String::as_str));
    for url in in_order.chain(rest) {
        if chosen.len() < most && taken.insert(url) {
            chosen.push((Kind::of(url), url));
        }
    }
    chosen.sort_by_key(|(kind, _)| *kind);
    chosen.into_iter().map(|(_, url)| url.to_owned()).collect()
}

/// The first URL of each transport; of the two kinds of TLS, the one on 443.
fn one_of_each(urls: &[String]) -> Vec<&str> {
    let mut sorted: Vec<_> = urls.iter().map(|url| (Kind::of(url), url.as_str())).collect();
    sorted.sort_by_key(|(kind, _)| *kind);
    let wire = |kind: Kind| kind.min(Kind::TlsOn443);
    sorted.dedup_by_key(|(kind, _)| wire(*kind));
    sorted.into_iter().map(|(_, url)| url).collect()
}

/// What is not among the chosen URLs, and why.
pub(super) fn left_out(relays: &[RelayStatus], chosen: &[String]) -> Vec<LeftOut> {
    relays.iter().flat_map(|relay| of_relay(relay, chosen)).collect()
}

fn of_relay(relay: &RelayStatus, chosen: &[String]) -> Vec<LeftOut> {
    let entry = |reason: &str, message: &str| LeftOut {
        relay: relay.pod.clone(),
        url: None,
        listener: None,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    let unreached = relay.reachability.iter().filter(|row| row.reached == Reached::False);
    let mut entries: Vec<_> = unreached
        .map(|row| LeftOut {
            listener: Some(row.listener.clone()),
            ..entry(
                row.reason.as_deref().unwrap_or("NotReached"),
                row.message.as_deref().unwrap_or_default(),
            )
        })
        .collect();
    if relay.draining {
        entries.push(entry("Draining", "it ends, and serves only the clients that it has"));
    } else if relay.full {
        entries.push(entry("Full", "it has no room for more clients"));
    } else if !relay.ready && entries.is_empty() {
        entries.push(entry("NotReady", "it is not ready"));
    }
    let limited = relay.urls.iter().filter(|url| is_open(relay) && !chosen.contains(url));
    entries.extend(limited.map(|url| LeftOut {
        url: Some(url.clone()),
        ..entry("Limit", "enough URLs without it (spec.iceServers.maxUrls)")
    }));
    entries
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{SeedableRng as _, rngs::StdRng};
    use turn_api::ListenerReachability;

    use super::*;

    fn relay(name: &str, region: &str) -> RelayStatus {
        let url = |scheme: &str, port: u16, transport: &str| {
            format!("{scheme}:{name}:{port}?transport={transport}")
        };
        RelayStatus {
            pod: name.to_owned(),
            region: region.to_owned(),
            ready: true,
            urls: vec![
                url("turn", 3478, "udp"),
                url("turn", 3478, "tcp"),
                url("turns", 5349, "tcp"),
                url("turns", 443, "tcp"),
            ],
            ..RelayStatus::default()
        }
    }

    fn chosen(relays: &[RelayStatus], region: Option<&str>, most: usize, seed: u64) -> Vec<String> {
        choose(relays, region, most, &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn each_transport_of_one_relay_comes_before_a_second_relay() {
        let relays = [relay("a", "eu"), relay("b", "us")];
        for seed in 0..20 {
            assert_eq!(
                chosen(&relays, Some("us"), 4, seed),
                [
                    "turn:b:3478?transport=udp",
                    "turn:a:3478?transport=udp",
                    "turn:b:3478?transport=tcp",
                    "turns:b:443?transport=tcp",
                ]
            );
        }
        assert_eq!(chosen(&relays, Some("us"), 1, 0), ["turn:b:3478?transport=udp"]);
        assert_eq!(chosen(&relays, None, 16, 0).len(), 8);
    }

    #[test]
    fn clients_spread_over_the_relays_of_their_region() {
        let relays = [relay("a", "eu"), relay("b", "eu"), relay("c", "eu"), relay("d", "us")];
        let mut firsts = BTreeMap::<String, u32>::new();
        for seed in 0..3000 {
            let urls = chosen(&relays, Some("eu"), 4, seed);
            *firsts.entry(urls.into_iter().next().expect("a URL")).or_default() += 1;
        }
        assert_eq!(firsts.len(), 3);
        assert!(firsts.values().all(|count| (800..1200).contains(count)), "{firsts:?}");
    }

    #[test]
    fn what_clients_cannot_use_is_left_out_and_told() {
        let mut relays = [relay("a", "eu"), relay("b", "eu"), relay("c", "eu"), relay("d", "eu")];
        relays[0].draining = true;
        relays[1].full = true;
        relays[2].ready = false;
        relays[2].urls.clear();
        relays[2].reachability = vec![ListenerReachability {
            listener: "udp".to_owned(),
            reached: Reached::False,
            reason: Some("ListenerPortBlocked".to_owned()),
            message: Some("open UDP 3478".to_owned()),
            ..ListenerReachability::default()
        }];
        let urls = chosen(&relays, None, 3, 1);
        assert!(urls.iter().all(|url| url.contains(":d:")), "{urls:?}");
        let told = left_out(&relays, &urls);
        let told: Vec<_> =
            told.iter().map(|one| (one.relay.as_str(), one.reason.as_str())).collect();
        assert_eq!(
            told,
            [("a", "Draining"), ("b", "Full"), ("c", "ListenerPortBlocked"), ("d", "Limit")]
        );
    }

    #[test]
    fn a_domain_that_stands_for_several_relays_is_given_once() {
        let mut relays = [relay("a", "eu"), relay("b", "eu")];
        for relay in &mut relays {
            relay.urls[2] = "turns:turn.example.com:5349?transport=tcp".to_owned();
            relay.urls.truncate(3);
        }
        let urls = chosen(&relays, None, 16, 0);
        assert_eq!(urls.len(), 5, "{urls:?}");
    }
}
