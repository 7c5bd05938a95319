//! An honest client: it comes, talks with peers over the client core, and goes.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rand::{Rng, RngExt};
use turn_auth::{TimeLimitedCredential, UnixSeconds};
use turn_client::{Client, Config, Credentials, Event, Input, Operation, Profile};
use turn_proto::{FiveTuple, Transport};

use crate::{
    relay::five_tuple,
    rules::{listener, secret},
};

/// Who a person is, and what it wants.
pub(crate) struct Person {
    pub(crate) address: FiveTuple,
    client: Client,
    peers: Vec<SocketAddr>,
    /// What it still wants to send.
    left: u32,
    /// Whether it ends its allocation when it goes; some just vanish.
    polite: bool,
    pub(crate) gone: bool,
    arrived: bool,
    sent: u64,
    pub(crate) echoed: u64,
}

/// What a person wants to have sent, and when it wants to be woken.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) wake_at: Option<Instant>,
    pub(crate) disconnects: bool,
}

/// What a person is made of.
pub(crate) struct Birth {
    pub(crate) address: SocketAddr,
    pub(crate) user: u16,
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) expires_at: UnixSeconds,
    /// Of the secret that its credential is made with.
    pub(crate) generation: u8,
}

impl Person {
    pub(crate) fn new(birth: Birth, rng: &mut impl Rng) -> Self {
        let Birth { address, user, peers, expires_at, generation } = birth;
        let secret = secret(generation);
        let minted = TimeLimitedCredential::mint(&secret, &format!("user-{user}"), expires_at);
        let profile = [Profile::LIBWEBRTC, Profile::NICER][rng.random_range(..2_usize)];
        #[expect(clippy::expect_used, reason = "the name is short")]
        let credentials = Credentials::new(minted.username, minted.password).expect("short");
        let stream = rng.random_range(..4_u32) == 0;
        let (transport, client_transport) = if stream {
            (Transport::Tcp, turn_client::Transport::Stream)
        } else {
            (Transport::Udp, turn_client::Transport::Udp)
        };
        Self {
            address: five_tuple(address, transport),
            client: Client::new(Config {
                server: listener(),
                transport: client_transport,
                credentials,
                profile,
                seed: rng.random(),
            }),
            peers: peers.into_iter().filter(SocketAddr::is_ipv4).collect(),
            left: rng.random_range(1..30),
            polite: rng.random(),
            gone: false,
            arrived: false,
            sent: 0,
            echoed: 0,
        }
    }

    /// It is time for something: to arrive, to send, to go, or what the client core has due.
    pub(crate) fn wake(&mut self, now: Instant, rng: &mut impl Rng) -> Wish {
        if self.gone {
            return Wish::default();
        }
        let mut wish = Wish::default();
        if !self.arrived {
            self.arrived = true;
            // It has no allocation yet, so this cannot be refused.
            let _asked =
                self.client.allocate(now, [None, Some(900)][rng.random_range(..2_usize)], None);
        }
        self.client.handle_timeout(now);
        let mut pause = Duration::from_millis(rng.random_range(1..90_000));
        if self.client.relayed().is_none() {
            pause = Duration::from_secs(1);
        } else if self.left == 0 {
            self.go(now, &mut wish);
        } else {
            self.left -= 1;
            wish.messages.extend(self.say(now, rng));
        }
        wish.messages.extend(self.transmits());
        let due = self.client.poll_timeout();
        wish.wake_at = (!self.gone).then(|| {
            let at = due.map_or(now + pause, |due| due.min(now + pause));
            at.max(now + Duration::from_millis(1))
        });
        wish
    }

    fn go(&mut self, now: Instant, wish: &mut Wish) {
        self.gone = true;
        if self.polite {
            let _asked = self.client.refresh(now, Some(0));
        }
        wish.disconnects = self.address.transport == Transport::Tcp;
    }

    fn say(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Vec<u8>> {
        let peer = *self.peers.get(rng.random_range(..self.peers.len()))?;
        if rng.random_range(..3_u32) == 0 {
            let _asked = self.client.create_permission(now, peer);
        }
        self.sent += 1;
        let mut payload = self.sent.to_be_bytes().to_vec();
        payload.extend_from_slice(peer.to_string().as_bytes());
        payload.resize(payload.len() + rng.random_range(..40_usize), 0xEE);
        let mut out = vec![0; 512];
        let len = self.client.send(now, peer, &payload, &mut out).ok()?;
        out.truncate(len);
        Some(out)
    }

    /// Something came from the relay.
    pub(crate) fn hear(&mut self, now: Instant, bytes: &[u8]) -> Wish {
        if self.gone {
            return Wish::default();
        }
        if let Input::Data { peer, payload, .. } = self.client.handle_input(now, bytes) {
            let Some((number, named)) = payload.split_first_chunk::<8>() else {
                return Wish::default();
            };
            // Strangers may send from a peer's address, and change what nobody has signed.
            let known = u64::from_be_bytes(*number) <= self.sent;
            if known && named.starts_with(peer.to_string().as_bytes()) {
                self.echoed += 1;
            }
        }
        while let Some(event) = self.client.poll_event() {
            // Who gets no allocation goes as well.
            let refused = matches!(
                event,
                Event::Failed { operation: Operation::Allocate { .. }, .. }
                    | Event::Ended { .. }
                    | Event::TryAlternate { .. }
            );
            self.gone |= refused;
        }
        Wish { messages: self.transmits(), ..Wish::default() }
    }

    /// The NAT before it gives it a new address.
    pub(crate) fn moves(&mut self, to: SocketAddr) {
        if self.address.transport == Transport::Udp {
            self.address = five_tuple(to, Transport::Udp);
        }
    }

    /// Where the NAT is that it is behind.
    pub(crate) fn ip(&self) -> IpAddr {
        self.address.client.0.ip()
    }

    fn transmits(&mut self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some(message) = self.client.poll_transmit() {
            messages.push(message.to_vec());
        }
        messages
    }
}
