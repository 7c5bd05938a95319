//! How many datagrams are lost between each vantage and each relay.
//!
//! A request that is answered and a payload that is echoed are a datagram sent and one that came back;
//! what is sent again is another one. So the share that never came back is that of the round trip.
//! Only probes that came through count: of the others it is known already that something is wrong.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    observation::Datagrams,
    plan::Subject,
    sign::{Sign, SignKind},
};

/// How many of the latest probes count.
const PROBES: usize = 24;
/// How many datagrams it takes to judge: by chance alone a way that loses 5 of 100 in each direction
/// is not taken for one that loses [`HIGH_PERCENT`] of round trips once in a hundred million times.
const ENOUGH: u32 = 300;
/// From here on it is told: calls are noticeably bad.
const HIGH_PERCENT: u32 = 20;
/// Until it is less than this.
const FAIR_PERCENT: u32 = 12;
/// The told share changes when it is off by more than this.
const TOLD_WITHIN_PERCENT: u32 = 10;

/// The latest datagrams between a vantage and a listener.
#[derive(Debug, Clone, Default)]
struct Window {
    latest: VecDeque<Datagrams>,
    /// What share is told, of a hundred. None: little is lost.
    told: Option<u32>,
}

impl Window {
    fn take(&mut self, datagrams: Datagrams) {
        self.latest.truncate(PROBES - 1);
        self.latest.push_front(datagrams);
        let Some(percent) = self.percent() else { return };
        let is_high = percent >= if self.told.is_some() { FAIR_PERCENT } else { HIGH_PERCENT };
        let told = self.told.filter(|told| told.abs_diff(percent) <= TOLD_WITHIN_PERCENT);
        self.told = is_high.then(|| told.unwrap_or(percent));
    }

    fn percent(&self) -> Option<u32> {
        let sent: u32 = self.latest.iter().map(|one| one.sent).sum();
        let returned: u32 = self.latest.iter().map(|one| one.returned).sum();
        (sent >= ENOUGH).then(|| sent.saturating_sub(returned) * 100 / sent)
    }
}

/// What is lost, by vantage and listener.
#[derive(Debug, Default)]
pub(crate) struct Losses(BTreeMap<Arc<str>, BTreeMap<Subject, Window>>);

impl Losses {
    /// Takes what a probe that came through has sent, and what came back.
    pub(crate) fn record(&mut self, vantage: &Arc<str>, subject: &Subject, datagrams: Datagrams) {
        let by_subject = self.0.entry(Arc::clone(vantage)).or_default();
        by_subject.entry(subject.clone()).or_default().take(datagrams);
    }

    /// Forgets the vantages and relays that are no more.
    pub(crate) fn retain(&mut self, vantages: &BTreeSet<Arc<str>>, relays: &BTreeSet<Arc<str>>) {
        self.0.retain(|vantage, _| vantages.contains(vantage));
        for by_subject in self.0.values_mut() {
            by_subject.retain(|subject, _| relays.contains(&subject.relay));
        }
    }

    /// What is told of it: of each vantage what it loses on the way to everybody, or to whom.
    pub(crate) fn signs(&self) -> impl Iterator<Item = Sign> {
        self.0.iter().flat_map(|(vantage, by_subject)| of_vantage(vantage, by_subject))
    }
}

fn of_vantage(vantage: &str, by_subject: &BTreeMap<Subject, Window>) -> Vec<Sign> {
    let judged = by_subject.iter().filter(|(_, window)| window.percent().is_some());
    let relays: BTreeSet<_> = judged.map(|(subject, _)| &subject.relay).collect();
    let lossy: Vec<_> =
        by_subject.iter().filter_map(|(subject, of)| Some((subject, of.told?))).collect();
    let lossy_relays: BTreeSet<_> = lossy.iter().map(|(subject, _)| &subject.relay).collect();
    let sign = |says| Sign { kind: SignKind::HighLoss, says };
    if relays.len() > 1 && lossy_relays == relays {
        let least = lossy.iter().map(|(_, percent)| *percent).min().unwrap_or_default();
        let says = format!(
            "{least} of 100 datagrams or more are lost between {vantage} and every relay: look at its \
             own network"
        );
        return vec![sign(says)];
    }
    let says = |(subject, percent): (&Subject, u32)| {
        let Subject { relay, address, transport, port, .. } = subject;
        let place = std::net::SocketAddr::new(*address, *port);
        format!(
            "{percent} of 100 datagrams are lost between {vantage} and relay {relay} ({transport} \
             {place}): look at the load and the network of its node"
        )
    };
    lossy.into_iter().map(says).map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;

    fn subject(relay: &str) -> Subject {
        Subject {
            relay: relay.into(),
            address: [192, 0, 2, 1].into(),
            listener: "udp".into(),
            transport: Transport::Udp,
            port: 3478,
        }
    }

    fn lose(losses: &mut Losses, relay: &str, lost: u32, probes: usize) -> Vec<String> {
        for _ in 0..probes {
            let datagrams = Datagrams { sent: 40, returned: 40 - lost };
            losses.record(&"vantage".into(), &subject(relay), datagrams);
        }
        losses.signs().map(|sign| sign.says).collect()
    }

    #[test]
    fn loss_is_told_when_it_is_high_and_until_it_is_fair() {
        let mut losses = Losses::default();
        assert!(lose(&mut losses, "a", 12, 7).is_empty(), "too few to judge");
        assert!(lose(&mut losses, "b", 0, 24).is_empty());
        let told = lose(&mut losses, "a", 12, 20);
        let says =
            "30 of 100 datagrams are lost between vantage and relay a (UDP 192.0.2.1:3478): ";
        assert!(told.len() == 1 && told[0].starts_with(says), "{told:?}");
        assert_eq!(lose(&mut losses, "a", 14, 24), told, "words that stay while little changes");
        assert_eq!(lose(&mut losses, "a", 6, 24).len(), 1, "no flapping at the limit");
        assert!(lose(&mut losses, "a", 4, 24).is_empty());
    }

    #[test]
    fn who_loses_on_the_way_to_everybody_is_named_alone() {
        let mut losses = Losses::default();
        lose(&mut losses, "a", 20, 24);
        let told = lose(&mut losses, "b", 16, 24);
        assert!(told.len() == 1 && told[0].starts_with("40 of 100 datagrams or more"), "{told:?}");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut losses = Losses::default();
        lose(&mut losses, "a", 20, 24);
        losses.retain(&["vantage".into()].into(), &BTreeSet::new());
        assert_eq!(losses.signs().count(), 0);
    }
}
