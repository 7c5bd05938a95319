//! What must hold, judged by what went over the wire alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use turn_wire::{
    Class, Message, Method, TransactionId,
    attribute::{Lifetime, Username, XorPeerAddress, XorRelayedAddress},
};

/// RFC 8656, section 9: a permission lives 300 s.
const PERMISSION: Duration = Duration::from_secs(300);

/// How late an allocation may end: a tick.
const LATE: Duration = Duration::from_secs(1);

/// A promise that was broken.
pub(crate) type Broken = String;

/// What the server has promised to one client.
#[derive(Debug)]
struct Promise {
    user: String,
    relayed: SocketAddr,
    expires_at: Instant,
    permissions: BTreeMap<IpAddr, Instant>,
}

/// A request that the server has been asked and may grant.
#[derive(Debug, Clone)]
struct Asked {
    method: Method,
    user: String,
    peers: Vec<IpAddr>,
}

/// Knows what was asked and granted.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    asked: BTreeMap<(SocketAddr, TransactionId), Asked>,
    promises: BTreeMap<SocketAddr, Promise>,
    open: BTreeSet<SocketAddr>,
    per_user: u32,
}

impl Oracle {
    pub(crate) fn new(allocations_per_user: u32) -> Self {
        Self { per_user: allocations_per_user, ..Self::default() }
    }

    /// The server is given a message of a client.
    pub(crate) fn hears(&mut self, from: SocketAddr, bytes: &[u8]) {
        let Ok(message) = Message::decode(bytes) else { return };
        if message.class() != Class::Request {
            return;
        }
        let name = message.get::<Username<'_>>().ok().flatten();
        let name = name.and_then(|name| std::str::from_utf8(name.0).ok()).unwrap_or_default();
        let user = name.split_once(':').map_or(name, |(_, user)| user).to_owned();
        let peers = message.all::<XorPeerAddress>().flatten().map(|peer| peer.0.ip()).collect();
        let asked = Asked { method: message.method(), user, peers };
        self.asked.insert((from, message.transaction_id()), asked);
    }

    /// The server answers a client.
    pub(crate) fn says(
        &mut self,
        to: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), Broken> {
        let message = Message::decode(bytes).map_err(|error| format!("an answer is {error}"))?;
        let Some(asked) = self.asked.get(&(to, message.transaction_id())).cloned() else {
            return Err(format!("{to} gets an answer to what it did not ask"));
        };
        if message.class() == Class::Error {
            return Ok(());
        }
        match asked.method {
            Method::ALLOCATE => self.allocated(to, &asked, &message, now)?,
            Method::REFRESH => {
                let seconds = lifetime(&message)?;
                match self.promises.get_mut(&to) {
                    _ if seconds == 0 => drop(self.promises.remove(&to)),
                    Some(promise) => promise.expires_at = now + Duration::from_secs(seconds.into()),
                    None => return Err(format!("{to} refreshes what it has not")),
                }
            }
            Method::CREATE_PERMISSION | Method::CHANNEL_BIND => {
                let promise = self.promises.get_mut(&to);
                let promise = promise.ok_or_else(|| format!("{to} has no allocation"))?;
                for peer in asked.peers {
                    promise.permissions.insert(peer, now + PERMISSION);
                }
            }
            _ => {}
        }
        self.quota_holds(&asked.user)
    }

    fn allocated(
        &mut self,
        to: SocketAddr,
        asked: &Asked,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<(), Broken> {
        let relayed = message.get::<XorRelayedAddress>().ok().flatten().ok_or("no address")?.0;
        let expires_at = now + Duration::from_secs(lifetime(message)?.into());
        if !self.open.contains(&relayed) {
            return Err(format!("{to} is told {relayed}, which is not open"));
        }
        if let Some((other, _)) =
            self.promises.iter().find(|(other, p)| p.relayed == relayed && **other != to)
        {
            return Err(format!("{relayed} belongs to {other} and to {to}"));
        }
        // The answer to a retransmission says the same again: nothing new is promised.
        self.promises.entry(to).or_insert_with(|| Promise {
            user: asked.user.clone(),
            relayed,
            expires_at,
            permissions: BTreeMap::new(),
        });
        Ok(())
    }

    fn quota_holds(&self, user: &str) -> Result<(), Broken> {
        let held = self.promises.values().filter(|promise| promise.user == user).count();
        if held > self.per_user as usize {
            return Err(format!("{user} has {held} allocations, {} are allowed", self.per_user));
        }
        Ok(())
    }

    /// A datagram is relayed for a client, in either direction.
    pub(crate) fn relays(
        &self,
        client: SocketAddr,
        peer: SocketAddr,
        now: Instant,
    ) -> Result<(), Broken> {
        let promise = self.promises.get(&client);
        let promise = promise.ok_or_else(|| format!("{client} relays without an allocation"))?;
        match promise.permissions.get(&peer.ip()) {
            Some(until) if now <= *until => Ok(()),
            Some(until) => {
                Err(format!("{client} reaches {peer} {:?} too late", now.duration_since(*until)))
            }
            None => Err(format!("{client} reaches {peer} without a permission")),
        }
    }

    /// A datagram of a client to a peer is dropped for want of a permission.
    pub(crate) fn denies(
        &self,
        client: SocketAddr,
        peer: IpAddr,
        now: Instant,
    ) -> Result<(), Broken> {
        let until = self.promises.get(&client).and_then(|p| p.permissions.get(&peer));
        match until {
            Some(until) if now <= *until => Err(format!(
                "{client} does not reach {peer}, although it may for {:?}",
                *until - now
            )),
            _ => Ok(()),
        }
    }

    /// A relayed socket is opened.
    pub(crate) fn opens(&mut self, relayed: SocketAddr) -> Result<(), Broken> {
        if self.open.insert(relayed) { Ok(()) } else { Err(format!("{relayed} is open twice")) }
    }

    /// A relayed socket is closed, since an allocation has ended by itself or was deleted.
    pub(crate) fn closes(
        &mut self,
        client: SocketAddr,
        relayed: SocketAddr,
        expired: bool,
        now: Instant,
    ) -> Result<(), Broken> {
        if !self.open.remove(&relayed) {
            return Err(format!("{relayed} is closed twice"));
        }
        let Some(promise) = self.promises.get(&client) else { return Ok(()) };
        if expired && now < promise.expires_at {
            return Err(format!("{relayed} ends {:?} early", promise.expires_at - now));
        }
        if expired && now > promise.expires_at + LATE {
            return Err(format!("{relayed} ends {:?} late", now - promise.expires_at));
        }
        if expired {
            self.promises.remove(&client);
        }
        Ok(())
    }

    /// At the end nothing is left.
    pub(crate) fn empty(&self) -> Result<(), Broken> {
        if self.open.is_empty() { Ok(()) } else { Err(format!("{:?} are still open", self.open)) }
    }
}

fn lifetime(message: &Message<'_>) -> Result<u32, Broken> {
    let lifetime = message.get::<Lifetime>().ok().flatten();
    lifetime.map(|Lifetime(seconds)| seconds).ok_or_else(|| "an answer has no lifetime".to_owned())
}
