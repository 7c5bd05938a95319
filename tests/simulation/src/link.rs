//! A link: what becomes of a datagram on its way.

use std::time::Duration;

use rand::{Rng, RngExt};
use turn_proto::Transport;

/// How bad a link is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// Of a thousand datagrams, how many are lost.
    loss: u32,
    /// Of a thousand, how many come twice.
    twice: u32,
    /// The shortest way.
    delay: Duration,
    /// By how much more it may be: what reorders.
    jitter: Duration,
}

impl Link {
    pub(crate) fn random(rng: &mut impl Rng) -> Self {
        Self {
            loss: [0, 0, 20, 100][rng.random_range(..4_usize)],
            twice: [0, 10, 50][rng.random_range(..3_usize)],
            delay: Duration::from_millis(rng.random_range(1..80)),
            jitter: Duration::from_millis(rng.random_range(1..60)),
        }
    }

    /// When a datagram arrives, counted from its sending: never, once or twice. What goes over a
    /// stream arrives once, and in order.
    pub(crate) fn arrivals(
        self,
        transport: Transport,
        rng: &mut impl Rng,
    ) -> impl Iterator<Item = Duration> {
        let stream = transport == Transport::Tcp;
        let times = match rng.random_range(..1000_u32) {
            _ if stream => 1,
            draw if draw < self.loss => 0,
            draw if draw < self.loss + self.twice => 2,
            _ => 1,
        };
        let mut late = [self.delay; 2];
        if !stream {
            late.iter_mut().for_each(|late| *late += self.jitter.mul_f64(rng.random()));
        }
        late.into_iter().take(times)
    }
}
