//! The relay: two shards of the server core, their sockets, and the oracle that watches both sides.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use turn_auth::{Credentials, Secret, UnixSeconds};
use turn_proto::{
    ClientAddr, Command, DropReason, EndReason, FiveTuple, Ledger, Limits, Now, OpenError,
    PeerAddr, PeerPolicy, PeerVerdict, PortRange, Rate, RelayAddress, RelayedId, Server, Settings,
    Shard, Transport, Verdict,
};
use turn_wire::{ChannelData, Message, attribute::XorPeerAddress};

use crate::oracle::{Broken, Oracle};

/// The realm.
const REALM: &str = "simulation";

/// How many allocations one user may have.
pub(crate) const PER_USER: u32 = 3;

/// How many ports there are: so few that they run out.
const PORTS: PortRange = PortRange { from: 61_000, to: 61_019 };

/// The wall clock at the start.
const EPOCH: u64 = 1_700_000_000;

/// What the relay sends, and where from.
#[derive(Debug)]
pub(crate) enum Sent {
    ToClient { to: SocketAddr, bytes: Vec<u8> },
    ToPeer { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
}

/// The relay.
pub(crate) struct Relay {
    shards: Vec<Server>,
    ledger: Arc<Ledger>,
    oracle: Oracle,
    start: Instant,
    sockets: Vec<(SocketAddr, usize, RelayedId)>,
    /// Of these ports another program has each.
    taken: Vec<u16>,
    relayed: [u64; 2],
    settings: Settings,
}

/// Where clients send to.
pub(crate) fn listener() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 3478))
}

/// The secret that everybody shares; `generation` counts rotations.
pub(crate) fn secret(generation: u8) -> Secret {
    #[expect(clippy::expect_used, reason = "the text is not empty")]
    Secret::from_file(format!("secret-{generation}").as_bytes()).expect("a secret")
}

