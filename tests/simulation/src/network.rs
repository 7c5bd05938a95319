//! What is under way, in the order in which it arrives.

use std::{cmp::Reverse, collections::BinaryHeap, net::SocketAddr, time::Instant};

use turn_proto::FiveTuple;

/// Something that happens at a moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A message arrives at the relay's listener.
    AtListener { from: FiveTuple, bytes: Vec<u8> },
    /// A datagram arrives at a relayed address.
    AtRelayed { to: SocketAddr, from: SocketAddr, bytes: Vec<u8> },
    /// A message arrives at a client.
    AtClient { to: FiveTuple, bytes: Vec<u8> },
    /// A datagram arrives at a peer.
    AtPeer { to: SocketAddr, from: SocketAddr, bytes: Vec<u8> },
    /// A client's connection ends.
    Disconnect(FiveTuple),
    /// A person does what it had in mind for now.
    Wake(usize),
    /// A prober does.
    Probe(usize),
    /// The relay's owner does.
    Operate,
}

/// Events, ordered by their time, and where that is the same by the order in which they came in.
#[derive(Debug, Default)]
pub(crate) struct Network {
    heap: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    sequence: u64,
}

impl Network {
    pub(crate) fn at(&mut self, when: Instant, event: Event) {
        self.heap.push(Reverse((when, self.sequence, event)));
        self.sequence += 1;
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((when, _, _))| *when)
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|Reverse((_, _, event))| event)
    }
}
