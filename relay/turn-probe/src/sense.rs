//! What a vantage needs to see with. Each can fail for itself: a vantage behind a firewall that lets no
//! UDP out still reaches all over TCP.

use std::{sync::Arc, time::Instant};

use crate::{diagnosis::wire, plan::Subject};

/// What has to work at the vantage itself for a probe to come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sense {
    is_ipv4: bool,
    /// UDP or TCP to a listener; none for datagrams to relay ports.
    wire: Option<&'static str>,
}

impl Sense {
    /// What it takes to reach a listener.
    pub(crate) fn of_listener(subject: &Subject) -> Self {
        Self { is_ipv4: subject.address.is_ipv4(), wire: Some(wire(subject.transport)) }
    }

    /// What it takes to reach the relay ports behind it.
    pub(crate) const fn of_range(subject: &Subject) -> Self {
        Self { is_ipv4: subject.address.is_ipv4(), wire: None }
    }
}

/// The latest successes of one vantage: by when their probes began, and of different relays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latest([Option<(Arc<str>, Instant)>; 2]);

impl Latest {
    /// Takes note of a probe that came through.
    pub(crate) fn add(&mut self, relay: &Arc<str>, begun: Instant) {
        let [first, second] = &mut self.0;
        if let Some((same, at)) = first
            && same == relay
        {
            *at = begun.max(*at);
        } else if first.as_ref().is_none_or(|(_, at)| *at <= begun) {
            *second = first.replace((Arc::clone(relay), begun));
        } else {
            *second = Some((Arc::clone(relay), begun));
        }
    }

    /// When the latest of any other relay was begun.
    pub(crate) fn elsewhere(&self, relay: &str) -> Option<Instant> {
        let other = |(name, _): &&(Arc<str>, Instant)| **name != *relay;
        self.0.iter().flatten().filter(other).map(|(_, at)| *at).max()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_latest_success_at_another_relay_is_known() {
        let (start, mut latest) = (Instant::now(), Latest::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        latest.add(&a, at(1));
        assert_eq!((latest.elsewhere("a"), latest.elsewhere("b")), (None, Some(at(1))));
        latest.add(&a, at(3));
        latest.add(&b, at(2));
        assert_eq!((latest.elsewhere("a"), latest.elsewhere("b")), (Some(at(2)), Some(at(3))));
        latest.add(&b, at(4));
        assert_eq!((latest.elsewhere("a"), latest.elsewhere("b")), (Some(at(4)), Some(at(3))));
    }
}
