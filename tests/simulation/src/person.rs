//! Somebody at one end: a client that comes, talks with peers and goes, or a stranger.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{Rng, RngExt};
use turn_auth::{TimeLimitedCredential, UnixSeconds};
use turn_client::{Client, Config, Credentials, Event, Input, Operation, Profile};

use crate::{
    oracle::Broken,
    relay::{listener, secret},
};

/// What a person is.
pub(crate) struct Person {
    pub(crate) address: SocketAddr,
    client: Client,
    peers: Vec<SocketAddr>,
    /// What it still wants to send.
    left: u32,
    /// Whether it ends its allocation when it goes; some just vanish.
    polite: bool,
    gone: bool,
    arrived: bool,
    sent: u64,
    pub(crate) echoed: u64,
}

/// What a person wants to have sent, and when it wants to be woken.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) wake_at: Option<Instant>,
}

impl Person {
    pub(crate) fn new(
        index: u16,
        user: u16,
        peers: Vec<SocketAddr>,
        expires_at: UnixSeconds,
        rng: &mut impl Rng,
    ) -> Self {
        let minted = TimeLimitedCredential::mint(&secret(0), &format!("user-{user}"), expires_at);
        let profile = [Profile::LIBWEBRTC, Profile::NICER][rng.random_range(..2_usize)];
        #[expect(clippy::expect_used, reason = "the name is short")]
        let credentials = Credentials::new(minted.username, minted.password).expect("short");
        Self {
            address: SocketAddr::from(([8, 8, 4, 4], 1000 + index)),
            client: Client::new(Config {
                server: listener(),
                transport: turn_client::Transport::Udp,
                credentials,
                profile,
                seed: rng.random(),
            }),
            peers,
            left: rng.random_range(1..40),
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
        let mut messages = Vec::new();
        if !self.arrived {
            self.arrived = true;
            // It has no allocation yet, so this cannot be refused.
            let _asked =
                self.client.allocate(now, [None, Some(900)][rng.random_range(..2_usize)], None);
        }
        self.client.handle_timeout(now);
        let mut pause = Duration::from_millis(rng.random_range(1..90_000));
        if self.client.relayed().is_some() {
            if self.left == 0 {
                self.gone = true;
                if self.polite {
                    let _asked = self.client.refresh(now, Some(0));
                }
            } else {
                self.left -= 1;
                messages.extend(self.say(now, rng));
            }
        } else {
            pause = Duration::from_secs(1);
        }
        messages.extend(self.transmits());
        let due = self.client.poll_timeout();
        let wake_at = (!self.gone).then(|| due.map_or(now + pause, |due| due.min(now + pause)));
        Wish { messages, wake_at: wake_at.map(|at| at.max(now + Duration::from_millis(1))) }
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
    pub(crate) fn hear(&mut self, now: Instant, bytes: &[u8]) -> Result<Wish, Broken> {
        if self.gone {
            return Ok(Wish::default());
        }
        if let Input::Data { peer, payload, .. } = self.client.handle_input(now, bytes) {
            let Some((number, named)) = payload.split_first_chunk::<8>() else {
                return Ok(Wish::default());
            };
            // What strangers send from a peer's address may come too; it has no such number.
            if u64::from_be_bytes(*number) > self.sent {
                return Ok(Wish::default());
            }
            if !named.starts_with(peer.to_string().as_bytes()) {
                return Err(format!("{} gets from {peer} what it said to another", self.address));
            }
            self.echoed += 1;
        }
        while let Some(event) = self.client.poll_event() {
            // Who gets no allocation goes as well.
            let refused = matches!(
                event,
                Event::Failed { operation: Operation::Allocate { .. }, .. } | Event::Ended { .. }
            );
            if refused {
                self.gone = true;
            }
        }
        Ok(Wish { messages: self.transmits(), wake_at: None })
    }

    fn transmits(&mut self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some(message) = self.client.poll_transmit() {
            messages.push(message.to_vec());
        }
        messages
    }
}
