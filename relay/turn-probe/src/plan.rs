//! Who probes whom, what and how often: pure.
//!
//! Every agent outside and the operator probe each relay, and so do a few relays on other nodes. Each
//! probe is of one listener over one address, with two relay ports that the plan chooses. Probes of
//! one vantage are spread over the interval, and it makes no more of them each second than
//! [`PROBES_PER_SECOND`]: with more to do than that allows, the interval grows.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::Transport;

/// How often each vantage probes each listener of each relay.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// How soon a probe is repeated whose result changes what is known: twice makes it true.
pub const CONFIRM_AFTER: Duration = Duration::from_secs(2);
/// How many probes one vantage begins each second, at most. One takes about 30 datagrams each way,
/// and two allocations for less than a second where all is well.
pub const PROBES_PER_SECOND: u32 = 100;
/// How many probes of one vantage are under way at one relay, at most: more allocations than those of
/// four are refused to one prober.
const AT_ONE_RELAY: usize = 4;
/// How long another one waits then.
const WAIT_FOR_RELAY: Duration = Duration::from_millis(500);
/// How many relays on other nodes probe each relay.
const RELAYS_PER_RELAY: usize = 2;
/// How long a probe may take: enough for several repetitions of each request.
pub const LIMIT: Duration = Duration::from_secs(5);
/// The same for one over TCP that confirms another. Where five of a hundred datagrams are lost, about
/// one probe over TCP in 300 is not over within the first limit: its kernel sends a SYN again after
/// one second, three and seven. Two of these in a row would lose a relay with five vantages about once
/// a day; so it takes about two months (`tests/fleet`).
pub const LIMIT_TO_CONFIRM: Duration = Duration::from_secs(9);
/// The same over UDP, where a request is sent again after 3.1 seconds and 6.3.
const LIMIT_TO_CONFIRM_DATAGRAMS: Duration = Duration::from_secs(7);
/// An order that is not answered by then is given out anew.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Where probes are made from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vantage {
    /// Its name, unique in the fleet.
    pub name: Arc<str>,
    /// What it is.
    pub kind: VantageKind,
    /// The node that it runs on; none outside of the cluster.
    pub node: Option<String>,
}

/// What a vantage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VantageKind {
    /// An agent outside.
    Outside,
    /// The operator itself.
    Operator,
    /// Another relay of the fleet.
    Relay,
}

/// A relay that is to be probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Its name, unique in the fleet.
    pub name: Arc<str>,
    /// The node that it runs on.
    pub node: String,
    /// The region of the fleet that it belongs to.
    pub region: Arc<str>,
    /// Where clients are told that it is.
    pub addresses: Vec<IpAddr>,
}

/// A port on which clients are served: the same on each relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// Over what. A port with two transports is two of these.
    pub transport: Transport,
    /// Its port.
    pub port: u16,
}

/// What is probed: one listener of one relay over one address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The relay.
    pub relay: Arc<str>,
    /// Where it is said to be.
    pub address: IpAddr,
    /// The listener's name.
    pub listener: Arc<str>,
    /// Over what.
    pub transport: Transport,
    /// The listener's port.
    pub port: u16,
}

/// A probe that is to be made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// By whom.
    pub vantage: Arc<str>,
    /// Of what.
    pub subject: Subject,
    /// Which relay ports to ask for.
    pub ports: [u16; 2],
    /// How many this vantage has had for this subject before. An answer names it, and counts once.
    pub round: u64,
    /// How long the probe may take.
    pub limit: Duration,
}

/// An inclusive range of relay ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub from: u16,
    /// The last; not below the first.
    pub to: u16,
}

#[derive(Debug)]
struct Slot {
    due: Instant,
    round: u64,
    is_under_way: bool,
    /// Whether it confirms what was found last.
    confirms: bool,
    /// Whether it comes again at once, because something that is under way began too soon.
    hurries: bool,
}

/// Who probes whom, and when.
#[derive(Debug, Default)]
pub struct Plan {
    /// By vantage.
    slots: BTreeMap<Arc<str>, BTreeMap<Subject, Slot>>,
    queues: BTreeMap<Arc<str>, BTreeSet<(Instant, Subject)>>,
    /// Until when what each vantage has begun lasts at the rate that it may have.
    begun_until: BTreeMap<Arc<str>, Instant>,
}

