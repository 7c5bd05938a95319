//! Somebody who sends what nobody should: noise, what was heard of others, and that changed.

use std::{collections::VecDeque, net::SocketAddr};

use rand::{Rng, RngExt};
use turn_proto::{FiveTuple, Transport};

use crate::{relay::five_tuple, rules::listener};

/// How much a stranger remembers of what it heard.
const MEMORY: usize = 32;

/// A stranger between the clients and the relay.
#[derive(Debug, Default)]
pub(crate) struct Stranger {
    heard: VecDeque<(FiveTuple, Vec<u8>)>,
}

impl Stranger {
    /// It reads along.
    pub(crate) fn hear(&mut self, from: FiveTuple, bytes: &[u8]) {
        if self.heard.len() == MEMORY {
            self.heard.pop_front();
        }
        self.heard.push_back((from, bytes.to_vec()));
    }

    /// What it sends to the listener, and whom it says it comes from.
    pub(crate) fn speak(&self, rng: &mut impl Rng) -> Vec<(FiveTuple, Vec<u8>)> {
        let anybody = SocketAddr::from(([8, 8, 8, rng.random()], rng.random()));
        match rng.random_range(..8_u32) {
            0 => vec![(five_tuple(anybody, Transport::Udp), noise(rng))],
            1 => vec![(five_tuple(listener(), Transport::Udp), noise(rng))],
            2 => flood(rng),
            3 => self.recall(rng).into_iter().collect(),
            4 => {
                let recalled = self.recall(rng).into_iter();
                recalled.map(|(_, bytes)| (five_tuple(anybody, Transport::Udp), bytes)).collect()
            }
            _ => {
                let recalled = self.recall(rng).into_iter();
                recalled.map(|(from, bytes)| (from, changed(bytes, rng))).collect()
            }
        }
    }

    fn recall(&self, rng: &mut impl Rng) -> Option<(FiveTuple, Vec<u8>)> {
        let index = rng.random_range(..self.heard.len().max(1));
        self.heard.get(index).cloned()
    }
}

fn noise(rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(..120_usize)];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Many requests at once, from all over a prefix: headers of Binding or of Allocate.
fn flood(rng: &mut impl Rng) -> Vec<(FiveTuple, Vec<u8>)> {
    let kind = [1, 3][rng.random_range(..2_usize)];
    let count = rng.random_range(1..80);
    let net = rng.random_range(..2_u8);
    let each = |_| {
        let mut bytes = vec![0, kind, 0, 0, 0x21, 0x12, 0xA4, 0x42];
        bytes.extend(rng.random::<[u8; 12]>());
        let from = SocketAddr::from(([9, 9, net, rng.random()], rng.random()));
        (five_tuple(from, Transport::Udp), bytes)
    };
    (0..count).map(each).collect()
}

/// A bit, a byte, some more bytes, or fewer.
fn changed(mut bytes: Vec<u8>, rng: &mut impl Rng) -> Vec<u8> {
    let at = rng.random_range(..bytes.len().max(1));
    match (rng.random_range(..4_u32), bytes.get_mut(at)) {
        (0, Some(byte)) => *byte ^= 1 << rng.random_range(..8_u32),
        (1, Some(byte)) => *byte = rng.random(),
        (2, _) => bytes.extend([0; 4]),
        _ => bytes.truncate(at),
    }
    bytes
}
