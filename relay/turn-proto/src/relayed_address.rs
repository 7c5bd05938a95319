//! The relayed transport addresses of an allocation: one, or one of each family (RFC 8656, section
//! 7.2, "dual allocation"), each with a socket and a time of its own.

use std::time::Instant;

use turn_wire::attribute::Family;

use crate::{AllocationId, RelayedAddr, ledger::HeldPort, port_allocator::Parity};

/// Names a relayed transport address, and the socket of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RelayedId {
    /// Whose it is.
    pub allocation: AllocationId,
    /// Which of the two that it may have.
    pub family: Family,
}

impl RelayedId {
    /// Counted from zero, and used again after the allocation ends: an index into a table of
    /// sockets.
    #[must_use]
    pub const fn index(self) -> usize {
        let family = match self.family {
            Family::V4 => 0,
            Family::V6 => 1,
        };
        2 * self.allocation.index() + family
    }
}

/// What is relayed from and to a relayed transport address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelayedTransport {
    /// Datagrams (RFC 8656).
    Udp,
    /// Connections (RFC 6062).
    Tcp,
}

/// Whether the relayed socket is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The shell has been asked to open it; so often before, in vain.
    Opening { attempts: u32 },
    /// It is there.
    Open,
}

/// One relayed transport address.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) held: HeldPort,
    /// The next higher port, until it is reserved for whoever brings the token.
    pub(crate) next: Option<HeldPort>,
    pub(crate) parity: Parity,
    pub(crate) address: RelayedAddr,
    pub(crate) state: State,
    pub(crate) expires_at: Instant,
}

impl Relayed {
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }
}

/// What an allocation has of both families.
#[derive(Debug, Default)]
pub(crate) struct RelayedAddresses {
    v4: Option<Relayed>,
    v6: Option<Relayed>,
}

impl RelayedAddresses {
    pub(crate) const fn get(&self, family: Family) -> Option<&Relayed> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    pub(crate) const fn slot(&mut self, family: Family) -> &mut Option<Relayed> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    pub(crate) fn get_mut(&mut self, family: Family) -> Option<&mut Relayed> {
        self.slot(family).as_mut()
    }

    /// IPv4 first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Family, &Relayed)> {
        [(Family::V4, &self.v4), (Family::V6, &self.v6)]
            .into_iter()
            .filter_map(|(family, relayed)| relayed.as_ref().map(|relayed| (family, relayed)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Relayed> {
        self.v4.iter_mut().chain(&mut self.v6)
    }

    /// Whether the shell still has to open one.
    pub(crate) fn is_opening(&self) -> bool {
        self.iter().any(|(_, relayed)| !relayed.is_open())
    }

    /// When the first of them is over.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.iter().map(|(_, relayed)| relayed.expires_at).min()
    }
}