impl Plan {
    /// Takes note of who and what there is. What stays keeps its times; what is new is due at once.
    pub fn set(
        &mut self,
        relays: &[Relay],
        listeners: &[Listener],
        vantages: &[Vantage],
        now: Instant,
    ) {
        let mut wanted = BTreeMap::<Arc<str>, BTreeSet<Subject>>::new();
        for vantage in vantages {
            wanted.entry(Arc::clone(&vantage.name)).or_default();
        }
        let regions = relays.iter().map(|relay| (&*relay.name, &*relay.region)).collect();
        for relay in relays {
            for vantage in probers(relay, &regions, vantages) {
                let wanted = wanted.entry(Arc::clone(&vantage.name)).or_default();
                wanted.extend(subjects(relay, listeners));
            }
        }
        self.slots.retain(|vantage, _| wanted.contains_key(vantage));
        self.queues.retain(|vantage, _| wanted.contains_key(vantage));
        self.begun_until.retain(|vantage, _| wanted.contains_key(vantage));
        for (vantage, subjects) in wanted {
            let slots = self.slots.entry(Arc::clone(&vantage)).or_default();
            slots.retain(|subject, _| subjects.contains(subject));
            for subject in subjects {
                slots.entry(subject).or_insert(Slot {
                    due: now,
                    round: 0,
                    is_under_way: false,
                    confirms: false,
                    hurries: false,
                });
            }
            let queue = slots.iter().map(|(subject, slot)| (slot.due, subject.clone())).collect();
            self.queues.insert(vantage, queue);
        }
    }

    /// How often a vantage probes each of its subjects.
    #[must_use]
    pub fn interval(&self, vantage: &str) -> Duration {
        let count = self.slots.get(vantage).map_or(0, BTreeMap::len);
        let least = Duration::from_secs_f64(count as f64 / f64::from(PROBES_PER_SECOND));
        least.max(INTERVAL)
    }

    /// The vantages, and how many subjects each probes.
    pub fn vantages(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.slots.iter().map(|(vantage, slots)| (vantage, slots.len()))
    }

    /// What a vantage has to probe now. `ports` tells which relay ports of a subject's relay to try
    /// in a round.
    pub fn due(
        &mut self,
        vantage: &str,
        now: Instant,
        ports: impl Fn(&Subject, u64) -> [u16; 2],
    ) -> Vec<Order> {
        let mut orders = Vec::new();
        let Some(name) = self.slots.get_key_value(vantage).map(|(name, _)| Arc::clone(name)) else {
            return orders;
        };
        let (slots, queue) = (
            self.slots.entry(Arc::clone(&name)).or_default(),
            self.queues.entry(Arc::clone(&name)).or_default(),
        );
        // Who has been idle may begin what a second allows at once.
        let idle = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let begun = self.begun_until.entry(Arc::clone(&name)).or_insert(idle);
        *begun = (*begun).max(idle);
        while *begun < now && queue.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, subject)) = queue.pop_first() else { break };
            if under_way(slots, &subject) >= AT_ONE_RELAY {
                let Some(slot) = slots.get_mut(&subject) else { continue };
                slot.due = now + WAIT_FOR_RELAY;
                queue.insert((slot.due, subject));
                continue;
            }
            *begun += Duration::from_secs(1) / PROBES_PER_SECOND;
            let Some(slot) = slots.get_mut(&subject) else { continue };
            slot.round += 1;
            slot.is_under_way = true;
            slot.due = now + ANSWER_WITHIN;
            queue.insert((slot.due, subject.clone()));
            let (vantage, round) = (Arc::clone(&name), slot.round);
            let is_stream = matches!(subject.transport, Transport::Tcp | Transport::Tls);
            let limit = match (slot.confirms, is_stream) {
                (true, true) => LIMIT_TO_CONFIRM,
                (true, false) => LIMIT_TO_CONFIRM_DATAGRAMS,
                (false, _) => LIMIT,
            };
            orders.push(Order { vantage, ports: ports(&subject, round), subject, round, limit });
        }
        orders
    }

    /// When a vantage has something to do.
    #[must_use]
    pub fn poll_timeout(&self, vantage: &str) -> Option<Instant> {
        let due = self.queues.get(vantage)?.first().map(|(due, _)| *due)?;
        // A moment later, when it may begin one.
        let may = self.begun_until.get(vantage).map(|until| *until + Duration::from_millis(1));
        Some(may.map_or(due, |may| may.max(due)))
    }

    /// Whether an answer to this order is awaited: each counts once.
    #[must_use]
    pub fn is_awaited(&self, vantage: &str, subject: &Subject, round: u64) -> bool {
        let slot = self.slots.get(vantage).and_then(|slots| slots.get(subject));
        slot.is_some_and(|slot| slot.is_under_way && slot.round == round)
    }

    /// Has a vantage begin to probe something now rather than later; again, if it is under way.
    pub fn hasten(&mut self, vantage: &str, subject: &Subject, now: Instant) {
        let slot = self.slots.get_mut(vantage).and_then(|slots| slots.get_mut(subject));
        let queue = self.queues.get_mut(vantage);
        if let (Some(slot), Some(queue)) = (slot, queue)
            && slot.due > now
        {
            if slot.is_under_way {
                slot.hurries = true;
                return;
            }
            queue.remove(&(slot.due, subject.clone()));
            slot.due = now;
            queue.insert((now, subject.clone()));
        }
    }

    /// Has everybody who probes something begin now.
    pub fn hasten_all(&mut self, subject: &Subject, now: Instant) {
        let vantages: Vec<_> = self.slots.keys().map(Arc::clone).collect();
        for vantage in vantages {
            self.hasten(&vantage, subject, now);
        }
    }

    /// Takes note that an order is answered; the next one comes soon if the answer has to be
    /// confirmed.
    pub fn answered(&mut self, vantage: &str, subject: &Subject, confirm: bool, now: Instant) {
        let interval = self.interval(vantage);
        let Some(slot) = self.slots.get_mut(vantage).and_then(|slots| slots.get_mut(subject))
        else {
            return;
        };
        let Some(queue) = self.queues.get_mut(vantage) else { return };
        queue.remove(&(slot.due, subject.clone()));
        slot.is_under_way = false;
        slot.confirms = confirm;
        let pause = match (confirm, std::mem::take(&mut slot.hurries)) {
            (false, true) => Duration::ZERO,
            (true, _) => CONFIRM_AFTER,
            (false, false) => spread(interval, subject, slot.round),
        };
        slot.due = now + pause;
        queue.insert((slot.due, subject.clone()));
    }
}

