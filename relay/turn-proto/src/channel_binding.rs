//! Channels (RFC 8656, section 12): two bytes that stand for a peer.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use turn_wire::ChannelNumber;

use crate::Refusal;

/// How long a channel stays bound, unless renewed.
pub(crate) const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

/// How long, after that, neither its number nor its peer can be bound otherwise (RFC 8656,
/// section 12): the other end may not know yet.
const REBIND_AFTER: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy)]
struct Binding {
    peer: SocketAddr,
    expires_at: Instant,
}

/// The channels of one allocation.
#[derive(Debug)]
pub(crate) struct ChannelBindings {
    by_number: HashMap<ChannelNumber, Binding, FixedState>,
    by_peer: HashMap<SocketAddr, ChannelNumber, FixedState>,
}

impl ChannelBindings {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self {
            by_number: HashMap::with_hasher(hasher.clone()),
            by_peer: HashMap::with_hasher(hasher),
        }
    }

    /// The peer of a channel that is bound now.
    pub(crate) fn peer(&self, number: ChannelNumber, now: Instant) -> Option<SocketAddr> {
        self.by_number.get(&number).filter(|bound| now <= bound.expires_at).map(|bound| bound.peer)
    }

    /// The channel that is bound to a peer now.
    pub(crate) fn number(&self, peer: &SocketAddr, now: Instant) -> Option<ChannelNumber> {
        let number = *self.by_peer.get(peer)?;
        self.peer(number, now).map(|_| number)
    }

    /// Binds a channel, or renews it.
    pub(crate) fn bind(
        &mut self,
        number: ChannelNumber,
        peer: SocketAddr,
        limit: u16,
        now: Instant,
    ) -> Result<(), Refusal> {
        let bound = self.by_number.get(&number);
        let same = bound.is_some_and(|bound| bound.peer == peer);
        if !same {
            let number_is_taken = bound.is_some_and(|bound| is_held(bound, now));
            let other = self.by_peer.get(&peer).and_then(|other| self.by_number.get(other));
            if number_is_taken || other.is_some_and(|bound| is_held(bound, now)) {
                return Err(Refusal::BadRequest);
            }
            self.forget(number);
            if let Some(other) = self.by_peer.get(&peer).copied() {
                self.forget(other);
            }
            self.make_room(limit, now)?;
        }
        self.by_number.insert(number, Binding { peer, expires_at: now + CHANNEL_LIFETIME });
        self.by_peer.insert(peer, number);
        Ok(())
    }

    fn make_room(&mut self, limit: u16, now: Instant) -> Result<(), Refusal> {
        let limit = usize::from(limit);
        if self.by_number.len() >= limit {
            self.by_number.retain(|_, bound| is_held(bound, now));
            let by_number = &self.by_number;
            self.by_peer.retain(|_, number| by_number.contains_key(number));
        }
        if self.by_number.len() < limit { Ok(()) } else { Err(Refusal::InsufficientCapacity) }
    }

    fn forget(&mut self, number: ChannelNumber) {
        if let Some(bound) = self.by_number.remove(&number) {
            self.by_peer.remove(&bound.peer);
        }
    }
}

/// Whether a binding still keeps its number and its peer from others.
fn is_held(bound: &Binding, now: Instant) -> bool {
    now <= bound.expires_at + REBIND_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_peer_are_free_for_others_300_s_after_the_channel_ended() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do for a test's start")]
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (first, second) = (ChannelNumber::MIN, ChannelNumber::MAX);
        let peer = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let mut channels = ChannelBindings::new(FixedState::default());
        channels.bind(first, peer(1), 9, start).expect("free");
        assert_eq!(channels.bind(first, peer(2), 9, start), Err(Refusal::BadRequest));
        assert_eq!(channels.bind(second, peer(1), 9, start), Err(Refusal::BadRequest));
        assert_eq!(channels.peer(first, at(600)), Some(peer(1)));
        assert_eq!(channels.peer(first, at(601)), None);
        assert_eq!(channels.number(&peer(1), at(601)), None);
        assert_eq!(channels.bind(first, peer(2), 9, at(900)), Err(Refusal::BadRequest));
        assert_eq!(channels.bind(second, peer(1), 9, at(900)), Err(Refusal::BadRequest));
        assert_eq!(channels.bind(first, peer(2), 9, at(901)), Ok(()));
        assert_eq!(channels.bind(second, peer(1), 9, at(901)), Ok(()));
        assert_eq!(channels.number(&peer(1), at(901)), Some(second));
    }

    #[test]
    fn the_limit_holds_and_ended_channels_make_room() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do for a test's start")]
        let start = Instant::now();
        let mut channels = ChannelBindings::new(FixedState::default());
        let number = |n: u16| ChannelNumber::new(0x4000 + n).expect("a channel");
        let peer = |n: u16| SocketAddr::from(([192, 0, 2, 1], 1 + n));
        for n in 0..3 {
            channels.bind(number(n), peer(n), 3, start).expect("room");
        }
        assert_eq!(channels.bind(number(3), peer(3), 3, start), Err(Refusal::InsufficientCapacity));
        let later = start + CHANNEL_LIFETIME + REBIND_AFTER + Duration::from_millis(1);
        assert_eq!(channels.bind(number(3), peer(3), 3, later), Ok(()));
        assert_eq!((channels.by_number.len(), channels.by_peer.len()), (1, 1));
    }
}
