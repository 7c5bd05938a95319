//! How much those get who have proved nothing.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::Broken;
use crate::rules::REPLIES_PER_SECOND;

const SECOND: Duration = Duration::from_secs(1);

/// The replies of the last second, by shard and source.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    replies: VecDeque<(Instant, usize, IpAddr)>,
}

impl Strangers {
    /// Somebody unknown is answered.
    pub(crate) fn replied(&mut self, now: Instant, shard: usize, to: IpAddr) -> Result<(), Broken> {
        self.replies.push_back((now, shard, to));
        while self.replies.front().is_some_and(|(at, ..)| *at + SECOND < now) {
            self.replies.pop_front();
        }
        let same = |(_, other, ip): &&(Instant, usize, IpAddr)| {
            *other == shard && prefix(*ip) == prefix(to)
        };
        let count = self.replies.iter().filter(same).count();
        if count > 2 * REPLIES_PER_SECOND {
            return Err(format!("{to} and its neighbours get {count} replies in a second"));
        }
        Ok(())
    }

    /// Somebody unknown is not answered, for want of a budget. Prefixes may share one.
    pub(crate) fn ignored(&self, now: Instant, shard: usize) -> Result<(), Broken> {
        let recent =
            |(at, other, _): &&(Instant, usize, IpAddr)| *other == shard && now <= *at + SECOND;
        let count = self.replies.iter().filter(recent).count();
        if count + 1 < REPLIES_PER_SECOND {
            return Err(format!("somebody is not answered after {count} replies in a second"));
        }
        Ok(())
    }
}

fn prefix(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4) >> 8),
        IpAddr::V6(v6) => u128::from(v6) >> 72 | 1 << 127,
    }
}