/// Who probes a relay: all that are no relays. Nobody probes itself; of the relays on other nodes a few
/// do, always the same while the fleet is the same: where there are several regions, one of another
/// region and one of its own.
fn probers<'a>(
    relay: &Relay,
    regions: &BTreeMap<&str, &str>,
    all: &'a [Vantage],
) -> impl Iterator<Item = &'a Vantage> + use<'a> {
    let is_elsewhere = |vantage: &&Vantage| {
        vantage.kind == VantageKind::Relay && vantage.node.as_deref() != Some(&*relay.node)
    };
    let weight = |vantage: &'a Vantage| (hash(&(&vantage.name, &relay.name)), vantage);
    let mut elsewhere: Vec<_> = all.iter().filter(is_elsewhere).map(weight).collect();
    elsewhere.sort_unstable_by_key(|(weight, _)| *weight);
    let is_neighbour =
        |(_, vantage): &(u64, &Vantage)| regions.get(&*vantage.name) == Some(&&*relay.region);
    let (near, far): (Vec<_>, Vec<_>) = elsewhere.into_iter().partition(is_neighbour);
    // The first of each, and more of either where there is none of the other.
    let turns = far.iter().take(1).chain(&near).chain(far.iter().skip(1));
    let elsewhere: Vec<_> = turns.take(RELAYS_PER_RELAY).map(|(_, vantage)| *vantage).collect();
    all.iter().filter(|vantage| vantage.kind != VantageKind::Relay).chain(elsewhere)
}

/// How many other probes are under way at the relay of a subject.
fn under_way(slots: &BTreeMap<Subject, Slot>, subject: &Subject) -> usize {
    let first = Subject {
        relay: Arc::clone(&subject.relay),
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        listener: "".into(),
        transport: Transport::Udp,
        port: 0,
    };
    let of_relay = slots.range(first..).take_while(|(other, _)| other.relay == subject.relay);
    of_relay.filter(|(other, slot)| slot.is_under_way && *other != subject).count()
}

