//! The ports that relayed transport addresses are made of.

use rand::{CryptoRng, RngExt};

/// An inclusive range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first port.
    pub from: u16,
    /// The last port; not below the first.
    pub to: u16,
}

impl PortRange {
    /// Whether a port is one of the range.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.from..=self.to).contains(&port)
    }
}

/// Which ports will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parity {
    Any,
    /// An even one.
    Even,
    /// An even one whose next higher one is free too.
    Pair,
    /// The one that was reserved, and no other.
    Reserved,
}

/// The free ports of one address. Taking one and giving it back cost the same whatever is free, and
/// which one is taken cannot be foretold (RFC 8656, section 7.2: at random).
#[derive(Debug)]
pub(crate) struct PortAllocator {
    range: PortRange,
    even: Vec<u16>,
    odd: Vec<u16>,
    /// Where each port of the range stands among the even or the odd ones; [`TAKEN`] if it does not.
    places: Box<[u16]>,
}

/// No place. There are at most 32,768 ports of either kind.
const TAKEN: u16 = u16::MAX;

/// How many even ports are tried at random for a free neighbour before all of them are looked at.
const PAIR_TRIES: usize = 16;

impl PortAllocator {
    pub(crate) fn new(range: PortRange) -> Self {
        let places = vec![TAKEN; usize::from(range.to - range.from) + 1].into_boxed_slice();
        let mut ports = Self { range, even: Vec::new(), odd: Vec::new(), places };
        for port in range.from..=range.to {
            ports.give_back(port);
        }
        ports
    }

    /// Takes a port; of a [`Parity::Pair`], the lower one.
    pub(crate) fn take(&mut self, parity: Parity, rng: &mut impl CryptoRng) -> Option<u16> {
        match parity {
            Parity::Any => {
                let index = draw(self.free(), rng)?;
                let port = match index.checked_sub(self.even.len()) {
                    None => self.even[index],
                    Some(index) => self.odd[index],
                };
                Some(self.remove(port))
            }
            Parity::Even => {
                let port = self.even[draw(self.even.len(), rng)?];
                Some(self.remove(port))
            }
            Parity::Pair => {
                let port = self.find_pair(rng)?;
                self.remove(port + 1);
                Some(self.remove(port))
            }
            Parity::Reserved => None,
        }
    }

    /// Takes this port, if it is one of the range and free.
    pub(crate) fn take_this(&mut self, port: u16) -> Option<u16> {
        self.is_free(Some(port)).then(|| self.remove(port))
    }

    pub(crate) fn give_back(&mut self, port: u16) {
        let list = if port.is_multiple_of(2) { &mut self.even } else { &mut self.odd };
        // At most 32,768 of a kind, so the index fits.
        self.places[usize::from(port - self.range.from)] =
            u16::try_from(list.len()).unwrap_or(TAKEN);
        list.push(port);
    }

    pub(crate) fn free(&self) -> usize {
        self.even.len() + self.odd.len()
    }

    fn find_pair(&self, rng: &mut impl CryptoRng) -> Option<u16> {
        let has_next = |port: &u16| self.is_free(port.checked_add(1));
        let drawn = (0..PAIR_TRIES).find_map(|_| {
            let port = self.even.get(draw(self.even.len(), rng)?)?;
            has_next(port).then_some(*port)
        });
        drawn.or_else(|| {
            let start = draw(self.even.len(), rng)?;
            let (before, after) = self.even.split_at(start);
            after.iter().chain(before).copied().find(|port| has_next(port))
        })
    }

    fn is_free(&self, port: Option<u16>) -> bool {
        port.filter(|port| self.range.contains(*port))
            .is_some_and(|port| self.places[usize::from(port - self.range.from)] != TAKEN)
    }

