//! What a probe does, and how it judges what it sees: pure.

mod outside;

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use turn_client::{Client, ClientError, Config, Credentials, Event, Family, Input, Profile};

use crate::{Cause, Datagrams, Failure, Report, Stage, Target, Timing, Transport};
use outside::Outside;

/// How often a payload is sent that has not come back: relaying is UDP, and may lose it.
const RESEND_EVERY: Duration = Duration::from_millis(250);
/// How long the end of the allocations is waited for.
const RELEASE_LIMIT: Duration = Duration::from_millis(500);
/// The length of a payload, in bytes: too many for chance.
const PAYLOAD_LEN: usize = 32;
/// The length of the long one: browsers make no packet of media longer, and with all headers it fits
/// where any IPv6 packet does.
const LARGE_LEN: usize = 1_200;
/// More than a payload and what is around it.
const MESSAGE_LEN: usize = LARGE_LEN + 256;

/// One of the two clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that sends first.
    A,
    /// The one that sends back.
    B,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// A probe under way: two clients, and the stage that they are at.
///
/// Driven like a [`Client`]: bytes and times in, bytes out, until there is an
/// [`Exchange::outcome`]. The sockets stand already when it starts.
pub struct Exchange {
    server: SocketAddr,
    transport: Transport,
    clients: [Client; 2],
    /// What is sent in [`Stage::Echo`], [`Stage::ChannelEcho`], [`Stage::LargeEcho`], and in
    /// [`Stage::PeerEcho`] to each of the relayed addresses.
    payloads: [Vec<u8>; 5],
    stage: Stage,
    last: Stage,
    /// When the stage began.
    began: Instant,
    /// When the probe has failed.
    limit_at: Instant,
    /// Which of the clients have done what the stage is about.
    done: [bool; 2],
    /// Which of the clients have an answer to their Allocate, good or bad.
    answered: [bool; 2],
    mapped: [Option<SocketAddr>; 2],
    relayed: [Option<SocketAddr>; 2],
    relayed_at: Option<IpAddr>,
    /// The relay ports that are wished for.
    relay_ports: [Option<u16>; 2],
    resend_at: Option<Instant>,
    /// How often each has sent the payload of the stage.
    sends: [u32; 2],
    outbox: VecDeque<(Side, Vec<u8>)>,
    outside: Outside,
    /// What was sent, and came back, until there is a result.
    datagrams: Datagrams,
    timings: Vec<Timing>,
    result: Option<Result<Report, Cause>>,
    /// Until when the end of the allocations is waited for.
    release_until: Option<Instant>,
}

/// What a prober's clients are like: quick to ask again, with a FINGERPRINT, so that the server has to
/// answer with one, and known as a prober's from the first request on.
const PROFILE: Profile = Profile { fingerprint: true, probe: true, ..Profile::NICER };

fn client(target: &Target, credentials: &Credentials, seed: [u8; 32]) -> Client {
    Client::new(Config {
        server: target.server,
        transport: match target.transport {
            Transport::Udp | Transport::Dtls => turn_client::Transport::Udp,
            Transport::Tcp | Transport::Tls => turn_client::Transport::Stream,
        },
        credentials: credentials.clone(),
        profile: PROFILE,
        seed,
    })
}

/// Driving.
impl Exchange {
    /// Starts, with 128 bytes that nobody can guess. `connected` is how long the sockets took, which
    /// counts towards the limit.
    #[must_use]
    pub fn new(target: &Target, random: [[u8; 32]; 4], now: Instant, connected: Duration) -> Self {
        let [seed_a, seed_b, first, second] = random;
        let [first_user, second_user] = &target.credentials;
        let mut exchange = Self {
            server: target.server,
            transport: target.transport,
            clients: [client(target, first_user, seed_a), client(target, second_user, seed_b)],
            payloads: payloads(first, second),
            stage: Stage::Binding,
            last: target.last,
            began: now,
            limit_at: now + target.limit.saturating_sub(connected),
            done: [false; 2],
            answered: [false; 2],
            mapped: [None; 2],
            relayed: [None; 2],
            relayed_at: target.relayed_at,
            relay_ports: target.relay_ports,
            resend_at: None,
            sends: [0; 2],
            outbox: VecDeque::new(),
            outside: Outside::default(),
            datagrams: Datagrams::default(),
            timings: vec![Timing { stage: Stage::Connect, duration: connected }],
            result: None,
            release_until: None,
        };
        exchange.act(now);
        exchange
    }

