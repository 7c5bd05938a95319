//! What the server has to do with what a client sends: judged a second time, from the RFCs.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    ops::Range,
    time::Instant,
};

use turn_proto::{DropReason, FiveTuple, Transport};
use turn_wire::{
    AttributeType, ChannelData, Class, DecodeError, HEADER_LEN, Kind, Message, Method,
    attribute::{
        AdditionalAddressFamily, Attribute, Channel, Data, DontFragment,
        DraftAdditionalAddressFamily, EvenPort, Family, Lifetime, MessageIntegrity,
        MessageIntegritySha256, MobilityTicket, Nonce, PasswordAlgorithm, Realm,
        RequestedAddressFamily, RequestedTransport, ReservationToken, Userhash, Username,
        XorPeerAddress,
    },
};

use super::{
    Moment, Oracle,
    ports::Need,
    promise::Promise,
    standing::{Context, Identity, Standing, standing},
};
use crate::rules::listener;

/// What the server has to do.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    /// Nothing, and count it so.
    Drop(DropReason),
    /// Tell somebody unknown to prove himself, or that he asks nonsense.
    Challenge(u16),
    /// Tell somebody unknown where he is; or that it does not understand him.
    Mapped { refuse: bool },
    /// Answer somebody known.
    Answer(Box<Answer>),
    /// Relay.
    ToPeer { relayed: SocketAddr, peer: SocketAddr, payload: Range<usize> },
}

/// An answer to somebody known.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) to: Identity,
    /// Why the request has to be refused; any of them will do. None: it has to succeed.
    pub(crate) must: BTreeSet<u16>,
    /// Why it may be refused although nothing is wrong with it.
    pub(crate) may: BTreeSet<u16>,
    pub(crate) change: Change,
}

/// What a success changes.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Nothing,
    Allocate(Wish),
    /// The same Allocate once more.
    Again,
    Refresh {
        ipv4: Option<bool>,
        seconds: u32,
        is_idle: bool,
    },
    Permit(BTreeSet<IpAddr>),
    Bind(u16, SocketAddr),
}

/// What an Allocate asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    /// Families, `true` for IPv4.
    pub(crate) families: Vec<bool>,
    pub(crate) even: bool,
    pub(crate) reserve: bool,
    pub(crate) token: Option<[u8; 8]>,
    pub(crate) seconds: u32,
}

const SIGNED: [AttributeType; 7] = [
    Username::TYPE,
    Userhash::TYPE,
    PasswordAlgorithm::TYPE,
    Realm::TYPE,
    Nonce::TYPE,
    MessageIntegrity::TYPE,
    MessageIntegritySha256::TYPE,
];

/// What a Refresh may have beside.
const REFRESH: [AttributeType; 2] = [Lifetime::TYPE, RequestedAddressFamily::TYPE];

impl Oracle {
    /// What has to become of something that comes from a client.
    pub(crate) fn expects(&self, now: Moment, from: &FiveTuple, bytes: &[u8]) -> Expected {
        if from.client.0.port() == 0 || from.client.0 == listener() {
            return Expected::Drop(DropReason::ImpossibleSource);
        }
        match turn_wire::kind(bytes) {
            Kind::Neither => Expected::Drop(DropReason::NotTurn),
            Kind::ChannelData => self.channel_data(now, from, bytes).unwrap_or_else(Expected::Drop),
            Kind::Stun => match Message::decode(bytes) {
                Ok(message) => self.message(now, from, &message),
                Err(DecodeError::Fingerprint) => Expected::Drop(DropReason::WrongFingerprint),
                Err(_) => Expected::Drop(DropReason::MalformedMessage),
            },
        }
    }

    fn message(&self, now: Moment, from: &FiveTuple, message: &Message<'_>) -> Expected {
        match (message.class(), message.method()) {
            (Class::Request, Method::BINDING) => {
                Expected::Mapped { refuse: message.unknown_required(&SIGNED).next().is_some() }
            }
            (Class::Request, _) => self.request(now, from, message),
            (Class::Indication, Method::SEND) => {
                self.send(now, from, message).unwrap_or_else(Expected::Drop)
            }
            (Class::Indication, _) => Expected::Drop(DropReason::Indication),
            (Class::Success | Class::Error, _) => Expected::Drop(DropReason::Response),
        }
    }

    fn channel_data(
        &self,
        now: Moment,
        from: &FiveTuple,
        bytes: &[u8],
    ) -> Result<Expected, DropReason> {
        let malformed = DropReason::MalformedChannelData;
        let message = ChannelData::decode(bytes).map_err(|_| malformed)?;
        let promise = self.promises.get(from).ok_or(DropReason::NoAllocation)?;
        let peer = promise.peer_of(message.channel.number(), now.instant);
        let peer = peer.ok_or(DropReason::ChannelNotBound)?;
        self.to_peer(now, promise, peer, 4..4 + message.data.len())
    }

