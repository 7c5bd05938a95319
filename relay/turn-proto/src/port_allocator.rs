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

/// The free ports of one address. Taking one and giving it back cost the same whatever is free, and
/// which one is taken cannot be foretold (RFC 8656, section 7.2: at random).
#[derive(Debug)]
pub(crate) struct PortAllocator {
    free: Vec<u16>,
}

impl PortAllocator {
    pub(crate) fn new(range: PortRange) -> Self {
        Self { free: (range.from..=range.to).collect() }
    }

    pub(crate) fn take(&mut self, rng: &mut impl Rng) -> Option<u16> {
        if self.free.is_empty() {
            return None;
        }
        let index = rng.random_range(..self.free.len());
        Some(self.free.swap_remove(index))
    }

    pub(crate) fn give_back(&mut self, port: u16) {
        self.free.push(port);
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }
}
