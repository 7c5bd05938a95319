//! The ports that relayed transport addresses are made of.

use rand::{Rng, RngExt};

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
    Even,
}

/// The free ports of one address. Taking one and giving it back cost the same whatever is free, and
/// which one is taken cannot be foretold (RFC 8656, section 7.2: at random).
#[derive(Debug)]
pub(crate) struct PortAllocator {
    even: Vec<u16>,
    odd: Vec<u16>,
}

impl PortAllocator {
    pub(crate) fn new(range: PortRange) -> Self {
        let (even, odd) = (range.from..=range.to).partition(|port| port % 2 == 0);
        Self { even, odd }
    }

    pub(crate) fn take(&mut self, parity: Parity, rng: &mut impl Rng) -> Option<u16> {
        let choice = match parity {
            Parity::Any => self.free(),
            Parity::Even => self.even.len(),
        };
        if choice == 0 {
            return None;
        }
        let index = rng.random_range(..choice);
        Some(match index.checked_sub(self.even.len()) {
            None => self.even.swap_remove(index),
            Some(index) => self.odd.swap_remove(index),
        })
    }

    pub(crate) fn give_back(&mut self, port: u16) {
        if port.is_multiple_of(2) {
            self.even.push(port);
        } else {
            self.odd.push(port);
        }
    }

    pub(crate) fn free(&self) -> usize {
        self.even.len() + self.odd.len()
    }
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
}
