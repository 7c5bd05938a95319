//! Sending clients to another relay of the fleet (RFC 8489, section 10).

use std::net::SocketAddr;

use rand::RngExt;

use crate::{Alternate, FiveTuple, Refusal, Server, Transport};

impl Server {
    /// How a client is turned away: to another relay, if there is one that it can go to.
    pub(super) fn elsewhere(&self, from: &FiveTuple) -> Refusal {
        let known = self.usable_alternates(from).next().is_some();
        if known { Refusal::TryAlternate } else { Refusal::InsufficientCapacity }
    }

    /// One of the relays that a client can go to, by lot.
    pub(super) fn draw_alternate(
        &mut self,
        from: &FiveTuple,
    ) -> Option<(SocketAddr, Option<String>)> {
        let count = self.usable_alternates(from).count();
        let index = if count > 1 { self.rng.random_range(..count) } else { 0 };
        let found = self.usable_alternates(from).nth(index);
        found.map(|other| (other.address, other.domain.clone()))
    }

    fn usable_alternates(&self, from: &FiveTuple) -> impl Iterator<Item = &Alternate> {
        self.settings.alternates.iter().filter(|other| self.is_for(other, from))
    }

    /// The same transport and family, never loopback (clients refuse that), never this relay; and
    /// by name, where the client checks a certificate.
    fn is_for(&self, other: &Alternate, from: &FiveTuple) -> bool {
        let named = match from.transport {
            Transport::Udp | Transport::Tcp => true,
            Transport::Tls | Transport::Dtls => other.domain.is_some(),
        };
        named
            && other.transport == from.transport
            && other.address.is_ipv4() == from.server.is_ipv4()
            && !other.address.ip().is_loopback()
            && !self.settings.peers.own.contains(&other.address.ip())
    }
}