    /// Takes a message that the server sent to one of the clients.
    pub fn handle_input(&mut self, now: Instant, side: Side, message: &[u8]) {
        self.count_returned();
        let input = self.clients[side as usize].handle_input(now, message);
        if let Input::Data { peer, channel, payload } = input {
            self.on_data(now, side, peer, channel.is_some(), payload);
        }
        self.take_events(now, side);
        self.advance(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for side in Side::BOTH {
            self.clients[side as usize].handle_timeout(now);
            self.take_events(now, side);
        }
        if self.limit_at <= now {
            self.finish(now, Err(self.overdue(now)));
        }
        if self.resend_at.is_some_and(|at| at <= now) {
            self.send_again(now);
        }
    }

    /// Takes note that a socket has failed. Over it no allocation can be ended in order.
    pub fn handle_error(&mut self, now: Instant, cause: Cause) {
        self.finish(now, Err(cause));
        self.release_until = Some(now);
    }

    /// The next message to send, and from which client's socket.
    pub fn poll_transmit(&mut self) -> Option<(Side, Vec<u8>)> {
        let of_client = |side: Side| {
            let message = self.clients[side as usize].poll_transmit()?.to_vec();
            Some((side, message))
        };
        let message =
            Side::BOTH.into_iter().find_map(of_client).or_else(|| self.outbox.pop_front());
        if message.is_some() {
            self.count_sent();
        }
        message
    }

    const fn count_sent(&mut self) {
        if self.result.is_none() {
            self.datagrams.sent += 1;
        }
    }

    /// What comes twice because the network has doubled it is not more than was sent.
    const fn count_returned(&mut self) {
        if self.result.is_none() && self.datagrams.returned < self.datagrams.sent {
            self.datagrams.returned += 1;
        }
    }

    /// When [`Exchange::handle_timeout`] or [`Exchange::outcome`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let clients = self.clients.iter().filter_map(Client::poll_timeout);
        clients.chain(self.resend_at).fold(self.deadline(), Instant::min)
    }

    /// When nothing is waited for any longer: the limit, or the end of the allocations.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.release_until.unwrap_or(self.limit_at)
    }

    /// The result, once there is one, and the allocations are ended or that has taken too long.
    #[must_use]
    pub fn outcome(&self, now: Instant) -> Option<Result<Report, Failure>> {
        // An answer to Allocate that is still on its way may bring an allocation that has to be ended.
        let is_allocating = self.stage == Stage::Allocate && self.answered != [true; 2];
        let released = self.clients.iter().all(|client| client.relayed().is_none());
        if (is_allocating || !released) && self.release_until.is_none_or(|until| now < until) {
            return None;
        }
        let (stage, server, transport) = (self.stage, self.server, self.transport);
        let failure = |cause| {
            let (before, outside) = (self.timings.clone(), self.seen_outside(&cause));
            Failure { stage, server, transport, before, outside, cause: Box::new(cause) }
        };
        self.result.clone().map(|result| result.map_err(failure))
    }
}

/// The stages.
impl Exchange {
    /// Starts what the stage is about.
    fn act(&mut self, now: Instant) {
        match self.stage {
            Stage::Connect => {}
            Stage::Binding => self.clients.iter_mut().for_each(|client| client.binding(now)),
            Stage::Allocate => {
                // The default is IPv4, on an IPv6 listener too (RFC 8656, section 7.2).
                let (family, ports) =
                    (self.server.is_ipv6().then_some(Family::V6), self.relay_ports);
                self.ask(now, |client, side, _| {
                    client.allocate_at(now, None, family, ports[side as usize])
                });
            }
            Stage::Permission => {
                self.ask(now, |client, _, peer| client.create_permission(now, peer));
            }
            Stage::ChannelBind => {
                self.ask(now, |client, _, peer| client.bind_channel(now, peer).map(|_| ()));
            }
            Stage::Refresh => self.ask(now, |client, _, _| client.refresh(now, None)),
            Stage::Echo | Stage::ChannelEcho | Stage::LargeEcho => {
                self.sends = [0; 2];
                self.send_payload(now, Side::A);
            }
            Stage::PeerPermission => self.permit_outside(now),
            Stage::PeerEcho => self.send_from_outside(now),
        }
    }

    /// Asks the same of both clients; each is told the relayed address of the other, once it has one.
    fn ask(
        &mut self,
        now: Instant,
        ask: impl Fn(&mut Client, Side, SocketAddr) -> Result<(), ClientError>,
    ) {
        for side in Side::BOTH {
            let peer = self.relayed[side.other() as usize].unwrap_or(self.server);
            if let Err(error) = ask(&mut self.clients[side as usize], side, peer) {
                self.finish(now, Err(error.into()));
            }
        }
    }

