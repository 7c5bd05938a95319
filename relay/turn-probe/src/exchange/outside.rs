//! The prober's own machine as a peer: what goes through a relay port to it and from it passes the
//! firewalls in front of the relay. Between two relayed addresses of one relay it would not.

use std::{net::SocketAddr, time::Instant};

use super::{Exchange, RESEND_EVERY, Side};
use crate::{Cause, Stage};

/// What the machine itself has to do with a probe.
#[derive(Debug, Default)]
pub(super) struct Outside {
    /// Whether a datagram has to be sent.
    is_due: bool,
    sends: u32,
}

impl Exchange {
    /// The next datagram that the machine itself has to send, and where to: from a UDP socket that is
    /// none of the clients'.
    pub fn poll_outside(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let (relayed, payload) =
            (self.relayed[Side::A as usize]?, self.current_payload()?.to_vec());
        let is_due = std::mem::take(&mut self.outside.is_due) && self.stage == Stage::PeerEcho;
        is_due.then_some((relayed, payload))
    }

    /// Takes a datagram that came to that socket.
    pub fn handle_outside(&mut self, now: Instant, from: SocketAddr, payload: &[u8]) {
        let is_ours = self.stage == Stage::PeerEcho
            && self.relayed[Side::A as usize] == Some(from)
            && self.current_payload() == Some(payload);
        // Before the client has sent it, nothing that comes can be the payload's way back.
        if is_ours && self.done[Side::A as usize] {
            self.done[Side::B as usize] = true;
            self.advance(now);
        }
    }

    /// Asks for the permission that the machine's own datagrams need.
    pub(super) fn permit_outside(&mut self, now: Instant) {
        self.done[Side::B as usize] = true;
        let Some(mapped) = self.mapped[Side::A as usize] else { return };
        if let Err(error) = self.clients[Side::A as usize].create_permission(now, mapped) {
            self.finish(now, Err(error.into()));
        }
    }

    pub(super) fn send_from_outside(&mut self, now: Instant) {
        self.resend_at = Some(now + RESEND_EVERY);
        self.outside.is_due = true;
        self.outside.sends += 1;
    }

    /// What came through the relay port goes back to where it came from.
    pub(super) fn on_outside_data(&mut self, now: Instant, peer: SocketAddr, payload: &[u8]) {
        if self.current_payload() == Some(payload) {
            self.done[Side::A as usize] = true;
            self.send_to(now, Side::A, peer);
        }
    }

    /// What it means that the limit is over.
    pub(super) fn outside_overdue(&self, now: Instant, relayed: SocketAddr) -> Cause {
        let (after, sends) = (now.saturating_duration_since(self.began), self.outside.sends);
        if self.done[Side::A as usize] {
            Cause::NotToOutside { relayed, after, sends }
        } else {
            Cause::NotFromOutside { relayed, after, sends }
        }
    }
}