/// What there is to probe of a relay.
pub(crate) fn subjects<'a>(
    relay: &'a Relay,
    listeners: &'a [Listener],
) -> impl Iterator<Item = Subject> + use<'a> {
    relay.addresses.iter().flat_map(move |address| {
        listeners.iter().map(move |listener| Subject {
            relay: Arc::clone(&relay.name),
            address: *address,
            listener: Arc::clone(&listener.name),
            transport: listener.transport,
            port: listener.port,
        })
    })
}

/// The interval, a tenth less or more: what began at once does not stay so.
fn spread(interval: Duration, subject: &Subject, round: u64) -> Duration {
    let tenths = 90 + hash(&(subject, round)) % 21;
    interval.mul_f64(tenths as f64 / 100.0)
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The relay ports to try in a round: the ends of the range in every other one; else one that was
/// found closed, to see whether it is still, and one that moves, so that all come in time.
#[must_use]
pub fn ports_to_try(range: PortRange, salt: &impl Hash, round: u64, closed: &[u16]) -> [u16; 2] {
    if round % 2 == 1 {
        return [range.from, range.to];
    }
    let count = u64::from(range.to - range.from) + 1;
    // Steps of the golden section meet every port before one comes again, if they share no factor
    // with the count, and are far apart from each other.
    let step = (count * 618 / 1_000..).find(|step| gcd((*step).max(1), count) == 1).unwrap_or(1);
    let at = |turn: u64| {
        let index = (hash(salt) % count + turn * step.max(1)) % count;
        range.from.saturating_add(u16::try_from(index).unwrap_or(0))
    };
    let turn = round / 2;
    let again = usize::try_from(turn).unwrap_or(0).checked_rem(closed.len());
    match again.and_then(|index| closed.get(index)) {
        Some(suspect) => [*suspect, at(turn)],
        None => [at(2 * turn), at(2 * turn + 1)],
    }
}

const fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vantage(name: &str, kind: VantageKind, node: Option<&str>) -> Vantage {
        Vantage { name: name.into(), kind, node: node.map(str::to_owned) }
    }

    fn relay(index: u8) -> Relay {
        Relay {
            name: format!("relay-{index}").into(),
            node: format!("node-{index}"),
            region: "eu".into(),
            addresses: vec![IpAddr::from([192, 0, 2, index])],
        }
    }

    fn listeners() -> Vec<Listener> {
        let of = |name: &str, transport| Listener { name: name.into(), transport, port: 3478 };
        vec![of("udp", Transport::Udp), of("tcp", Transport::Tcp)]
    }

    fn fleet(count: u8) -> (Vec<Relay>, Vec<Vantage>) {
        let relays: Vec<_> = (0..count).map(relay).collect();
        let of = |relay: &Relay| vantage(&relay.name, VantageKind::Relay, Some(&relay.node));
        let outside = vantage("outside", VantageKind::Outside, None);
        let operator = vantage("operator", VantageKind::Operator, Some("node-0"));
        let vantages = relays.iter().map(of).chain([outside, operator]).collect();
        (relays, vantages)
    }

    fn orders(plan: &mut Plan, vantages: &[Vantage], now: Instant) -> Vec<Order> {
        let of = |vantage: &Vantage| plan.due(&vantage.name, now, |_, _| [1, 2]);
        vantages.iter().flat_map(of).collect()
    }

    #[test]
    fn one_of_another_region_looks_and_one_of_its_own() {
        let ((mut relays, vantages), now) = (fleet(7), Instant::now());
        for relay in &mut relays[4..] {
            relay.region = "us".into();
        }
        let region = |name: &str| relays.iter().find(|of| &*of.name == name).map(|of| &of.region);
        let mut plan = Plan::default();
        plan.set(&relays, &listeners(), &vantages, now);
        let orders = orders(&mut plan, &vantages, now);
        for relay in &relays {
            let of_relay = orders.iter().filter(|order| order.subject.relay == relay.name);
            let by: BTreeSet<_> = of_relay.map(|order| &order.vantage).collect();
            let mut regions: Vec<_> = by.into_iter().filter_map(|name| region(name)).collect();
            regions.sort();
            assert_eq!(regions, [&Arc::from("eu"), &Arc::from("us")], "{}", relay.name);
        }
    }

    #[test]
    fn each_relay_is_probed_by_those_outside_the_operator_and_two_relays_elsewhere() {
        let ((relays, vantages), now) = (fleet(6), Instant::now());
        let mut plan = Plan::default();
        plan.set(&relays, &listeners(), &vantages, now);
        let orders = orders(&mut plan, &vantages, now);
        for relay in &relays {
            let mut by: Vec<_> = orders
                .iter()
                .filter(|order| {
                    order.subject.relay == relay.name && &*order.subject.listener == "udp"
                })
                .map(|order| &*order.vantage)
                .collect();
            assert!(!by.contains(&&*relay.name), "{by:?}");
            by.retain(|name| !["outside", "operator"].contains(name));
            assert_eq!(by.len(), 2, "{by:?}");
        }
        assert_eq!(orders.len(), 6 * 2 * 4);
    }

    #[test]
    fn a_probe_comes_again_after_the_interval_and_sooner_to_be_confirmed() {
        let ((relays, vantages), now) = (fleet(1), Instant::now());
        let mut plan = Plan::default();
        plan.set(&relays, &listeners(), &vantages, now);
        let all = plan.due("outside", now, |_, _| [1, 2]);
        assert_eq!(all.len(), 2);
        let first = all[0].clone();
        assert!(plan.is_awaited("outside", &first.subject, first.round));
        plan.answered("outside", &first.subject, true, now);
        assert!(!plan.is_awaited("outside", &first.subject, first.round), "it counts once");
        assert_eq!(plan.poll_timeout("outside"), Some(now + CONFIRM_AFTER));
        let again = plan.due("outside", now + CONFIRM_AFTER, |_, _| [1, 2]).remove(0);
        assert_eq!((&again.subject, again.round), (&first.subject, 2));
        plan.answered("outside", &first.subject, false, now);
        let later = plan.poll_timeout("outside").expect("something");
        assert!(later >= now + INTERVAL.mul_f64(0.9) && later <= now + ANSWER_WITHIN, "{later:?}");
    }

    #[test]
    fn what_is_gone_is_probed_no_more_and_what_stays_keeps_its_time() {
        let ((relays, vantages), now) = (fleet(2), Instant::now());
        let mut plan = Plan::default();
        plan.set(&relays, &listeners(), &vantages, now);
        let order = plan.due("operator", now, |_, _| [1, 2]).remove(0);
        let kept: Vec<_> =
            relays.iter().filter(|r| r.name == order.subject.relay).cloned().collect();
        plan.set(&kept, &listeners(), &vantages, now + CONFIRM_AFTER);
        assert!(plan.is_awaited("operator", &order.subject, order.round));
        let later = now + ANSWER_WITHIN;
        let again = plan.due("operator", later, |_, _| [1, 2]);
        assert_eq!(again.len(), 2, "what nobody answered is given out anew: {again:?}");
        assert!(!plan.is_awaited("operator", &order.subject, order.round));
        plan.set(&[], &listeners(), &vantages, now);
        assert_eq!(plan.poll_timeout("operator"), None);
    }

    #[test]
    fn more_than_one_vantage_can_do_makes_the_interval_longer() {
        let relays: Vec<_> = (0..250).map(relay).collect();
        let relays: Vec<_> = (0..8)
            .flat_map(|copy| {
                relays.iter().map(move |relay| Relay {
                    name: format!("{}-{copy}", relay.name).into(),
                    ..relay.clone()
                })
            })
            .collect();
        let mut plan = Plan::default();
        let outside = [vantage("outside", VantageKind::Outside, None)];
        plan.set(&relays, &listeners(), &outside, Instant::now());
        assert_eq!(plan.interval("outside"), Duration::from_secs(40));
        let now = Instant::now();
        assert_eq!(plan.due("outside", now, |_, _| [1, 2]).len(), 100, "of the first second");
        let later = now + Duration::from_millis(105);
        assert_eq!(plan.due("outside", later, |_, _| [1, 2]).len(), 11);
    }

    #[test]
    fn the_ends_and_closed_ports_are_tried_again_and_again_and_all_others_in_time() {
        let range = PortRange { from: 61_000, to: 61_999 };
        assert_eq!(ports_to_try(range, &"a", 1, &[]), [61_000, 61_999]);
        assert_eq!(ports_to_try(range, &"a", 2, &[61_500])[0], 61_500);
        let seen: BTreeSet<_> =
            (0..1_000).flat_map(|round| ports_to_try(range, &"a", 2 * round, &[])).collect();
        assert_eq!(seen.len(), 1_000);
        let one = PortRange { from: 5_000, to: 5_000 };
        assert_eq!(ports_to_try(one, &"a", 2, &[]), [5_000, 5_000]);
    }
}
