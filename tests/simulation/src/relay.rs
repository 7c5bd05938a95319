//! The relay: two shards of the server core, their sockets, and the oracle beside it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use turn_auth::UnixSeconds;
use turn_proto::{
    ClientAddr, Command, Counters, EndReason, FiveTuple, IcmpError, Ledger, Now, OpenError,
    PeerAddr, PeerVerdict, RelayedId, Server, Shard, Transport, Verdict,
};
use turn_wire::{
    ChannelData, Class, Message, Method,
    attribute::{Data, Icmp, XorPeerAddress},
};

use crate::{
    oracle::{Broken, Heard, Inbound, Moment, Oracle, Outcome},
    rules::{EPOCH, Rules, TAKEN, listener},
    tally::Tally,
};

/// What the relay sends, and where from.
#[derive(Debug)]
pub(crate) enum Sent {
    ToClient { to: FiveTuple, bytes: Vec<u8> },
    ToPeer { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
}

/// The relay.
pub(crate) struct Relay {
    shards: Vec<Server>,
    ledger: Arc<Ledger>,
    pub(crate) oracle: Oracle,
    start: Instant,
    sockets: BTreeMap<SocketAddr, (usize, RelayedId)>,
    tally: Tally,
    /// What was counted before the last restart.
    before: Counters,
}

/// A client's five-tuple.
pub(crate) fn five_tuple(client: SocketAddr, transport: Transport) -> FiveTuple {
    FiveTuple { client: ClientAddr(client), server: listener(), transport }
}

fn shards(start: Instant, seed: u64, rules: &Rules) -> (Vec<Server>, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::new(Rules::addresses(), Rules::ports(), seed, start));
    let settings = Arc::new(rules.settings());
    let shard = |number: u8| {
        let mut bytes = [number + 1; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let (number, ledger) = (usize::from(number), Arc::clone(&ledger));
        let shard = Shard { number, ledger, seed: bytes, start };
        Server::new(Arc::clone(&settings), shard)
    };
    (vec![shard(0), shard(1)], ledger)
}

impl Relay {
    pub(crate) fn new(start: Instant, seed: u64, rules: Rules) -> Self {
        let (shards, ledger) = shards(start, seed, &rules);
        Self {
            shards,
            ledger,
            oracle: Oracle::new(rules),
            start,
            sockets: BTreeMap::new(),
            tally: Tally::default(),
            before: Counters::default(),
        }
    }

    /// Both clocks at a moment.
    pub(crate) fn moment(&self, instant: Instant) -> Moment {
        let since = instant.duration_since(self.start).as_secs();
        Moment { instant, unix: UnixSeconds(EPOCH + since) }
    }

    fn now(&self, instant: Instant) -> Now {
        Now { instant, unix: self.moment(instant).unix }
    }

    /// Dies and comes back with nothing but its settings.
    pub(crate) fn restart(&mut self, at: Instant, seed: u64) -> Result<(), Broken> {
        self.tally.agrees_with(&self.counters_since_restart())?;
        self.before = self.counters();
        self.tally = Tally::default();
        (self.shards, self.ledger) = shards(at, seed, &self.oracle.rules);
        self.sockets.clear();
        self.oracle.restarts();
        Ok(())
    }

