//! Connections and associations without an allocation: so many of one source, and for so long.

use std::{collections::VecDeque, net::IpAddr, time::Instant};

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use crate::client_path::ClientPath;

/// How a connection or association without an allocation is held to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    /// Until when it may be without one.
    pub(crate) until: Instant,
    /// The source that it is counted under; none before a load balancer has said whom it is for.
    pub(crate) counted: Option<IpAddr>,
}

/// The connections that have no allocation, by their source's prefix (/24 of IPv4, /56 of IPv6).
#[derive(Debug, Default)]
pub(crate) struct Pending {
    by_prefix: HashMap<IpAddr, u32, RandomState>,
    /// In the order of their deadlines, since all get the same time.
    deadlines: VecDeque<(Instant, ClientPath)>,
}

impl Pending {
    /// Counts one more, unless that is too many.
    pub(crate) fn enter(&mut self, source: IpAddr, most: u32) -> bool {
        let count = self.by_prefix.entry(prefix(source)).or_insert(0);
        let room = *count < most;
        if room {
            *count += 1;
        }
        room
    }

    /// Counts one less.
    pub(crate) fn leave(&mut self, wait: Wait) {
        let Some(source) = wait.counted else { return };
        let prefix = prefix(source);
        if let Some(count) = self.by_prefix.get_mut(&prefix) {
            *count -= 1;
            if *count == 0 {
                self.by_prefix.remove(&prefix);
            }
        }
    }

    /// Notes when a connection is to be looked at.
    pub(crate) fn watch(&mut self, connection: ClientPath, deadline: Instant) {
        self.deadlines.push_back((deadline, connection));
    }

    /// The next connection whose deadline is over.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<ClientPath> {
        let (deadline, connection) = *self.deadlines.front()?;
        if now < deadline {
            return None;
        }
        self.deadlines.pop_front();
        Some(connection)
    }

    /// When [`Pending::overdue`] has something.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }
}

fn prefix(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(v4) => IpAddr::from((u32::from(v4) & !0xff).to_be_bytes()),
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) >> 72 << 72).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_its_limit_and_gets_its_places_back() {
        let mut pending = Pending::default();
        let ip = |text: &str| text.parse().expect("an address");
        assert!(pending.enter(ip("192.0.2.1"), 2));
        assert!(pending.enter(ip("192.0.2.2"), 2));
        assert!(!pending.enter(ip("192.0.2.3"), 2));
        assert!(pending.enter(ip("192.0.3.1"), 2));
        assert!(pending.enter(ip("2001:db8::1"), 1));
        assert!(!pending.enter(ip("2001:db8:0:ff::1"), 1), "the same /56");
        assert!(pending.enter(ip("2001:db8:0:100::1"), 1));
        let wait = |counted| Wait { until: Instant::now(), counted };
        pending.leave(wait(None));
        assert!(!pending.enter(ip("192.0.2.3"), 2));
        pending.leave(wait(Some(ip("192.0.2.2"))));
        assert!(pending.enter(ip("192.0.2.3"), 2));
        assert_eq!(pending.by_prefix.len(), 4);
    }
}
