//! Discovery of how a client's NAT behaves (RFC 5780): answers that come from elsewhere than they
//! were asked for.

use std::net::SocketAddr;

use crate::{FiveTuple, RelayAddress, Transport};

/// Two addresses of one family, and two ports: on all four of them stands a UDP listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoveryAddresses {
    /// The addresses.
    pub addresses: [RelayAddress; 2],
    /// The ports.
    pub ports: [u16; 2],
}

/// One of the four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Corner<'s> {
    of: &'s DiscoveryAddresses,
    address: usize,
    port: usize,
}

impl<'s> Corner<'s> {
    /// Where a datagram came in, if that is one of the four.
    pub(crate) fn of(all: &'s [DiscoveryAddresses], from: &FiveTuple) -> Option<Self> {
        if from.transport != Transport::Udp {
            return None;
        }
        all.iter().find_map(|of| {
            let address = of.addresses.iter().position(|own| own.local == from.server.ip())?;
            let port = of.ports.iter().position(|port| *port == from.server.port())?;
            Some(Self { of, address, port })
        })
    }

    /// The corner with the other address, the other port, or both.
    pub(crate) fn changed(self, address: bool, port: bool) -> Self {
        let address = if address { 1 - self.address } else { self.address };
        let port = if port { 1 - self.port } else { self.port };
        Self { address, port, ..self }
    }

    /// On this machine.
    pub(crate) const fn local(self) -> SocketAddr {
        SocketAddr::new(self.of.addresses[self.address].local, self.of.ports[self.port])
    }

    /// As clients see it.
    pub(crate) const fn external(self) -> SocketAddr {
        SocketAddr::new(self.of.addresses[self.address].external, self.of.ports[self.port])
    }
}