    fn send(
        &self,
        now: Moment,
        from: &FiveTuple,
        message: &Message<'_>,
    ) -> Result<Expected, DropReason> {
        const KNOWN: [AttributeType; 3] = [XorPeerAddress::TYPE, Data::TYPE, DontFragment::TYPE];
        let malformed = DropReason::MalformedSend;
        let peer = message.get::<XorPeerAddress>().map_err(|_| malformed)?.ok_or(malformed)?;
        let data = message.get::<Data<'_>>().map_err(|_| malformed)?.ok_or(malformed)?;
        message.get::<DontFragment>().map_err(|_| malformed)?;
        if message.unknown_required(&KNOWN).next().is_some() {
            return Err(malformed);
        }
        let promise = self.promises.get(from).ok_or(DropReason::NoAllocation)?;
        let start = data.0.as_ptr().addr() - message.as_bytes().as_ptr().addr();
        self.to_peer(now, promise, peer.0, start..start + data.0.len())
    }

    fn to_peer(
        &self,
        now: Moment,
        promise: &Promise,
        peer: SocketAddr,
        payload: Range<usize>,
    ) -> Result<Expected, DropReason> {
        let denied = DropReason::NoPermissionOutbound;
        self.passes(now.instant, promise, peer, denied)?;
        let relayed = promise.of_family(peer.is_ipv4()).ok_or(denied)?;
        Ok(Expected::ToPeer { relayed, peer, payload })
    }

    /// Whether a datagram passes between a client and a peer, by the permission alone.
    pub(super) fn passes(
        &self,
        now: Instant,
        promise: &Promise,
        peer: SocketAddr,
        without: DropReason,
    ) -> Result<(), DropReason> {
        if !promise.may_reach(peer.ip(), now) {
            return Err(without);
        }
        let is_ours = crate::rules::ADDRESSES.contains(&peer.ip());
        if peer.port() == 0 || is_ours && self.ports.owner(&peer).is_none() {
            return Err(DropReason::PeerPortDenied);
        }
        Ok(())
    }

    fn request(&self, now: Moment, from: &FiveTuple, message: &Message<'_>) -> Expected {
        let context = Context {
            nonces: &self.nonces,
            rules: &self.rules,
            promise: self.promises.get(from),
            from: from.client.0.ip(),
            now: now.unix,
        };
        let to = match standing(message, &context) {
            Standing::Nobody(code) => return Expected::Challenge(code),
            Standing::Known(identity) => identity,
        };
        let mut reasons = Reasons::default();
        let change = self.change(now, from, message, &to, &mut reasons);
        let Reasons { must, may } = reasons;
        Expected::Answer(Box::new(Answer { to, must, may, change }))
    }

