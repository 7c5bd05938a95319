//! The client's side of an allocation: its address and its times.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocation {
    pub(crate) relayed: SocketAddr,
    /// What refreshes ask for: what the Allocate asked for.
    pub(crate) lifetime_seconds: Option<u32>,
    /// None while a refresh is under way.
    pub(crate) refresh_at: Option<Instant>,
    pub(crate) expires_at: Instant,
}

impl Allocation {
    /// Counts a new lifetime from now.
    pub(crate) fn renew(&mut self, now: Instant, lifetime_seconds: u32, margin: Duration) {
        let lifetime = Duration::from_secs(lifetime_seconds.into());
        self.expires_at = now + lifetime;
        self.refresh_at = Some(now + refresh_delay(lifetime, margin));
    }

    /// When something is to be done about it.
    pub(crate) fn next_due(&self) -> Instant {
        self.refresh_at.map_or(self.expires_at, |refresh_at| refresh_at.min(self.expires_at))
    }
}

fn refresh_delay(lifetime: Duration, margin: Duration) -> Duration {
    if lifetime < margin * 2 { lifetime / 2 } else { lifetime - margin }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_life_is_refreshed_at_its_half() {
        let seconds = Duration::from_secs;
        assert_eq!(refresh_delay(seconds(600), seconds(60)), seconds(540));
        assert_eq!(refresh_delay(seconds(600), seconds(10)), seconds(590));
        assert_eq!(refresh_delay(seconds(120), seconds(60)), seconds(60));
        assert_eq!(refresh_delay(seconds(100), seconds(60)), seconds(50));
        assert_eq!(refresh_delay(seconds(0), seconds(60)), seconds(0));
    }
}
