//! All workers of a relay.

use std::{
    io,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mio::{Poll, Waker};
use turn_proto::{Counters, Ledger, Shard};

use crate::{
    BoundListeners, ClientCounts, ListenerSpec, NetCounters, Terms,
    handover::{Desk, Handover, Mailbox},
    worker::{Control, WAKER, Worker},
};

/// How long a worker may take to answer. It looks at its orders between turns of a few milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What one worker, or all of them, hold and have counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What the server core has counted.
    pub counters: Counters,
    /// What the sockets have met.
    pub net: NetCounters,
    /// What clients have come to at each listener.
    pub clients: ClientCounts,
    /// Allocations now.
    pub allocations: usize,
    /// Clients' connections now.
    pub connections: usize,
    /// Clients' associations of DTLS now.
    pub associations: usize,
}

/// A worker does not answer: it has ended, or hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("worker {0} does not answer")]
pub struct WorkerLost(pub usize);

/// The workers of a relay, each on a thread of its own.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Handle>,
}

#[derive(Debug)]
struct Handle {
    mailbox: Mailbox,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts a worker for each set of sockets. `seed` is asked for each of them.
    ///
    /// # Errors
    /// When the system has no more threads or descriptors, or there is no seed.
    pub fn start(
        bound: Vec<BoundListeners>,
        terms: &Terms,
        ledger: &Arc<Ledger>,
        seed: impl Fn() -> io::Result<[u8; 32]>,
    ) -> io::Result<Self> {
        let mut workers = Self { workers: Vec::new() };
        let ends = bound.iter().map(|_| ends()).collect::<io::Result<Vec<_>>>()?;
        let mailboxes = ends.iter().map(|ends| ends.mailbox.clone()).collect();
        let handover = Arc::new(Handover::new(mailboxes));
        for (index, (bound, ends)) in bound.into_iter().zip(ends).enumerate() {
            let ledger = Arc::clone(ledger);
            let shard = Shard { number: index, ledger, seed: seed()?, start: Instant::now() };
            let desk = Desk { handover: Arc::clone(&handover), index };
            workers.workers.push(start(ends, bound, terms.clone(), shard, seed()?, desk)?);
        }
        Ok(workers)
    }

    /// How many workers there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Gives all workers new terms, and the listeners that there are to be. Those that are not open
    /// yet come in `added`, bound for as many workers as there are; those that are not named any more
    /// are closed, and the allocations of their clients end. No other allocation is lost.
    pub fn apply(
        &self,
        terms: &Terms,
        listeners: &Arc<[ListenerSpec]>,
        added: Vec<BoundListeners>,
    ) {
        let added = added.into_iter().chain(std::iter::repeat_with(BoundListeners::default));
        for (worker, added) in self.workers.iter().zip(added) {
            let terms = Box::new(terms.clone());
            worker.mailbox.tell(Control::Apply(terms, Arc::clone(listeners), added));
        }
    }

    /// From now on no new allocations are made.
    pub fn drain(&self) {
        self.tell(|| Control::Drain);
    }

    /// What all workers hold and have counted. Blocks until each has answered.
    ///
    /// # Errors
    /// When one does not.
    pub fn snapshot(&self) -> Result<Snapshot, WorkerLost> {
        let answers: Vec<_> = self
            .workers
            .iter()
            .map(|worker| {
                let (sender, receiver) = mpsc::sync_channel(1);
                worker.mailbox.tell(Control::Snapshot(sender));
                receiver
            })
            .collect();
        let mut sum = Snapshot::default();
        for (index, answer) in answers.into_iter().enumerate() {
            let one = answer.recv_timeout(ANSWER_TIMEOUT).map_err(|_| WorkerLost(index))?;
            sum.counters.merge(&one.counters);
            sum.net.merge(&one.net);
            sum.clients.merge(one.clients);
            sum.allocations += one.allocations;
            sum.connections += one.connections;
            sum.associations += one.associations;
        }
        Ok(sum)
    }

    /// Stops all workers and waits until they have.
    pub fn stop(mut self) {
        self.end();
    }

    fn tell(&self, control: impl Fn() -> Control) {
        for worker in &self.workers {
            worker.mailbox.tell(control());
        }
    }

    fn end(&mut self) {
        self.tell(|| Control::Stop);
        for worker in self.workers.drain(..) {
            if worker.thread.join().is_err() {
                tracing::error!("a worker has panicked");
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a worker waits with, and how it is woken.
struct Ends {
    poll: Poll,
    mailbox: Mailbox,
    orders: mpsc::Receiver<Control>,
}

fn ends() -> io::Result<Ends> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let (control, orders) = mpsc::channel();
    Ok(Ends { poll, mailbox: Mailbox { control, waker }, orders })
}

fn start(
    ends: Ends,
    bound: BoundListeners,
    terms: Terms,
    shard: Shard,
    cookie_key: [u8; 32],
    desk: Desk,
) -> io::Result<Handle> {
    let Ends { poll, mailbox, orders } = ends;
    let index = desk.index;
    let worker = Worker::new(poll, bound, terms, shard, cookie_key, orders, desk)?;
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        if let Err(error) = worker.run() {
            tracing::error!(index, %error, "worker ended");
        }
    })?;
    Ok(Handle { mailbox, thread })
}
