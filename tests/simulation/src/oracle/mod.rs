//! What must hold: a second, simple server that is told all that the real one is told, and expects
//! something of it each time. It knows what went over the wire, and the times of the RFCs.

mod expected;
mod judgement;
mod ports;
mod promise;
mod standing;
mod strangers;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use turn_auth::UnixSeconds;
use turn_proto::{DropReason, EndReason, FiveTuple, Transport};

use self::{ports::Ports, promise::Promise, standing::Nonces, strangers::Strangers};
use crate::rules::Rules;

pub(crate) use self::{expected::Expected, judgement::Heard, promise::Edge};

/// A promise that was broken.
pub(crate) type Broken = String;

/// How late an allocation may end: a tick of the server's, and as late as the machine is.
const LATE: Duration = Duration::from_millis(1100);

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) unix: UnixSeconds,
}

/// What the real server did.
#[derive(Debug)]
pub(crate) enum Outcome<'a> {
    Answered(&'a [u8]),
    ToPeer { relayed: SocketAddr, peer: SocketAddr, payload: &'a [u8] },
    Dropped(DropReason),
}

/// What has to become of a peer's datagram.
#[derive(Debug)]
pub(crate) enum Inbound {
    Drop(DropReason),
    /// To this client, as ChannelData if there is a channel.
    ToClient(FiveTuple, Option<u16>),
}

/// The second server.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) rules: Rules,
    promises: BTreeMap<FiveTuple, Promise>,
    ports: Ports,
    nonces: Nonces,
    strangers: Strangers,
}

impl Oracle {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            promises: BTreeMap::new(),
            ports: Ports::default(),
            nonces: Nonces::default(),
            strangers: Strangers::default(),
        }
    }

    /// The relay has started anew: nothing is left but the nonces that it gave out.
    pub(crate) fn restarts(&mut self) {
        self.promises.clear();
        self.ports = Ports::default();
        self.rules.draining = false;
    }

    /// The relay is told something new.
    pub(crate) fn is_told(&mut self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules);
        for promise in self.promises.values_mut() {
            promise.forbid(&self.rules.denied);
        }
    }

    /// What has to become of a peer's datagram.
    pub(crate) fn expects_of_peer(
        &self,
        now: Instant,
        to: SocketAddr,
        from: SocketAddr,
    ) -> Result<Inbound, Broken> {
        let owner = self.ports.owner(&to).ok_or_else(|| format!("{to} is nobody's"))?;
        let promise = self.promises.get(&owner).ok_or_else(|| format!("{to} is of no client"))?;
        Ok(match self.passes(now, promise, from, DropReason::NoPermissionInbound) {
            Ok(()) => Inbound::ToClient(owner, promise.channel_of(from, now)),
            Err(reason) => Inbound::Drop(reason),
        })
    }

    /// Something was relayed for a client.
    pub(crate) fn notes_traffic(&mut self, client: &FiveTuple, now: Instant) {
        if let Some(promise) = self.promises.get_mut(client) {
            promise.active_at = now;
        }
    }

    pub(crate) fn opens(&mut self, address: SocketAddr, owner: FiveTuple) -> Result<(), Broken> {
        self.ports.open(address, owner)
    }

    /// A client's connection has ended.
    pub(crate) fn disconnects(&mut self, client: &FiveTuple) {
        if let Some(promise) = self.promises.get_mut(client) {
            promise.ends(EndReason::Disconnected);
        }
    }

    /// The listener of a transport is no more.
    pub(crate) fn loses_listener(&mut self, transport: Transport) {
        let lost = self.promises.iter_mut().filter(|(client, _)| client.transport == transport);
        lost.for_each(|(_, promise)| promise.ends(EndReason::ListenerRemoved));
    }

    /// A relayed socket is closed.
    pub(crate) fn closes(
        &mut self,
        client: &FiveTuple,
        address: SocketAddr,
        reason: EndReason,
        now: Instant,
    ) -> Result<(), Broken> {
        self.ports.close(address)?;
        let promise = self.promises.get_mut(client);
        let promise = promise.ok_or_else(|| format!("{address} is closed for nobody"))?;
        let until = promise.relayed.remove(&address);
        let until = until.ok_or_else(|| format!("{address} is closed and not {client:?}'s"))?;
        let due = promise.ending.iter().position(|(ending, _)| *ending == address);
        let due = due.map(|index| promise.ending.swap_remove(index).1);
        if promise.relayed.is_empty() {
            self.promises.remove(client);
        }
        match (reason, due) {
            (EndReason::Expired, None) if now < until => {
                Err(format!("{address} ends {:?} early", until - now))
            }
            (EndReason::Expired, None) => Ok(()),
            (reason, Some(due)) if reason == due => Ok(()),
            (reason, due) => Err(format!("{address} is {reason:?}, and should be {due:?}")),
        }
    }

    /// The relay has looked at its clock.
    pub(crate) fn passes_time(&mut self, now: Instant) {
        self.ports.pass(now);
    }

    /// After each step: what should have ended has ended, and nothing is missing.
    pub(crate) fn holds(
        &self,
        now: Instant,
        free_ports: usize,
        allocations: usize,
    ) -> Result<(), Broken> {
        for (client, promise) in &self.promises {
            if let Some((address, reason)) = promise.ending.first() {
                return Err(format!("{address} of {client:?} goes on, it is {reason:?}"));
            }
            if let Some((address, until)) =
                promise.relayed.iter().find(|(_, until)| **until + LATE < now)
            {
                return Err(format!("{address} goes on {:?} after its end", now - *until));
            }
        }
        let expected = (self.ports.free(), self.promises.len());
        if expected != (free_ports, allocations) {
            return Err(format!(
                "free ports and allocations are {:?}, and should be {expected:?}",
                (free_ports, allocations)
            ));
        }
        Ok(())
    }

    /// The moments at which something of a client's, or a token, ends.
    pub(crate) fn edges(&self, client: &FiveTuple) -> Vec<(Instant, Edge)> {
        let promise = self.promises.get(client).into_iter().flat_map(Promise::edges);
        let tokens = self.ports.tokens().map(|(token, kept)| (kept.until, Edge::Token(*token)));
        promise.chain(tokens).collect()
    }

    /// Whether there is an allocation.
    pub(crate) fn has(&self, client: &FiveTuple) -> bool {
        self.promises.contains_key(client)
    }

    /// A token that was given out and not brought, if there is one.
    pub(crate) fn token(&self, index: usize) -> Option<[u8; 8]> {
        let count = self.ports.tokens().count();
        self.ports.tokens().nth(index.checked_rem(count)?).map(|(token, _)| *token)
    }

    /// Relayed addresses that are open.
    pub(crate) fn relayed(&self) -> Vec<SocketAddr> {
        self.ports.addresses().collect()
    }
}
