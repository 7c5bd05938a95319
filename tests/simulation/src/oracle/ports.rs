//! Whose each port is.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use turn_proto::FiveTuple;

use super::Broken;
use crate::rules::{ADDRESSES, PORTS, TAKEN};

/// RFC 8656, section 7.2: how long a port is kept for the one who brings the token.
const RESERVATION: Duration = Duration::from_secs(30);

/// With fewer ports than these that would do, the relay may run out of tries.
const FEW: usize = 4;

/// A port that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Reserved {
    pub(crate) user: String,
    pub(crate) address: SocketAddr,
    pub(crate) until: Instant,
}

/// Which ports will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Any,
    Even,
    Pair,
}

/// Each port that is not free.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    open: BTreeMap<SocketAddr, FiveTuple>,
    reserved: BTreeMap<[u8; 8], Reserved>,
}

impl Ports {
    pub(crate) fn open(&mut self, address: SocketAddr, owner: FiveTuple) -> Result<(), Broken> {
        if let Some(other) = self.open.insert(address, owner) {
            return Err(format!("{address} is {other:?}'s and is opened for {owner:?}"));
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, address: SocketAddr) -> Result<(), Broken> {
        let was = self.open.remove(&address);
        was.map(|_| ()).ok_or_else(|| format!("{address} is closed and is not open"))
    }

    pub(crate) fn owner(&self, address: &SocketAddr) -> Option<FiveTuple> {
        self.open.get(address).copied()
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.open.keys().copied()
    }

    /// A token has been given out for the next higher port.
    pub(crate) fn reserve(
        &mut self,
        token: [u8; 8],
        lower: SocketAddr,
        user: &str,
        now: Instant,
    ) -> Result<(), Broken> {
        let address = SocketAddr::new(lower.ip(), lower.port() + 1);
        let kept = self.reserved.values().any(|reserved| reserved.address == address);
        if kept || self.open.contains_key(&address) {
            return Err(format!("{address} is reserved and not free"));
        }
        let reserved = Reserved { user: user.to_owned(), address, until: now + RESERVATION };
        self.reserved.insert(token, reserved);
        Ok(())
    }

    pub(crate) fn reserved(&self, token: &[u8; 8]) -> Option<&Reserved> {
        self.reserved.get(token)
    }

    pub(crate) fn tokens(&self) -> impl Iterator<Item = (&[u8; 8], &Reserved)> {
        self.reserved.iter()
    }

    pub(crate) fn redeem(&mut self, token: &[u8; 8]) {
        self.reserved.remove(token);
    }

    /// The relay has looked at its clock.
    pub(crate) fn pass(&mut self, now: Instant) {
        self.reserved.retain(|_, reserved| now <= reserved.until);
    }

    /// How many tokens of a user there are: each is charged.
    pub(crate) fn charges(&self, user: &str) -> usize {
        self.reserved.values().filter(|reserved| reserved.user == user).count()
    }

    /// How many ports are free.
    pub(crate) fn free(&self) -> usize {
        ADDRESSES.len() * PORTS.count() - self.open.len() - self.reserved.len()
    }

    /// Whether there may be no port left of a family, for somebody who tries a few times.
    pub(crate) fn are_few(&self, need: Need, ipv4: bool) -> bool {
        let Some(ip) = ADDRESSES.iter().find(|ip| ip.is_ipv4() == ipv4) else { return true };
        let is_free = |port: u16| {
            let address = SocketAddr::new(*ip, port);
            PORTS.contains(&port)
                && !self.open.contains_key(&address)
                && self.reserved.values().all(|reserved| reserved.address != address)
        };
        let will_do = |port: &u16| {
            is_free(*port)
                && !TAKEN.contains(port)
                && match need {
                    Need::Any => true,
                    Need::Even => port.is_multiple_of(2),
                    Need::Pair => port.is_multiple_of(2) && is_free(port + 1),
                }
        };
        PORTS.filter(will_do).count() < FEW
    }
}