    /// Goes on to the next stage, if both have done this one.
    fn advance(&mut self, now: Instant) {
        if self.result.is_some() || self.done != [true; 2] {
            return;
        }
        let duration = now.saturating_duration_since(self.began);
        self.timings.push(Timing { stage: self.stage, duration });
        self.resend_at = None;
        if self.stage == self.last {
            return self.finish(now, self.report());
        }
        let next = match self.stage {
            Stage::Connect => Stage::Binding,
            Stage::Binding => Stage::Allocate,
            Stage::Allocate => Stage::Permission,
            Stage::Permission => Stage::Echo,
            Stage::Echo => Stage::ChannelBind,
            Stage::ChannelBind => Stage::ChannelEcho,
            Stage::ChannelEcho => Stage::LargeEcho,
            Stage::LargeEcho => Stage::Refresh,
            Stage::Refresh => Stage::PeerPermission,
            Stage::PeerPermission => Stage::PeerEcho,
            Stage::PeerEcho => return self.finish(now, self.report()),
        };
        self.stage = next;
        self.began = now;
        self.done = [false; 2];
        self.act(now);
    }

    fn report(&self) -> Result<Report, Cause> {
        let [Some(mapped_a), Some(mapped_b)] = self.mapped else {
            return Err(ClientError::NoAllocation.into());
        };
        let relayed = match self.relayed {
            [Some(a), Some(b)] => Some([a, b]),
            _ => None,
        };
        Ok(Report {
            server: self.server,
            transport: self.transport,
            mapped: [mapped_a, mapped_b],
            relayed,
            outside: self.tried_outside().collect(),
            datagrams: matches!(self.transport, Transport::Udp | Transport::Dtls)
                .then_some(self.datagrams),
            stages: self.timings.clone(),
        })
    }

    /// Keeps the first result, and ends the allocations.
    fn finish(&mut self, now: Instant, result: Result<Report, Cause>) {
        if self.result.is_some() {
            return;
        }
        self.result = Some(result);
        self.resend_at = None;
        self.release_until = Some(now + RELEASE_LIMIT);
        self.release(now);
    }

    fn release(&mut self, now: Instant) {
        for client in &mut self.clients {
            // A client without an allocation has nothing to end.
            let _ = client.refresh(now, Some(0));
        }
    }

    fn take_events(&mut self, now: Instant, side: Side) {
        while let Some(event) = self.clients[side as usize].poll_event() {
            self.on_event(now, side, event);
        }
    }

    fn on_event(&mut self, now: Instant, side: Side, event: Event) {
        let at = side as usize;
        let stage = match event {
            Event::Mapped { mapped } => {
                self.mapped[at] = Some(mapped);
                Stage::Binding
            }
            Event::Allocated { relayed, .. } => {
                let ip = self.relayed_at.unwrap_or(relayed.ip());
                self.relayed[at] = Some(SocketAddr::new(ip, relayed.port()));
                self.answered[at] = true;
                if self.result.is_some() {
                    self.release(now);
                }
                Stage::Allocate
            }
            Event::PermissionInstalled { .. } if self.stage == Stage::PeerPermission => {
                Stage::PeerPermission
            }
            Event::PermissionInstalled { .. } => Stage::Permission,
            Event::ChannelBound { .. } => Stage::ChannelBind,
            Event::Refreshed { .. } => Stage::Refresh,
            Event::Migrated { .. }
            | Event::Icmp { .. }
            | Event::Connected { .. }
            | Event::ConnectionAttempt { .. }
            | Event::ConnectionBound { .. } => return,
            Event::Ended { end } => return self.finish(now, Err(Cause::Ended(end))),
            Event::TryAlternate { server, .. } => {
                self.answered[at] = true;
                return self.finish(now, Err(Cause::Alternate(server)));
            }
            Event::Failed { failure: turn_client::Failure::Refused { code: 403, .. }, .. }
                if self.stage == Stage::PeerPermission =>
            {
                return self.finish(now, self.report());
            }
            Event::Failed { failure, .. } => {
                self.answered[at] = true;
                return self.finish(now, Err(judge_failure(failure)));
            }
        };
        if stage == self.stage {
            self.done[at] = true;
        }
    }
}

/// The payloads.
impl Exchange {
    /// What is sent in this stage from client to client.
    fn current_payload(&self) -> Option<&[u8]> {
        match self.stage {
            Stage::Echo => Some(&self.payloads[0]),
            Stage::ChannelEcho => Some(&self.payloads[1]),
            Stage::LargeEcho => Some(&self.payloads[2]),
            Stage::Connect
            | Stage::PeerEcho
            | Stage::Refresh
            | Stage::PeerPermission
            | Stage::Binding
            | Stage::Allocate
            | Stage::Permission
            | Stage::ChannelBind => None,
        }
    }

    fn send_again(&mut self, now: Instant) {
        if self.stage == Stage::PeerEcho {
            self.send_from_outside(now);
        } else {
            self.send_payload(now, Side::A);
        }
    }