    fn change(
        &self,
        now: Moment,
        from: &FiveTuple,
        message: &Message<'_>,
        to: &Identity,
        reasons: &mut Reasons,
    ) -> Change {
        let promise = self.promises.get(from);
        if message.method() == Method::ALLOCATE {
            return match promise {
                Some(promise) => again(promise, message, to, reasons),
                None => Change::Allocate(self.allocate(now, from, message, to, reasons)),
            };
        }
        if ![Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND]
            .contains(&message.method())
        {
            reasons.must(400);
            return Change::Nothing;
        }
        if message.method() == Method::REFRESH && message.has::<MobilityTicket<'_>>() {
            reasons.unknown(message, &REFRESH);
            reasons.get::<MobilityTicket<'_>>(message);
            reasons.nothing_moves();
            return Change::Nothing;
        }
        let Some(promise) = promise else {
            reasons.must(437);
            return Change::Nothing;
        };
        if promise.user != to.user {
            reasons.must(441);
            return Change::Nothing;
        }
        match message.method() {
            Method::REFRESH => self.refresh(now, from, promise, message, reasons),
            Method::CREATE_PERMISSION => self.create_permission(now, promise, message, reasons),
            _ => self.channel_bind(now, promise, message, reasons),
        }
    }

    fn allocate(
        &self,
        now: Moment,
        from: &FiveTuple,
        message: &Message<'_>,
        to: &Identity,
        reasons: &mut Reasons,
    ) -> Wish {
        reasons.unknown(
            message,
            &[
                RequestedTransport::TYPE,
                RequestedAddressFamily::TYPE,
                DontFragment::TYPE,
                Lifetime::TYPE,
                EvenPort::TYPE,
                ReservationToken::TYPE,
            ],
        );
        match reasons.get::<RequestedTransport>(message) {
            Some(RequestedTransport::UDP) => {}
            Some(_) => reasons.must(442),
            None => reasons.must(400),
        }
        if let Some(MobilityTicket(ticket)) = reasons.get(message) {
            if ticket.is_empty() { reasons.nothing_moves() } else { reasons.must(400) }
        }
        let even = reasons.get::<EvenPort>(message);
        let token = reasons.get::<ReservationToken>(message).map(|token| token.0);
        let wish = Wish {
            families: families(message, reasons),
            even: even.is_some(),
            reserve: even.is_some_and(|even| even.reserve),
            token,
            seconds: granted(reasons.get::<Lifetime>(message)),
        };
        let says_family =
            message.has::<RequestedAddressFamily>() || message.has::<AdditionalAddressFamily>();
        if token.is_some() && (wish.even || says_family) || wish.reserve && wish.families.len() > 1
        {
            reasons.must(400);
        }
        self.turned_away(from, reasons);
        self.capacity(now, &wish, &to.user, reasons);
        wish
    }

    /// Told to drain, the relay sends newcomers to its sibling, if they can go there.
    fn turned_away(&self, from: &FiveTuple, reasons: &mut Reasons) {
        if self.rules.draining {
            reasons.must(self.elsewhere(from));
        }
    }

    fn elsewhere(&self, from: &FiveTuple) -> u16 {
        if self.rules.sibling.is_some() && from.transport == Transport::Udp { 300 } else { 508 }
    }

    fn capacity(&self, now: Moment, wish: &Wish, user: &str, reasons: &mut Reasons) {
        if self.promises.len() >= self.rules.in_all {
            reasons.must(508);
        }
        if let Some(token) = wish.token {
            match self.ports.reserved(&token).filter(|kept| kept.user == user) {
                // The relay may not have looked at its clock yet.
                Some(kept) if now.instant > kept.until => drop(reasons.may.insert(508)),
                // Somebody else has taken the port meanwhile.
                Some(kept) if crate::rules::TAKEN.contains(&kept.address.port()) => {
                    reasons.must(508);
                }
                Some(_) => {}
                None => reasons.must(508),
            }
            return;
        }
        let held = self.promises.values().filter(|promise| promise.user == user).count();
        let charges = held + self.ports.charges(user);
        if charges + 1 + usize::from(wish.reserve) > self.rules.per_user {
            reasons.must(486);
        }
        let need = match (wish.even, wish.reserve) {
            (_, true) => Need::Pair,
            (true, false) => Need::Even,
            (false, false) => Need::Any,
        };
        if wish.families.iter().all(|ipv4| self.ports.are_few(need, *ipv4)) {
            reasons.may.insert(508);
        }
    }

    fn refresh(
        &self,
        now: Moment,
        from: &FiveTuple,
        promise: &Promise,
        message: &Message<'_>,
        reasons: &mut Reasons,
    ) -> Change {
        reasons.unknown(message, &REFRESH);
        let family = reasons.get::<RequestedAddressFamily>(message);
        let ipv4 = family.and_then(|family| family.0).map(|family| family == Family::V4);
        if family.is_some() && ipv4.is_none_or(|ipv4| promise.of_family(ipv4).is_none()) {
            reasons.must(443);
        }
        let asked = reasons.get::<Lifetime>(message);
        let seconds = if asked == Some(Lifetime(0)) { 0 } else { granted(asked) };
        let silent = now.instant - promise.active_at;
        let is_idle = seconds > 0
            && reasons.must.is_empty()
            && self.rules.draining
            && self.rules.idle.is_some_and(|most| silent > most);
        if is_idle {
            reasons.must(self.elsewhere(from));
        }
        Change::Refresh { ipv4, seconds, is_idle }
    }

    fn create_permission(
        &self,
        now: Moment,
        promise: &Promise,
        message: &Message<'_>,
        reasons: &mut Reasons,
    ) -> Change {
        reasons.unknown(message, &[XorPeerAddress::TYPE]);
        let mut peers = BTreeSet::new();
        for peer in message.all::<XorPeerAddress>() {
            match peer {
                Ok(peer) => {
                    self.judge_peer(promise, peer.0, reasons);
                    peers.insert(peer.0.ip());
                }
                Err(_) => reasons.must(400),
            }
        }
        if peers.is_empty() {
            reasons.must(400);
        }
        if !promise.has_room_for(&peers, now.instant) {
            reasons.must(508);
        }
        Change::Permit(peers)
    }

    fn channel_bind(
        &self,
        now: Moment,
        promise: &Promise,
        message: &Message<'_>,
        reasons: &mut Reasons,
    ) -> Change {
        reasons.unknown(message, &[Channel::TYPE, XorPeerAddress::TYPE]);
        let channel = reasons.get::<Channel>(message);
        let peer = reasons.get::<XorPeerAddress>(message);
        let (Some(Channel(channel)), Some(XorPeerAddress(peer))) = (channel, peer) else {
            reasons.must(400);
            return Change::Nothing;
        };
        let (channel, now) = (channel.number(), now.instant);
        self.judge_peer(promise, peer, reasons);
        if peer.port() == 0 || promise.is_bound_otherwise(channel, peer, now) {
            reasons.must(400);
        }
        let room = promise.has_room_for(&BTreeSet::from([peer.ip()]), now);
        if !room || !promise.has_channel_left(channel, now) {
            reasons.must(508);
        }
        Change::Bind(channel, peer)
    }

    fn judge_peer(&self, promise: &Promise, peer: SocketAddr, reasons: &mut Reasons) {
        if promise.of_family(peer.is_ipv4()).is_none() {
            reasons.must(443);
        }
        if !self.rules.permits(peer.ip()) {
            reasons.must(403);
        }
    }
}

