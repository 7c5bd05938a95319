//! What the client has asked of its allocation for its peers.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use turn_wire::ChannelNumber;

/// How far a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelState {
    /// Asked for.
    Requested,
    /// Bound, and to be bound again at a time.
    Bound { renew_at: Instant },
    /// The server does not want it.
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    number: ChannelNumber,
    state: ChannelState,
}

/// A peer whose permission is installed.
#[derive(Debug, Clone, Copy)]
struct Permission {
    /// As it was asked for.
    peer: SocketAddr,
    renew_at: Instant,
}

/// Permissions by IP address, channels by transport address. In order, so that a client does the
/// same each time.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    permissions: BTreeMap<IpAddr, Permission>,
    channels: BTreeMap<SocketAddr, Channel>,
    /// The peers of the channels, from the lowest number upwards.
    by_number: Vec<SocketAddr>,
}

impl Peers {
    pub(crate) fn install(&mut self, peer: SocketAddr, renew_at: Instant) {
        self.permissions.insert(peer.ip(), Permission { peer, renew_at });
    }

    pub(crate) fn forget(&mut self, peer: IpAddr) {
        self.permissions.remove(&peer);
    }

    /// The channel of a peer: the one that it has, or the next one. A number stays with its peer, so
    /// that none is bound to another within five minutes (RFC 8656, section 12).
    pub(crate) fn request_channel(&mut self, peer: SocketAddr) -> Option<ChannelNumber> {
        if let Some(channel) = self.channels.get_mut(&peer) {
            if channel.state == ChannelState::Refused {
                channel.state = ChannelState::Requested;
            }
            return Some(channel.number);
        }
        let next = u16::try_from(self.by_number.len()).ok()?;
        let number = ChannelNumber::new(ChannelNumber::MIN.number().checked_add(next)?)
            .filter(|number| *number <= ChannelNumber::MAX_CLIENT)?;
        self.by_number.push(peer);
        self.channels.insert(peer, Channel { number, state: ChannelState::Requested });
        Some(number)
    }

    /// Says how far the channel of a peer is.
    pub(crate) fn set_channel(&mut self, peer: SocketAddr, state: ChannelState) {
        if let Some(channel) = self.channels.get_mut(&peer) {
            channel.state = state;
        }
    }

    /// Whether the peer has a channel in any state.
    pub(crate) fn has_channel(&self, peer: SocketAddr) -> bool {
        self.channels.contains_key(&peer)
    }

    /// The channel that is bound to a peer.
    pub(crate) fn bound_channel(&self, peer: SocketAddr) -> Option<ChannelNumber> {
        let channel = self.channels.get(&peer)?;
        matches!(channel.state, ChannelState::Bound { .. }).then_some(channel.number)
    }

    /// The peer of a channel, bound or only asked for: the server may have bound it, and its answer
    /// be lost or late.
    pub(crate) fn peer_of(&self, number: ChannelNumber) -> Option<SocketAddr> {
        self.by_number.get(number.index()).copied()
    }

    /// The peers of the permissions that are due, which are put off to `next`.
    pub(crate) fn due_permissions(&mut self, now: Instant, next: Instant) -> Vec<SocketAddr> {
        let due = self.permissions.values_mut().filter(|permission| permission.renew_at <= now);
        due.map(|permission| {
            permission.renew_at = next;
            permission.peer
        })
        .collect()
    }

    /// The channels that are due, which are put off to `next`.
    pub(crate) fn due_channels(
        &mut self,
        now: Instant,
        next: Instant,
    ) -> Vec<(SocketAddr, ChannelNumber)> {
        let due = self.channels.iter_mut().filter(
            |(_, channel)| matches!(channel.state, ChannelState::Bound { renew_at } if renew_at <= now),
        );
        due.map(|(peer, channel)| {
            channel.state = ChannelState::Bound { renew_at: next };
            (*peer, channel.number)
        })
        .collect()
    }

    /// When the next permission or channel is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let permissions = self.permissions.values().map(|permission| permission.renew_at);
        let channels = self.channels.values().filter_map(|channel| match channel.state {
            ChannelState::Bound { renew_at } => Some(renew_at),
            ChannelState::Requested | ChannelState::Refused => None,
        });
        permissions.chain(channels).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_4096_channels() {
        let mut peers = Peers::default();
        for index in 0..4096u16 {
            let peer = SocketAddr::from(([192, 0, 2, 1], index));
            let number = peers.request_channel(peer).expect("there is one left");
            assert_eq!(number.index(), usize::from(index));
            assert_eq!(peers.peer_of(number), Some(peer));
            assert_eq!(peers.request_channel(peer), Some(number), "a peer keeps its channel");
        }
        assert_eq!(peers.request_channel(SocketAddr::from(([192, 0, 2, 2], 1))), None);
    }
}