    fn send_payload(&mut self, now: Instant, side: Side) {
        if side == Side::A {
            self.resend_at = Some(now + RESEND_EVERY);
        }
        let payload = self.current_payload().map(<[u8]>::to_vec);
        if let (Some(peer), Some(payload)) = (self.relayed[side.other() as usize], payload) {
            self.sends[side as usize] += 1;
            self.send_to(now, side, peer, &payload);
        }
    }

    /// Has a client send a payload to a peer.
    fn send_to(&mut self, now: Instant, side: Side, peer: SocketAddr, payload: &[u8]) {
        let mut message = vec![0; MESSAGE_LEN];
        match self.clients[side as usize].send(now, peer, payload, &mut message) {
            Ok(len) => {
                message.truncate(len);
                self.outbox.push_back((side, message));
            }
            Err(error) => self.finish(now, Err(error.into())),
        }
    }

    /// Judges what a peer sent. B sends back each copy of the payload; A waits for one.
    fn on_data(
        &mut self,
        now: Instant,
        side: Side,
        peer: SocketAddr,
        through_channel: bool,
        payload: &[u8],
    ) {
        if self.stage == Stage::PeerEcho {
            return self.on_outside_data(now, side, peer, payload);
        }
        let (Some(current), Some(expected)) =
            (self.current_payload(), self.relayed[side.other() as usize])
        else {
            return;
        };
        // Before B has sent it, nothing that A gets can be the payload's way back.
        let is_awaited = side == Side::B || self.sends[Side::B as usize] > 0;
        match self.judge(current, expected, peer, through_channel, payload) {
            Judgement::Ours if is_awaited => {
                self.done[side as usize] = true;
                if side == Side::B {
                    self.send_payload(now, Side::B);
                }
            }
            Judgement::Ours | Judgement::Foreign => {}
            Judgement::Wrong(cause) => self.finish(now, Err(cause)),
        }
    }

    fn judge(
        &self,
        current: &[u8],
        expected: SocketAddr,
        peer: SocketAddr,
        through_channel: bool,
        payload: &[u8],
    ) -> Judgement {
        if payload != current {
            // Somebody else's datagram, or a copy from the stage before.
            if peer != expected || self.payloads.iter().any(|earlier| payload == earlier) {
                return Judgement::Foreign;
            }
            let (sent, received) = (current.len(), payload.len());
            return Judgement::Wrong(Cause::WrongPayload { from: peer, sent, received });
        }
        if peer != expected {
            return Judgement::Wrong(Cause::WrongPeer { expected, observed: peer });
        }
        if self.stage >= Stage::ChannelEcho && !through_channel {
            return Judgement::Wrong(Cause::NotThroughChannel(peer));
        }
        Judgement::Ours
    }

    /// What it means that the limit is over.
    fn overdue(&self, now: Instant) -> Cause {
        let after = now.saturating_duration_since(self.began);
        if let Some(cause) = self.outside_overdue(now) {
            return cause;
        }
        let [a, b] = self.relayed;
        match (self.current_payload(), a, b) {
            (Some(payload), Some(a), Some(b)) => {
                // It has arrived at B if B has sent it back.
                let (from, to, sends) = match self.sends {
                    [sends, 0] => (a, b, sends),
                    [_, sends] => (b, a, sends),
                };
                Cause::NotRelayed { from, to, len: payload.len(), after, sends }
            }
            _ => Cause::Silence(after),
        }
    }
}

/// The five payloads, of what nobody can guess.
fn payloads(first: [u8; PAYLOAD_LEN], second: [u8; PAYLOAD_LEN]) -> [Vec<u8>; 5] {
    let mixed: Vec<_> = first.iter().zip(second).map(|(a, b)| a ^ b).collect();
    let reversed: Vec<_> = mixed.iter().rev().copied().collect();
    let inverted = reversed.iter().map(|byte| !byte).collect();
    let long = mixed.into_iter().cycle().take(LARGE_LEN).collect();
    [first.to_vec(), second.to_vec(), long, reversed, inverted]
}

fn judge_failure(failure: turn_client::Failure) -> Cause {
    match failure {
        turn_client::Failure::TimedOut { after, .. } => Cause::Silence(after),
        turn_client::Failure::Refused { .. }
        | turn_client::Failure::Missing(_)
        | turn_client::Failure::Malformed(_)
        | turn_client::Failure::Unknown(_) => Cause::Answer(failure),
    }
}

/// What a datagram from a peer is.
enum Judgement {
    /// The payload, as it should come.
    Ours,
    /// Nothing of this probe's.
    Foreign,
    /// Proof that something is wrong.
    Wrong(Cause),
}