impl Relay {
    pub(crate) fn new(start: Instant, seed: u64) -> Self {
        let ip = listener().ip();
        let address = RelayAddress { local: ip, external: ip };
        let ledger = Arc::new(Ledger::new(vec![address], PORTS, seed, start));
        let settings = Settings::new(
            Credentials::new(REALM, vec![secret(0)], []),
            PeerPolicy {
                own: vec![ip],
                own_listener_ports: vec![listener().port()],
                ..PeerPolicy::default()
            },
            Limits {
                allocations_per_user: PER_USER,
                allocations: 16,
                permissions_per_allocation: 8,
                channels_per_allocation: 8,
                unauthenticated_replies_per_second_per_prefix: 100,
                new_peers_per_second: 100,
                allocation_rate: Rate::default(),
                user_rate: Rate::default(),
                relay_rate: Rate::default(),
            },
        );
        let shard = |index: u8| {
            let mut bytes = [index; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            let shard = Shard { ledger: Arc::clone(&ledger), seed: bytes, start };
            Server::new(Arc::new(settings.clone()), shard)
        };
        Self {
            shards: vec![shard(1), shard(2)],
            oracle: Oracle::new(PER_USER),
            start,
            sockets: Vec::new(),
            taken: vec![PORTS.from + 3, PORTS.from + 4],
            relayed: [0; 2],
            settings,
            ledger,
        }
    }

    fn now(&self, instant: Instant) -> Now {
        let since = instant.duration_since(self.start).as_secs();
        Now { instant, unix: UnixSeconds(EPOCH + since) }
    }

    /// The wall clock at a moment.
    pub(crate) fn unix(&self, instant: Instant) -> UnixSeconds {
        self.now(instant).unix
    }

    /// Puts a new secret in front of the one before.
    pub(crate) fn rotate(&mut self, generation: u8) {
        let secrets = vec![secret(generation), secret(generation.saturating_sub(1))];
        self.settings.credentials = Credentials::new(REALM, secrets, []);
        let settings = Arc::new(self.settings.clone());
        for shard in &mut self.shards {
            shard.apply(Arc::clone(&settings));
        }
    }

    /// The kernel spreads clients over the shards by a hash; a port is as good.
    fn shard_of(&self, client: SocketAddr) -> usize {
        usize::from(client.port()) % self.shards.len()
    }

    /// A datagram of a client, or of somebody who says so.
    pub(crate) fn hears_client(
        &mut self,
        at: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<Vec<Sent>, Broken> {
        let now = self.now(at);
        let shard = self.shard_of(from);
        let client = ClientAddr(from);
        let five_tuple = FiveTuple { client, server: listener(), transport: Transport::Udp };
        self.oracle.hears(from, bytes);
        let mut out = vec![0; Server::ANSWER_LEN];
        let mut verdict = self.shards[shard].handle_client(now, &five_tuple, bytes, &mut out);
        while verdict == Verdict::Opening {
            verdict = self.open(at, shard, &mut out)?;
        }
        let sent = match verdict {
            Verdict::ToPeer { relayed, peer, payload, .. } => {
                self.oracle.relays(from, peer.0, at)?;
                self.relayed[0] += 1;
                let relayed = self.socket_of(shard, relayed)?;
                vec![Sent::ToPeer { from: relayed, to: peer.0, bytes: bytes[payload].to_vec() }]
            }
            Verdict::Respond { len } => {
                out.truncate(len);
                self.oracle.says(from, &out, at)?;
                vec![Sent::ToClient { to: from, bytes: out }]
            }
            Verdict::Drop(DropReason::NoPermissionOutbound) => {
                if let Some(peer) = send_peer(bytes) {
                    self.oracle.denies(from, peer.ip(), at)?;
                }
                Vec::new()
            }
            Verdict::Drop(_) => Vec::new(),
            Verdict::RespondFrom { .. } => return Err("an answer from nowhere".to_owned()),
            Verdict::Opening => return Err("opening twice".to_owned()),
        };
        self.obey(at)?;
        Ok(sent)
    }

    /// A datagram of a peer.
    pub(crate) fn hears_peer(
        &mut self,
        at: Instant,
        to: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<Vec<Sent>, Broken> {
        let found = self.sockets.iter().find(|(relayed, _, _)| *relayed == to);
        let Some(&(_, shard, allocation)) = found else { return Ok(Vec::new()) };
        let mut head = [0; Server::HEAD_LEN];
        let server = &mut self.shards[shard];
        match server.handle_peer(at, allocation, PeerAddr(from), bytes.len(), &mut head) {
            PeerVerdict::Drop(_) => Ok(Vec::new()),
            PeerVerdict::ToClient { five_tuple, head_len, padding } => {
                self.oracle.relays(five_tuple.client.0, from, at)?;
                self.relayed[1] += 1;
                let mut framed = head[Server::HEAD_LEN - head_len..].to_vec();
                framed.extend_from_slice(bytes);
                framed.resize(framed.len() + padding, 0);
                Ok(vec![Sent::ToClient { to: five_tuple.client.0, bytes: framed }])
            }
        }
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
        self.obey(at)
    }

    /// Everybody has gone, and the longest lifetime is over.
    pub(crate) fn is_as_new(&self) -> Result<[u64; 2], Broken> {
        self.oracle.empty()?;
        let left: usize = self.shards.iter().map(Server::allocations).sum();
        let free = usize::from(PORTS.to - PORTS.from) + 1;
        let found = (left, self.ledger.allocations(), self.ledger.free_ports());
        if found != (0, 0, free) || !self.sockets.is_empty() {
            return Err(format!("allocations, charges, free ports: {found:?}"));
        }
        let counted = self.shards.iter().map(Server::counters).fold([0; 2], |sum, counters| {
            [sum[0] + counters.to_peers.datagrams, sum[1] + counters.to_clients.datagrams]
        });
        if counted != self.relayed {
            return Err(format!("counted {counted:?}, relayed {:?}", self.relayed));
        }
        Ok(counted)
    }

    fn open(&mut self, at: Instant, shard: usize, out: &mut [u8]) -> Result<Verdict, Broken> {
        let Some(Command::Open { relayed, local }) = self.shards[shard].poll_command() else {
            return Err("opening, but nothing to open".to_owned());
        };
        let opened = if self.taken.contains(&local.port()) {
            Err(OpenError::PortTaken)
        } else {
            self.oracle.opens(local)?;
            self.sockets.push((local, shard, relayed));
            Ok(())
        };
        let now = self.now(at);
        Ok(self.shards[shard].handle_opened(now, relayed, opened, out))
    }

    fn obey(&mut self, at: Instant) -> Result<(), Broken> {
        for shard in 0..self.shards.len() {
            while let Some(command) = self.shards[shard].poll_command() {
                match command {
                    // Asked for again after a port was taken: `open` sees to it.
                    Command::Open { .. } => return Err("a socket for nobody".to_owned()),
                    Command::Close { reason: EndReason::NotOpened, .. } => {}
                    Command::Close { address, five_tuple, reason, .. } => {
                        let expired = reason == EndReason::Expired;
                        self.oracle.closes(five_tuple.client.0, address.0, expired, at)?;
                        self.sockets.retain(|(open, _, _)| *open != address.0);
                    }
                }
            }
        }
        Ok(())
    }

    fn socket_of(&self, shard: usize, allocation: RelayedId) -> Result<SocketAddr, Broken> {
        let found = self.sockets.iter().find(|(_, s, id)| (*s, *id) == (shard, allocation));
        found.map(|(relayed, _, _)| *relayed).ok_or_else(|| "relays without a socket".to_owned())
    }
}

/// Whom a Send indication is for. A ChannelData message does not say.
fn send_peer(bytes: &[u8]) -> Option<SocketAddr> {
    if ChannelData::decode(bytes).is_ok() {
        return None;
    }
    let message = Message::decode(bytes).ok()?;
    message.get::<XorPeerAddress>().ok().flatten().map(|peer| peer.0)
}