/// An Allocate where there is an allocation.
fn again(promise: &Promise, message: &Message<'_>, to: &Identity, reasons: &mut Reasons) -> Change {
    if promise.transaction != message.transaction_id() {
        reasons.must(437);
    } else if promise.user != to.user {
        reasons.must(441);
    }
    Change::Again
}

/// The draft's attribute asks for both where nothing stands against it, and else for nothing.
fn asks_as_in_the_draft(message: &Message<'_>) -> bool {
    let asked = message.get::<DraftAdditionalAddressFamily>();
    let transport = message.get::<RequestedTransport>();
    asked == Ok(Some(DraftAdditionalAddressFamily(Some(Family::V6))))
        && transport == Ok(Some(RequestedTransport::UDP))
        && message.get() != Ok(Some(EvenPort { reserve: true }))
        && !message.has::<ReservationToken>()
}

fn families(message: &Message<'_>, reasons: &mut Reasons) -> Vec<bool> {
    let requested = reasons.get::<RequestedAddressFamily>(message);
    let additional = reasons.get::<AdditionalAddressFamily>(message);
    match (requested, additional) {
        (None, None) if asks_as_in_the_draft(message) => vec![true, false],
        (None, None) => vec![true],
        (Some(RequestedAddressFamily(Some(family))), None) => vec![family == Family::V4],
        (Some(RequestedAddressFamily(None)), None) => {
            reasons.must(440);
            Vec::new()
        }
        (None, Some(AdditionalAddressFamily(Some(Family::V6)))) => vec![true, false],
        (_, Some(_)) => {
            reasons.must(400);
            Vec::new()
        }
    }
}

/// RFC 8656, section 7.2: ten minutes unless more is asked, and an hour at most.
fn granted(asked: Option<Lifetime>) -> u32 {
    asked.map_or(600, |Lifetime(seconds)| seconds.clamp(600, 3600))
}

/// Why a request has to be refused, or may be.
#[derive(Debug, Default)]
struct Reasons {
    must: BTreeSet<u16>,
    may: BTreeSet<u16>,
}

impl Reasons {
    fn must(&mut self, code: u16) {
        self.must.insert(code);
    }

    /// Mobility is off in all simulations.
    fn nothing_moves(&mut self) {
        self.must(405);
    }

    /// The attribute, if it is there and well-formed.
    fn get<'a, A: Attribute<'a>>(&mut self, message: &Message<'a>) -> Option<A> {
        message.get::<A>().unwrap_or_else(|_malformed| {
            self.must(400);
            None
        })
    }

    fn unknown(&mut self, message: &Message<'_>, known: &[AttributeType]) {
        if message.unknown_required(&SIGNED).any(|kind| !known.contains(&kind)) {
            self.must(420);
        }
    }
}

/// Whether the nonce in a challenge is one to go on with: who sends by datagram what no client begins
/// with is told as little as can be.
pub(super) fn is_worth_a_nonce(from: &FiveTuple, bytes: &[u8]) -> bool {
    let Ok(message) = Message::decode(bytes) else { return false };
    let begins = message.method() == Method::ALLOCATE && message.has::<RequestedTransport>();
    let is_stream = from.transport == Transport::Tcp;
    let is_signed = message.has_integrity() || message.has_integrity_sha256();
    bytes.len() > HEADER_LEN && (begins || is_stream || is_signed)
}
