//! The prober's own machine as a peer: what goes through a relay port to it and from it passes the
//! firewalls in front of the relay. Between two relayed addresses of one relay it would not.

use std::{net::SocketAddr, time::Instant};

use turn_client::ClientError;

use super::{Exchange, RESEND_EVERY, Side};
use crate::{Cause, Stage};

/// What the machine itself has to do with a probe: with each of the two relayed addresses.
#[derive(Debug, Default)]
pub(super) struct Outside {
    ways: [Way; 2],
}

/// The way through one relay port. Its client is done when a payload has gone there and back.
#[derive(Debug, Default)]
struct Way {
    /// Whether a datagram has to be sent.
    is_due: bool,
    sends: u32,
    /// Whether one has come through to the client.
    has_come_in: bool,
}

impl Exchange {
    /// The next datagram that the machine itself has to send, and where to: from a UDP socket that is
    /// none of the clients'.
    pub fn poll_outside(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let is_due = |side: &Side| self.outside.ways[*side as usize].is_due;
        let side = Side::BOTH.into_iter().find(is_due).filter(|_| self.tries_outside())?;
        self.outside.ways[side as usize].is_due = false;
        self.count_sent();
        Some((self.relayed[side as usize]?, self.outside_payload(side).to_vec()))
    }

    /// Takes a datagram that came to that socket.
    pub fn handle_outside(&mut self, now: Instant, from: SocketAddr, payload: &[u8]) {
        let relayed_from = |side: &Side| self.relayed[*side as usize] == Some(from);
        let Some(side) = Side::BOTH.into_iter().find(relayed_from) else { return };
        self.count_returned();
        // Before the client has sent it, nothing that comes can be the payload's way back.
        let is_awaited = self.outside.ways[side as usize].has_come_in;
        if self.tries_outside() && is_awaited && self.outside_payload(side) == payload {
            self.done[side as usize] = true;
            self.advance(now);
        }
    }

    /// Asks for the permissions that the machine's own datagrams need.
    pub(super) fn permit_outside(&mut self, now: Instant) {
        let mapped = self.mapped;
        self.ask(now, |client, side, _| {
            let mapped = mapped[side as usize].ok_or(ClientError::NoAllocation)?;
            client.create_permission(now, mapped)
        });
    }

    /// Through each relay port that a payload has not come back through.
    pub(super) fn send_from_outside(&mut self, now: Instant) {
        self.resend_at = Some(now + RESEND_EVERY);
        for (way, done) in self.outside.ways.iter_mut().zip(self.done) {
            way.is_due = !done;
            way.sends += u32::from(!done);
        }
    }

    /// What came through the relay port goes back to where it came from.
    pub(super) fn on_outside_data(
        &mut self,
        now: Instant,
        side: Side,
        peer: SocketAddr,
        payload: &[u8],
    ) {
        if self.tries_outside() && self.outside_payload(side) == payload {
            self.outside.ways[side as usize].has_come_in = true;
            self.send_to(now, side, peer, payload);
        }
    }

    /// What it means that the limit is over, if this is what it is over for: the first relay port
    /// that nothing came back through.
    pub(super) fn outside_overdue(&self, now: Instant) -> Option<Cause> {
        let is_closed = |side: &Side| self.tries_outside() && !self.done[*side as usize];
        let side = Side::BOTH.into_iter().find(is_closed)?;
        let (relayed, way) = (self.relayed[side as usize]?, &self.outside.ways[side as usize]);
        let (after, sends) = (now.saturating_duration_since(self.began), way.sends);
        Some(if way.has_come_in {
            Cause::NotToOutside { relayed, after, sends }
        } else {
            Cause::NotFromOutside { relayed, after, sends }
        })
    }

    /// What a failure says of the relay ports. Unless that is what failed, those that were not reached
    /// may have been about to be.
    pub(super) fn seen_outside(&self, cause: &Cause) -> Vec<(SocketAddr, bool)> {
        let is_over = matches!(cause, Cause::NotFromOutside { .. } | Cause::NotToOutside { .. });
        self.tried_outside().filter(|(_, is_reached)| is_over || *is_reached).collect()
    }

    /// The relayed addresses that have been tried so far, and whether each was reached.
    pub(super) fn tried_outside(&self) -> impl Iterator<Item = (SocketAddr, bool)> {
        let tried = self.relayed.into_iter().zip(self.done);
        let tried = tried.filter(|_| self.stage == Stage::PeerEcho);
        tried.filter_map(|(relayed, done)| relayed.map(|relayed| (relayed, done)))
    }

    /// Whether the machine's own datagrams are under way. What comes after the result changes nothing.
    fn tries_outside(&self) -> bool {
        self.stage == Stage::PeerEcho && self.result.is_none()
    }

    /// Each relayed address gets another one, so that none speaks for the other.
    fn outside_payload(&self, side: Side) -> &[u8] {
        match side {
            Side::A => &self.payloads[3],
            Side::B => &self.payloads[4],
        }
    }
}
