//! One worker: an event loop around one shard of the server.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, mpsc},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mio::{Events, Poll, Token};
use turn_auth::UnixSeconds;
use turn_proto::{ClientAddr, FiveTuple, Now, PeerConnectionId, Settings, Shard, Transport};

use crate::{
    Identity, ListenerSpec, Protocol, Snapshot,
    bind::BoundListeners,
    client_path::ClientPath,
    datagrams::{BATCH, Datagrams},
    engine::Engine,
    handover::Desk,
    migration::{Delivery, Errand},
};

/// How many datagrams a relayed socket gives at once: few flows have more waiting.
const RELAYED_BATCH: usize = 8;

/// How many batches, or reads, or connections, one socket gets before the others get their turn.
pub(crate) const TURNS: usize = 16;

/// How often reading goes on after an error: what came back for a datagram that was sent is told to
/// whoever calls next, and there may be more behind it.
const READ_ERRORS: usize = 4;

/// What connections and associations may hold; may change while the worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Connections and associations without an allocation, for each source prefix.
    pub pending_per_prefix: u32,
    /// How long a connection or association may be without an allocation.
    pub pending_timeout: Duration,
    /// Bytes that wait for one client to read them.
    pub queue_bytes: usize,
    /// Associations of DTLS at the same time.
    pub associations: usize,
}

/// What a running worker can be given anew.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What the server core takes.
    pub settings: Arc<Settings>,
    /// What connections and associations may hold.
    pub limits: StreamLimits,
    /// What TLS and DTLS listeners prove themselves with. Handshakes that are under way, and all that
    /// are done, go on with what they began with.
    pub identity: Option<Identity>,
}

/// What a worker is told.
pub(crate) enum Control {
    /// New terms, all listeners that there are to be, and those that are new among them.
    Apply(Box<Terms>, Arc<[ListenerSpec]>, BoundListeners),
    Drain,
    /// A connection to a peer that this worker serves has ended with its allocation.
    CloseConnection(PeerConnectionId),
    /// Another worker's client wants its allocation, which this one has.
    Depart(Box<Errand>),
    /// What this worker has asked for.
    Arrive(Box<Delivery>),
    Snapshot(mpsc::SyncSender<Snapshot>),
    Stop,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Datagrams(usize),
    Listener(usize),
    Connection(usize),
    Relayed(usize),
    /// A socket that peers connect to.
    RelayedListener(usize),
    /// A connection to a peer that is being made, by its number.
    Connecting(usize),
    /// The peer's side of what this client's connection has been joined with.
    Peer(usize),
    Waker,
}

impl Source {
    const SHIFT: u32 = 56;

    pub(crate) const fn token(self) -> Token {
        let (kind, index) = match self {
            Self::Datagrams(index) => (0, index),
            Self::Listener(index) => (1, index),
            Self::Connection(index) => (2, index),
            Self::Relayed(index) => (3, index),
            Self::RelayedListener(index) => (4, index),
            Self::Connecting(number) => (5, number),
            Self::Peer(index) => (6, index),
            Self::Waker => (7, 0),
        };
        Token(kind << Self::SHIFT | index)
    }

    const fn of(token: Token) -> Self {
        let index = token.0 & ((1 << Self::SHIFT) - 1);
        match token.0 >> Self::SHIFT {
            0 => Self::Datagrams(index),
            1 => Self::Listener(index),
            2 => Self::Connection(index),
            3 => Self::Relayed(index),
            4 => Self::RelayedListener(index),
            5 => Self::Connecting(index),
            6 => Self::Peer(index),
            _ => Self::Waker,
        }
    }
}

/// The token of a worker's waker.
pub(crate) const WAKER: Token = Source::Waker.token();

/// A worker, ready to run on its thread.
pub(crate) struct Worker {
    poll: Poll,
    engine: Engine,
    datagrams: Datagrams,
    control: mpsc::Receiver<Control>,
    /// Sockets that have more to give than one turn's worth.
    backlog: VecDeque<Source>,
}