    /// Takes a port that is free.
    fn remove(&mut self, port: u16) -> u16 {
        let list = if port.is_multiple_of(2) { &mut self.even } else { &mut self.odd };
        let place = std::mem::replace(&mut self.places[usize::from(port - self.range.from)], TAKEN);
        list.swap_remove(usize::from(place));
        if let Some(moved) = list.get(usize::from(place)) {
            self.places[usize::from(moved - self.range.from)] = place;
        }
        port
    }
}

fn draw(choice: usize, rng: &mut impl CryptoRng) -> Option<usize> {
    (choice > 0).then(|| rng.random_range(..choice))
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn each_port_is_taken_once_in_an_order_that_the_seed_alone_decides() {
        let range = PortRange { from: 61_001, to: 61_100 };
        let order = |seed| {
            let mut rng = StdRng::from_seed([seed; 32]);
            let mut ports = PortAllocator::new(range);
            std::iter::from_fn(|| ports.take(Parity::Any, &mut rng)).collect::<Vec<_>>()
        };
        let mut taken = order(1);
        assert_ne!(taken, order(2));
        taken.sort_unstable();
        assert_eq!(taken, (61_001..=61_100).collect::<Vec<_>>());
    }

    #[test]
    fn an_even_port_is_even_and_there_are_no_more_than_there_are() {
        let mut rng = StdRng::from_seed([3; 32]);
        let mut ports = PortAllocator::new(PortRange { from: 61_001, to: 61_004 });
        let first = ports.take(Parity::Even, &mut rng).expect("free");
        let second = ports.take(Parity::Even, &mut rng).expect("free");
        assert_eq!(first.min(second)..=first.max(second), 61_002..=61_004);
        assert_eq!(ports.take(Parity::Even, &mut rng), None);
        ports.give_back(first);
        assert_eq!(ports.take(Parity::Even, &mut rng), Some(first));
        assert_eq!(ports.free(), 2);
    }

    #[test]
    fn a_pair_is_an_even_port_and_the_next_one_and_both_are_taken() {
        let mut rng = StdRng::from_seed([3; 32]);
        let mut ports = PortAllocator::new(PortRange { from: 61_001, to: 61_006 });
        let pairs: Vec<_> = std::iter::from_fn(|| ports.take(Parity::Pair, &mut rng)).collect();
        // 61001 has no even port below it, 61006 no port above it.
        assert_eq!(pairs.len(), 2);
        assert!(pairs.contains(&61_002) && pairs.contains(&61_004));
        let mut left: Vec<_> = std::iter::from_fn(|| ports.take(Parity::Any, &mut rng)).collect();
        left.sort_unstable();
        assert_eq!(left, [61_001, 61_006]);
        for port in [61_004, 61_005] {
            ports.give_back(port);
        }
        assert_eq!(ports.take(Parity::Pair, &mut rng), Some(61_004));
        assert_eq!(ports.free(), 0);
    }

    #[test]
    fn this_port_is_taken_once_and_none_outside_the_range() {
        let mut ports = PortAllocator::new(PortRange { from: 61_001, to: 61_004 });
        for port in [0, 61_000, 61_005, u16::MAX] {
            assert_eq!(ports.take_this(port), None, "{port}");
        }
        for port in 61_001..=61_004 {
            assert_eq!(ports.take_this(port), Some(port));
            assert_eq!(ports.take_this(port), None);
        }
        ports.give_back(61_003);
        assert_eq!((ports.take_this(61_003), ports.free()), (Some(61_003), 0));
    }

    #[test]
    fn the_last_free_pair_among_many_ports_is_found() {
        let mut rng = StdRng::from_seed([5; 32]);
        let mut ports = PortAllocator::new(PortRange { from: 61_000, to: 61_999 });
        for port in (61_001..61_999).step_by(2).filter(|port| *port != 61_501) {
            ports.remove(port);
        }
        let mut found = [(); 2].map(|()| ports.take(Parity::Pair, &mut rng).expect("a pair"));
        found.sort_unstable();
        assert_eq!(found, [61_500, 61_998]);
        assert_eq!(ports.take(Parity::Pair, &mut rng), None);
    }
}
