//! A client that lies in wait: it writes its messages by hand, renews nothing, and does things a
//! millisecond before, at and after the moments at which something ends.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{Rng, RngExt};
use turn_auth::{LongTermKey, PasswordAlgorithm, TimeLimitedCredential, UnixSeconds};
use turn_proto::FiveTuple;
use turn_wire::{
    AttributeType, ChannelData, ChannelNumber, Class, Message, MessageWriter, Method,
    TransactionId,
    attribute::{
        self, AdditionalAddressFamily, Channel, Data, DontFragment, EvenPort, Family, Lifetime,
        MobilityTicket, Nonce, PasswordAlgorithms, Realm, RequestedAddressFamily,
        RequestedTransport, ReservationToken, Username, XorPeerAddress,
    },
};

use crate::{
    oracle::{Edge, Oracle},
    rules::{FORBIDDEN, REALM, secret},
};

/// A prober, on two five-tuples of its own.
pub(crate) struct Prober {
    addresses: [FiveTuple; 2],
    /// Which of them it is at now.
    address: FiveTuple,
    credentials: Vec<Credential>,
    nonce: Vec<u8>,
    peers: Vec<SocketAddr>,
    /// Its last Allocate.
    allocate: Option<Vec<u8>>,
    /// The last token that it got.
    token: Option<[u8; 8]>,
    /// What it waits for.
    aim: Option<Edge>,
    /// When it goes.
    until: Instant,
}

/// What somebody signs with.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    username: String,
    key: LongTermKey,
    algorithm: PasswordAlgorithm,
}

impl Credential {
    pub(crate) fn new(
        user: u16,
        generation: u8,
        algorithm: PasswordAlgorithm,
        expires_at: UnixSeconds,
    ) -> Self {
        let secret = secret(generation);
        let minted = TimeLimitedCredential::mint(&secret, &format!("user-{user}"), expires_at);
        let (name, password) = (minted.username.as_bytes(), minted.password.as_bytes());
        let key = LongTermKey::derive(algorithm, name, REALM.as_bytes(), password);
        Self { username: minted.username, key, algorithm }
    }
}

/// Something that a prober does.
#[derive(Debug)]
pub(crate) enum Deed {
    /// It sends this, from that five-tuple.
    Say(FiveTuple, Vec<u8>),
    /// A peer sends something to a relayed address.
    Peer { from: SocketAddr, to: SocketAddr },
    /// Its connection ends.
    Disconnect(FiveTuple),
}

/// The body of a request.
type Body<'b> = Box<dyn Fn(MessageWriter<'_>) -> MessageWriter<'_> + 'b>;

impl Prober {
    pub(crate) fn new(
        addresses: [FiveTuple; 2],
        credentials: Vec<Credential>,
        peers: Vec<SocketAddr>,
        until: Instant,
    ) -> Self {
        Self {
            addresses,
            address: addresses[0],
            credentials,
            nonce: b"none".to_vec(),
            peers,
            allocate: None,
            token: None,
            aim: None,
            until,
        }
    }

    /// What it does now, and when it does something again.
    pub(crate) fn probe(
        &mut self,
        now: Instant,
        oracle: &Oracle,
        others: &[FiveTuple],
        rng: &mut impl Rng,
    ) -> (Vec<Deed>, Option<Instant>) {
        let mut deeds = Vec::new();
        match self.aim.take() {
            Some(edge) => deeds.extend(self.try_edge(edge, oracle, rng)),
            None => self.address = self.addresses[rng.random_range(..2_usize)],
        }
        let has = oracle.has(&self.address);
        if has || rng.random_range(..8_u32) == 0 {
            deeds.extend(self.try_ways(oracle, rng));
        }
        if !has || rng.random_range(..3_u32) > 0 {
            deeds.extend(self.ask(oracle, others, rng));
        }
        let next = self.next_moment(now, oracle, rng);
        (deeds, (next < self.until).then_some(next))
    }