    /// Is told something new, as by a changed file.
    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Rules)) {
        self.oracle.is_told(change);
        let settings = Arc::new(self.oracle.rules.settings());
        for shard in &mut self.shards {
            shard.apply(Arc::clone(&settings));
            if self.oracle.rules.draining {
                shard.drain();
            }
        }
    }

    /// The kernel spreads clients over the shards by a hash; a port is as good.
    fn shard_of(&self, client: SocketAddr) -> usize {
        usize::from(client.port()) % self.shards.len()
    }

    /// Something of a client, or of somebody who says so.
    pub(crate) fn hears_client(
        &mut self,
        at: Instant,
        from: &FiveTuple,
        bytes: &[u8],
    ) -> Result<Option<Sent>, Broken> {
        let shard = self.shard_of(from.client.0);
        let moment = self.moment(at);
        let expected = self.oracle.expects(moment, from, bytes);
        let mut out = vec![0; Server::ANSWER_LEN];
        let (verdict, opened) = self.verdict(at, shard, from, bytes, &mut out)?;
        let mut sent = None;
        let outcome = match verdict {
            Verdict::Respond { len } => {
                self.tally.answered += 1;
                sent = Some(Sent::ToClient { to: *from, bytes: out[..len].to_vec() });
                Outcome::Answered(&out[..len])
            }
            Verdict::ToPeer { relayed, peer, payload, .. } => {
                let payload = &bytes[payload];
                self.tally.to_peers.datagrams += 1;
                self.tally.to_peers.bytes += payload.len() as u64;
                let relayed = self.socket_of(shard, relayed)?;
                let bytes = payload.to_vec();
                sent = Some(Sent::ToPeer { from: relayed, to: peer.0, bytes });
                Outcome::ToPeer { relayed, peer: peer.0, payload }
            }
            Verdict::Drop(reason) => {
                self.tally.dropped(reason);
                Outcome::Dropped(reason)
            }
            Verdict::RespondFrom { .. } => return Err("an answer from elsewhere".to_owned()),
            Verdict::Opening => return Err("opening, and nothing to open".to_owned()),
            Verdict::Bind { .. } => return Err("a connection to a peer".to_owned()),
            Verdict::Moving => return Err("an allocation that moves".to_owned()),
        };
        let heard = Heard { now: moment, from, shard, bytes, opened: &opened };
        self.oracle.judge(&heard, &expected, &outcome)?;
        self.obey(at)?;
        self.holds(at)?;
        Ok(sent)
    }

    /// What the server says, once the sockets that it wants are open.
    fn verdict(
        &mut self,
        at: Instant,
        shard: usize,
        from: &FiveTuple,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Result<(Verdict, Vec<SocketAddr>), Broken> {
        let now = self.now(at);
        let mut opened = Vec::new();
        let mut verdict = self.shards[shard].handle_client(now, from, bytes, out);
        while verdict == Verdict::Opening {
            let Some(Command::Open { relayed, local }) = self.shards[shard].poll_command() else {
                return Err("opening, and nothing to open".to_owned());
            };
            let taken = TAKEN.contains(&local.port());
            if !taken {
                self.oracle.opens(local, *from)?;
                self.sockets.insert(local, (shard, relayed));
                opened.push(local);
            }
            let came = if taken { Err(OpenError::PortTaken) } else { Ok(()) };
            verdict = self.shards[shard].handle_opened(now, relayed, came, out);
        }
        Ok((verdict, opened))
    }

    /// A datagram of a peer.
    pub(crate) fn hears_peer(
        &mut self,
        at: Instant,
        to: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<Option<Sent>, Broken> {
        let Some(&(shard, relayed)) = self.sockets.get(&to) else { return Ok(None) };
        let expected = self.oracle.expects_of_peer(at, to, from)?;
        let mut head = [0; Server::HEAD_LEN];
        let server = &mut self.shards[shard];
        let verdict = server.handle_peer(at, relayed, PeerAddr(from), bytes.len(), &mut head);
        match (verdict, expected) {
            (PeerVerdict::Drop(reason), Inbound::Drop(wanted)) if reason == wanted => {
                self.tally.dropped(reason);
                Ok(None)
            }
            (
                PeerVerdict::ToClient { five_tuple, head_len, padding },
                Inbound::ToClient(client, channel),
            ) if five_tuple == client => {
                let mut framed = head[Server::HEAD_LEN - head_len..].to_vec();
                framed.extend_from_slice(bytes);
                framed.resize(framed.len() + padding, 0);
                is_framed(&framed, &client, channel, from, bytes)?;
                self.tally.to_clients.datagrams += 1;
                self.tally.to_clients.bytes += bytes.len() as u64;
                self.oracle.notes_traffic(&client, at);
                Ok(Some(Sent::ToClient { to: client, bytes: framed }))
            }
            (verdict, expected) => {
                Err(format!("from {from} to {to} comes {verdict:?}, and should come {expected:?}"))
            }
        }
    }

    /// A datagram to a peer comes back as an ICMP error: host unreachable.
    pub(crate) fn hears_icmp(
        &mut self,
        at: Instant,
        to: SocketAddr,
        peer: SocketAddr,
    ) -> Result<Option<Sent>, Broken> {
        let Some(&(shard, relayed)) = self.sockets.get(&to) else { return Ok(None) };
        let expected = self.oracle.expects_of_peer(at, to, peer)?;
        let kind = if peer.is_ipv4() { 3 } else { 1 };
        let error = IcmpError { kind, code: 1, data: 0 };
        let mut out = vec![0; Server::ANSWER_LEN];
        let told = self.shards[shard].handle_icmp(at, relayed, PeerAddr(peer), error, &mut out);
        match (told, expected) {
            (None, Inbound::Drop(reason)) => {
                self.tally.dropped(reason);
                Ok(None)
            }
            (Some((five_tuple, len)), Inbound::ToClient(client, _)) if five_tuple == client => {
                out.truncate(len);
                let message = Message::decode(&out).map_err(|error| error.to_string())?;
                let named = message.get::<XorPeerAddress>().ok().flatten().map(|named| named.0);
                if named != Some(peer) || !message.has::<Icmp>() {
                    return Err(format!("of the ICMP error about {peer} {client:?} gets {out:?}"));
                }
                Ok(Some(Sent::ToClient { to: client, bytes: out }))
            }
            (told, expected) => Err(format!(
                "the ICMP error about {peer} comes to {told:?}, and should to {expected:?}"
            )),
        }
    }

    /// A client's connection has ended.
    pub(crate) fn disconnects(&mut self, at: Instant, client: &FiveTuple) -> Result<(), Broken> {
        self.oracle.disconnects(client);
        let shard = self.shard_of(client.client.0);
        self.shards[shard].handle_disconnect(client);
        self.obey(at)?;
        self.holds(at)
    }

    /// The listener of a transport is no more, and comes back at once.
    pub(crate) fn changes_listener(
        &mut self,
        at: Instant,
        transport: Transport,
    ) -> Result<(), Broken> {
        self.oracle.loses_listener(transport);
        for shard in &mut self.shards {
            shard.handle_listener_removed(|client| client.transport == transport);
        }
        self.obey(at)?;
        self.holds(at)
    }

    /// When [`Relay::pass`] has something to do.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.shards.iter().filter_map(Server::poll_timeout).min()
    }

    /// Time has passed.
    pub(crate) fn pass(&mut self, at: Instant) -> Result<(), Broken> {
        for shard in &mut self.shards {
            shard.handle_timeout(at);
        }
        self.obey(at)?;
        self.oracle.passes_time(at);
        self.holds(at)
    }

    /// Everybody has gone, and the longest lifetime is over: nothing is left, and what was counted
    /// is what happened.
    pub(crate) fn is_as_new(&mut self, at: Instant) -> Result<Counters, Broken> {
        // A tick on, wheels have nothing more to turn for.
        self.pass(at + Duration::from_secs(2))?;
        let left: usize = self.shards.iter().map(Server::allocations).sum();
        if left > 0 || !self.sockets.is_empty() || self.next_at().is_some() {
            return Err(format!("{left} allocations, {} sockets are left", self.sockets.len()));
        }
        self.tally.agrees_with(&self.counters_since_restart())?;
        Ok(self.counters())
    }

    fn counters_since_restart(&self) -> Counters {
        let mut counters = Counters::default();
        self.shards.iter().for_each(|shard| counters.merge(shard.counters()));
        counters
    }

    fn counters(&self) -> Counters {
        let mut counters = self.before.clone();
        counters.merge(&self.counters_since_restart());
        counters
    }

    fn holds(&self, at: Instant) -> Result<(), Broken> {
        let allocations = self.shards.iter().map(Server::allocations).sum();
        if self.ledger.allocations() as usize != allocations {
            return Err(format!("{} of {allocations} are charged", self.ledger.allocations()));
        }
        self.oracle.holds(at, self.ledger.free_ports(), allocations)
    }

    fn obey(&mut self, at: Instant) -> Result<(), Broken> {
        for shard in 0..self.shards.len() {
            while let Some(command) = self.shards[shard].poll_command() {
                match command {
                    // Asked for again after a port was taken: `verdict` sees to it.
                    Command::Open { .. } => return Err("a socket for nobody".to_owned()),
                    Command::Listen { .. }
                    | Command::Connect { .. }
                    | Command::AbortConnect { .. }
                    | Command::CloseConnection { .. } => {
                        return Err("a stream, and none was asked for".to_owned());
                    }
                    Command::Close { reason: EndReason::NotOpened, .. } => {}
                    Command::Close { address, five_tuple, reason, .. } => {
                        self.oracle.closes(&five_tuple, address.0, reason, at)?;
                        self.sockets.remove(&address.0);
                    }
                }
            }
        }
        Ok(())
    }

    fn socket_of(&self, shard: usize, id: RelayedId) -> Result<SocketAddr, Broken> {
        let found = self.sockets.iter().find(|(_, owner)| **owner == (shard, id));
        found.map(|(relayed, _)| *relayed).ok_or_else(|| "relays without a socket".to_owned())
    }
}

/// Whether a peer's datagram has the right header before it, and the padding that it has to have.
fn is_framed(
    framed: &[u8],
    client: &FiveTuple,
    channel: Option<u16>,
    peer: SocketAddr,
    payload: &[u8],
) -> Result<(), Broken> {
    let right = match channel {
        Some(channel) => {
            let padded = client.transport.is_stream();
            let len = 4 + payload.len();
            framed.len() == if padded { len.next_multiple_of(4) } else { len }
                && ChannelData::decode(framed).is_ok_and(|message| {
                    message.channel.number() == channel && message.data == payload
                })
        }
        None => Message::decode(framed).is_ok_and(|message| {
            (message.class(), message.method()) == (Class::Indication, Method::DATA)
                && message.get::<XorPeerAddress>().ok().flatten().map(|from| from.0) == Some(peer)
                && message.get::<Data<'_>>().ok().flatten().map(|data| data.0) == Some(payload)
        }),
    };
    if right {
        Ok(())
    } else {
        Err(format!("{client:?} gets {framed:?} from {peer} ({channel:?})"))
    }
}