impl Worker {
    pub(crate) fn new(
        poll: Poll,
        bound: BoundListeners,
        terms: Terms,
        shard: Shard,
        cookie_key: [u8; 32],
        control: mpsc::Receiver<Control>,
        desk: Desk,
    ) -> io::Result<Self> {
        let registry = poll.registry().try_clone()?;
        let mut engine = Engine::new(registry, terms, shard, cookie_key, desk);
        engine.add_listeners(bound)?;
        let datagrams = Datagrams::new();
        Ok(Self { poll, engine, datagrams, control, backlog: VecDeque::new() })
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.engine.handle_timeout(Instant::now());
            for event in &events {
                let source = Source::of(event.token());
                match source {
                    Source::Waker => {
                        if self.obey() {
                            return Ok(());
                        }
                    }
                    Source::Connection(index) if event.is_writable() => {
                        self.engine.flush(index);
                        self.attend(source);
                    }
                    Source::Relayed(index) if event.is_error() => {
                        self.engine.read_errors(index);
                        self.attend(source);
                    }
                    Source::Connection(_)
                    | Source::Datagrams(_)
                    | Source::Listener(_)
                    | Source::Relayed(_)
                    | Source::RelayedListener(_)
                    | Source::Connecting(_)
                    | Source::Peer(_) => self.attend(source),
                }
            }
            for _ in 0..self.backlog.len() {
                if let Some(source) = self.backlog.pop_front() {
                    self.attend(source);
                }
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.backlog.is_empty() {
            return Some(Duration::ZERO);
        }
        let next = self.engine.next_timeout()?;
        // The kernel counts in whole milliseconds and mio rounds up, so nothing fires early.
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Does what it is told; whether that is to stop.
    fn obey(&mut self) -> bool {
        while let Ok(control) = self.control.try_recv() {
            match control {
                Control::Apply(terms, listeners, added) => {
                    self.engine.apply(*terms, &listeners, added);
                }
                Control::Drain => self.engine.drain(),
                Control::CloseConnection(id) => self.engine.close_bound(id),
                Control::Depart(errand) => self.engine.depart(*errand),
                Control::Arrive(delivery) => self.engine.arrive(*delivery),
                // Who asked may have gone.
                Control::Snapshot(to) => drop(to.try_send(self.engine.snapshot())),
                Control::Stop => return true,
            }
        }
        false
    }

    /// Gives a socket its turn.
    fn attend(&mut self, source: Source) {
        let more = match source {
            Source::Datagrams(index) => self.read_clients(index),
            Source::Relayed(index) => self.read_peers(index),
            Source::Listener(index) => self.engine.accept(index),
            Source::Connection(index) => self.engine.read_connection(index),
            Source::RelayedListener(index) => self.engine.accept_peers(index),
            Source::Connecting(number) => {
                self.engine.finish_connect(number);
                false
            }
            Source::Peer(index) => self.engine.relay_stream(index),
            Source::Waker => false,
        };
        if more {
            self.backlog.push_back(source);
        }
    }

    fn read_clients(&mut self, index: usize) -> bool {
        for _ in 0..TURNS {
            let Some(listener) = self.engine.datagram_listeners.get(index) else { return false };
            let (local, protocol) = (listener.local, listener.spec.protocol);
            let Ok(count) = receive(&mut self.datagrams, &listener.socket, BATCH) else {
                return false;
            };
            let now = now();
            for datagram in 0..count {
                let Some(datagram) = self.datagrams.get(datagram) else { continue };
                let client = ClientAddr(datagram.from);
                if protocol == Protocol::Dtls {
                    self.engine.handle_dtls(now, index, client, datagram.payload());
                    continue;
                }
                let from = FiveTuple { client, server: local, transport: Transport::Udp };
                self.engine.handle_client(now, ClientPath::Udp(index), &from, datagram.payload());
            }
            if count < BATCH {
                return false;
            }
        }
        true
    }

    fn read_peers(&mut self, index: usize) -> bool {
        for _ in 0..TURNS {
            let Some(Some(relayed)) = self.engine.relayed.get(index) else { return false };
            let (id, path) = (relayed.id, relayed.path);
            let Ok(count) = receive(&mut self.datagrams, relayed, RELAYED_BATCH) else {
                return false;
            };
            let now = Instant::now();
            for datagram in 0..count {
                let Some(datagram) = self.datagrams.get(datagram) else { continue };
                self.engine.handle_peer(now, id, path, datagram);
            }
            if count < RELAYED_BATCH {
                return false;
            }
        }
        true
    }
}

fn receive(
    datagrams: &mut Datagrams,
    socket: &impl std::os::fd::AsFd,
    most: usize,
) -> io::Result<usize> {
    let mut errors = 0;
    loop {
        match datagrams.receive(socket.as_fd(), most) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() != io::ErrorKind::WouldBlock && errors < READ_ERRORS => {
                errors += 1;
            }
            result => return result,
        }
    }
}

pub(crate) fn now() -> Now {
    // A clock before 1970 is a clock that nobody set: every credential is then still valid.
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { instant: Instant::now(), unix: UnixSeconds(unix.as_secs()) }
}