    /// What can be had only until a moment, or only after it.
    fn try_edge(&mut self, edge: Edge, oracle: &Oracle, rng: &mut impl Rng) -> Vec<Deed> {
        let home = self.address;
        let knock = |from: SocketAddr| {
            let relayed = oracle.relayed().into_iter();
            relayed.map(move |to| Deed::Peer { from, to })
        };
        match edge {
            Edge::Permission(ip) => {
                let peer = SocketAddr::new(ip, 4000);
                let send = Deed::Say(home, send_indication(peer, rng));
                knock(peer).chain([send]).collect()
            }
            Edge::Channel(channel, peer) => {
                let mut deeds = vec![Deed::Say(home, self.permit(&[peer], rng))];
                deeds.extend(knock(peer));
                deeds.push(Deed::Say(home, channel_data(channel, rng)));
                deeds
            }
            Edge::Held(number, peer) => {
                let (number, peer) = if rng.random() {
                    (number, self.peers[rng.random_range(..self.peers.len())])
                } else {
                    (channel(rng), peer)
                };
                vec![Deed::Say(home, self.bind(Some(number), Some(peer), rng))]
            }
            Edge::Allocation => {
                let lifetime = Some(Lifetime(3600));
                let body: Body<'_> = Box::new(move |writer| writer.put_some(lifetime.as_ref()));
                vec![Deed::Say(home, self.sign(Method::REFRESH, &body, rng))]
            }
            Edge::Token(token) => {
                let body: Body<'_> = Box::new(move |writer| {
                    writer.put(&RequestedTransport::UDP).put(&ReservationToken(token))
                });
                let other = self.addresses[usize::from(home == self.addresses[0])];
                vec![Deed::Say(other, self.sign(Method::ALLOCATE, &body, rng))]
            }
        }
    }

    /// An answer: what it needs is the nonce, and tokens.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        let Ok(message) = Message::decode(bytes) else { return };
        if let Ok(Some(nonce)) = message.get::<Nonce<'_>>() {
            self.nonce = nonce.0.to_vec();
        }
        if let Ok(Some(token)) = message.get::<ReservationToken>() {
            self.token = Some(token.0);
        }
    }

    /// A moment at which something ends, or just before or after; or soon.
    fn next_moment(&mut self, now: Instant, oracle: &Oracle, rng: &mut impl Rng) -> Instant {
        let edges = oracle.edges(&self.address);
        let edges: Vec<_> = edges.into_iter().filter(|(edge, _)| *edge > now).collect();
        if edges.is_empty() || rng.random_range(..3_u32) == 0 {
            return now + Duration::from_millis(rng.random_range(1..20_000));
        }
        let (edge, aim) = edges[rng.random_range(..edges.len())];
        self.aim = Some(aim);
        let millis = Duration::from_millis(1);
        match rng.random_range(..5_u32) {
            0 => edge.max(now + millis),
            1 => edge + millis,
            2 => edge + Duration::from_millis(1050),
            3 => edge - Duration::from_millis(rng.random_range(1..1500)),
            _ => edge - millis,
        }
        .max(now + millis)
    }

    /// Data in both directions, by each of the ways.
    fn try_ways(&self, oracle: &Oracle, rng: &mut impl Rng) -> Vec<Deed> {
        let mut deeds = Vec::new();
        for _ in 0..3 {
            let peer = self.peer(oracle, rng);
            deeds.push(Deed::Say(self.address, send_indication(peer, rng)));
            deeds.push(Deed::Say(self.address, channel_data(channel(rng), rng)));
            let relayed = oracle.relayed();
            if !relayed.is_empty() {
                let to = relayed[rng.random_range(..relayed.len())];
                deeds.push(Deed::Peer { from: self.peer(oracle, rng), to });
            }
        }
        deeds
    }

    fn peer(&self, oracle: &Oracle, rng: &mut impl Rng) -> SocketAddr {
        let mut peer = match rng.random_range(..12_u32) {
            0 => FORBIDDEN[rng.random_range(..FORBIDDEN.len())],
            1 | 2 => {
                let relayed = oracle.relayed();
                *relayed.get(rng.random_range(..relayed.len().max(1))).unwrap_or(&self.peers[0])
            }
            _ => self.peers[rng.random_range(..self.peers.len())],
        };
        if rng.random_range(..30_u32) == 0 {
            peer.set_port(0);
        }
        peer
    }

    fn ask(&mut self, oracle: &Oracle, others: &[FiveTuple], rng: &mut impl Rng) -> Vec<Deed> {
        // Mostly at home; at times on somebody else's five-tuple.
        let stranger = rng.random_range(..12_u32) == 0 && !others.is_empty();
        let from = if stranger { others[rng.random_range(..others.len())] } else { self.address };
        let draw = rng.random_range(..24_u32);
        // Without an allocation there is little else to do.
        let draw = if draw > 6 && !oracle.has(&from) && rng.random() { 0 } else { draw };
        let deed = match draw {
            0..=2 => self.ask_to_allocate(oracle, rng),
            3 => self.allocate.clone().unwrap_or_default(),
            4..=6 => self.refresh(rng),
            7..=13 => self.create_permission(oracle, rng),
            14..=20 => self.channel_bind(oracle, rng),
            21 if from.transport == turn_proto::Transport::Tcp && !stranger => {
                return vec![Deed::Disconnect(from)];
            }
            22 => self.write(Class::Request, Method::BINDING, &|writer| writer, rng),
            _ => self.odd(rng),
        };
        vec![Deed::Say(from, deed)]
    }

    fn ask_to_allocate(&mut self, oracle: &Oracle, rng: &mut impl Rng) -> Vec<u8> {
        let lifetime = lifetime(rng);
        let draw = rng.random_range(..24_u32);
        let any = oracle.token(rng.random_range(..8));
        let token = if rng.random() { self.token.or(any) } else { any };
        let body: Body<'_> = Box::new(move |writer| {
            let writer = match draw {
                0 => writer,
                1 => writer.put(&RequestedTransport::TCP),
                _ => writer.put(&RequestedTransport::UDP),
            };
            let writer = writer.put_some(lifetime.as_ref());
            match draw {
                2 | 3 => writer.put(&RequestedAddressFamily(Some(Family::V6))),
                4 => writer.put(&RequestedAddressFamily(None)),
                5..=7 => writer.put(&AdditionalAddressFamily(Some(Family::V6))),
                8 => writer.put(&AdditionalAddressFamily(Some(Family::V4))),
                9..=10 => writer.put(&EvenPort { reserve: false }),
                11..=13 => writer.put(&EvenPort { reserve: true }),
                14 => writer
                    .put(&EvenPort { reserve: true })
                    .put(&AdditionalAddressFamily(Some(Family::V6))),
                15 => writer.put(&ReservationToken([7; 8])),
                16..=18 => writer.put_some(token.map(ReservationToken).as_ref()),
                19 => writer.put(&DontFragment),
                20 => writer.put_raw(AttributeType(0x7f00), b"odd"),
                21 => writer.put(&MobilityTicket(&[])),
                22 => writer.put(&MobilityTicket(&[7; 16])),
                _ => writer,
            }
        });
        let bytes = self.sign(Method::ALLOCATE, &body, rng);
        self.allocate = Some(bytes.clone());
        bytes
    }

    fn refresh(&self, rng: &mut impl Rng) -> Vec<u8> {
        let lifetime = lifetime(rng);
        let family = match rng.random_range(..8_u32) {
            0 => Some(RequestedAddressFamily(Some(Family::V4))),
            1 => Some(RequestedAddressFamily(Some(Family::V6))),
            2 => Some(RequestedAddressFamily(None)),
            _ => None,
        };
        let ticket = (rng.random_range(..12_u32) == 0).then_some(MobilityTicket(&[7; 16]));
        let body: Body<'_> = Box::new(move |writer| {
            let writer = writer.put_some(lifetime.as_ref()).put_some(family.as_ref());
            writer.put_some(ticket.as_ref())
        });
        self.sign(Method::REFRESH, &body, rng)
    }

    fn create_permission(&self, oracle: &Oracle, rng: &mut impl Rng) -> Vec<u8> {
        let count = [0, 1, 1, 1, 2, 3][rng.random_range(..6_usize)];
        let mut peers: Vec<_> = (0..count).map(|_| self.peer(oracle, rng)).collect();
        // Several candidates of one host.
        if let Some(first) = peers.first().copied().filter(|_| rng.random_range(..3_u32) == 0) {
            peers.extend((1..5).map(|port| SocketAddr::new(first.ip(), port)));
        }
        self.permit(&peers, rng)
    }

    fn permit(&self, peers: &[SocketAddr], rng: &mut impl Rng) -> Vec<u8> {
        let body: Body<'_> = Box::new(move |writer| {
            peers.iter().fold(writer, |writer, peer| writer.put(&XorPeerAddress(*peer)))
        });
        self.sign(Method::CREATE_PERMISSION, &body, rng)
    }

    fn channel_bind(&self, oracle: &Oracle, rng: &mut impl Rng) -> Vec<u8> {
        let (channel, peer) = (channel(rng), self.peer(oracle, rng));
        let lacks = rng.random_range(..16_u32);
        self.bind((lacks != 0).then_some(channel), (lacks != 1).then_some(peer), rng)
    }

    fn bind(&self, channel: Option<u16>, peer: Option<SocketAddr>, rng: &mut impl Rng) -> Vec<u8> {
        let channel = channel.and_then(ChannelNumber::new).map(Channel);
        let peer = peer.map(XorPeerAddress);
        let body: Body<'_> =
            Box::new(move |writer| writer.put_some(channel.as_ref()).put_some(peer.as_ref()));
        self.sign(Method::CHANNEL_BIND, &body, rng)
    }

    /// A signed request with attributes of any types and values: a method, then a type, a length and
    /// so many bytes, again and again.
    pub(crate) fn sign_any(&self, script: &[u8], rng: &mut impl Rng) -> Vec<u8> {
        let (method, rest) = script.split_first().unwrap_or((&3, &[]));
        let method = Method::new(u16::from(*method % 16)).unwrap_or(Method::ALLOCATE);
        let body: Body<'_> = Box::new(move |mut writer| {
            let mut rest = rest;
            while let Some(([high, low, len], behind)) = rest.split_first_chunk() {
                let (value, behind) = behind.split_at(usize::from(*len % 40).min(behind.len()));
                let kind = AttributeType(u16::from_be_bytes([*high & 0x80, *low]));
                writer = writer.put_raw(kind, value);
                rest = behind;
            }
            writer
        });
        self.sign(method, &body, rng)
    }

    /// What nobody should send.
    fn odd(&self, rng: &mut impl Rng) -> Vec<u8> {
        let method = Method::new(rng.random_range(0x010..0x014)).unwrap_or(Method::DATA);
        match rng.random_range(..4_u32) {
            0 => self.sign(method, &|writer| writer, rng),
            1 => self.write(Class::Success, Method::ALLOCATE, &|writer| writer, rng),
            2 => self.write(Class::Indication, Method::DATA, &|writer| writer, rng),
            _ => self.write(Class::Request, Method::REFRESH, &|writer| writer, rng),
        }
    }

    fn write(
        &self,
        class: Class,
        method: Method,
        body: &dyn Fn(MessageWriter<'_>) -> MessageWriter<'_>,
        rng: &mut impl Rng,
    ) -> Vec<u8> {
        let mut buffer = vec![0; 2048];
        let writer = MessageWriter::new(&mut buffer, class, method, TransactionId(rng.random()));
        let len = body(writer).finish().unwrap_or(0);
        buffer.truncate(len);
        buffer
    }

    /// Signs a request; mostly as itself, and so that it is taken.
    fn sign(
        &self,
        method: Method,
        body: &dyn Fn(MessageWriter<'_>) -> MessageWriter<'_>,
        rng: &mut impl Rng,
    ) -> Vec<u8> {
        let odd = rng.random_range(..40_u32);
        let index = if rng.random_range(..10_u32) == 0 { self.credentials.len() - 1 } else { 0 };
        let index = if odd == 0 { rng.random_range(..self.credentials.len()) } else { index };
        let Credential { username, key, algorithm } = &self.credentials[index];
        let sha256 = *algorithm == PasswordAlgorithm::Sha256;
        let both = odd == 5;
        let fingerprint: bool = rng.random();
        let mut buffer = vec![0; 2048];
        let id = TransactionId(rng.random());
        let writer = body(MessageWriter::new(&mut buffer, Class::Request, method, id));
        let writer = if odd == 1 { writer } else { writer.put(&Username(username.as_bytes())) };
        let writer = if odd == 2 { writer } else { writer.put(&Realm(REALM.as_bytes())) };
        let writer =
            if odd == 3 { writer.put(&Nonce(b"old")) } else { writer.put(&Nonce(&self.nonce)) };
        let writer = if sha256 {
            let chosen = attribute::PasswordAlgorithm {
                algorithm: attribute::PasswordAlgorithm::SHA256,
                parameters: &[],
            };
            writer.put(&PasswordAlgorithms::default()).put(&chosen)
        } else {
            writer
        };
        let bytes = key.as_bytes();
        let writer = match odd {
            4 => writer.put_integrity(b"wrong"),
            _ if both => writer.put_integrity(bytes).put_integrity_sha256(bytes),
            _ if sha256 => writer.put_integrity_sha256(bytes),
            _ => writer.put_integrity(bytes),
        };
        let writer = if fingerprint { writer.put_fingerprint() } else { writer };
        let len = writer.finish().unwrap_or(0);
        buffer.truncate(len);
        buffer
    }
}

fn lifetime(rng: &mut impl Rng) -> Option<Lifetime> {
    let seconds = [0, 1, 300, 600, 700, 1000, 1500, 3600, 3600, u32::MAX];
    match rng.random_range(..20_usize) {
        draw if draw < seconds.len() => Some(Lifetime(seconds[draw])),
        _ => None,
    }
}

/// One of few, so that they meet again.
fn channel(rng: &mut impl Rng) -> u16 {
    0x4000 + rng.random_range(..10_u16)
}

fn send_indication(peer: SocketAddr, rng: &mut impl Rng) -> Vec<u8> {
    let mut buffer = vec![0; 256];
    let id = TransactionId(rng.random());
    let data = vec![0xDD; rng.random_range(..20_usize)];
    let draw = rng.random_range(..40_u32);
    let writer = MessageWriter::new(&mut buffer, Class::Indication, Method::SEND, id);
    let writer = if draw == 0 { writer } else { writer.put(&XorPeerAddress(peer)) };
    let writer = if draw == 1 { writer } else { writer.put(&Data(&data)) };
    let writer = match draw {
        2 => writer.put(&DontFragment),
        3 => writer.put_raw(AttributeType(0x0042), b"odd!"),
        _ => writer,
    };
    let len = writer.finish().unwrap_or(0);
    buffer.truncate(len);
    buffer
}

fn channel_data(channel: u16, rng: &mut impl Rng) -> Vec<u8> {
    let len = rng.random_range(..24_u16);
    let Some(number) = ChannelNumber::new(channel) else { return Vec::new() };
    let mut bytes = ChannelData::header(number, len).to_vec();
    bytes.resize(4 + usize::from(len), 0xCC);
    bytes
}
