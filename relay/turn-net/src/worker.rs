//! One worker: an event loop around one shard of the server.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, UdpSocket},
};
use slab::Slab;
use turn_auth::UnixSeconds;
use turn_proto::{
    ClientAddr, Command, FiveTuple, Now, PeerAddr, PeerVerdict, RelayedId, Server, Settings, Shard,
    Transport, Verdict,
};

use crate::{
    NetCounters, Snapshot,
    bind::BoundListeners,
    client_path::ClientPath,
    connection::{Connection, ReadState},
    datagrams::{BATCH, Datagram, Datagrams},
    pending::{ConnectionId, Pending},
    relayed::RelayedSocket,
    send_queue::FrameKind,
};

/// How many datagrams a relayed socket gives at once: few flows have more waiting.
const RELAYED_BATCH: usize = 8;

/// How many batches, or reads, or connections, one socket gets before the others get their turn.
const TURNS: usize = 16;

/// What streams may hold; may change while the worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Connections without an allocation, for each source prefix.
    pub pending_per_prefix: u32,
    /// How long a connection may be without an allocation.
    pub pending_timeout: Duration,
    /// Bytes that wait for one client to read them.
    pub queue_bytes: usize,
}

/// What a worker is told.
pub(crate) enum Control {
    Apply(Arc<Settings>, StreamLimits),
    Drain,
    Snapshot(mpsc::SyncSender<Snapshot>),
    Stop,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Udp(usize),
    Listener(usize),
    Connection(usize),
    Relayed(usize),
    Waker,
}

impl Source {
    const SHIFT: u32 = 56;

    const fn token(self) -> Token {
        let (kind, index) = match self {
            Self::Udp(index) => (0, index),
            Self::Listener(index) => (1, index),
            Self::Connection(index) => (2, index),
            Self::Relayed(index) => (3, index),
            Self::Waker => (4, 0),
        };
        Token(kind << Self::SHIFT | index)
    }

    const fn of(token: Token) -> Self {
        let index = token.0 & ((1 << Self::SHIFT) - 1);
        match token.0 >> Self::SHIFT {
            0 => Self::Udp(index),
            1 => Self::Listener(index),
            2 => Self::Connection(index),
            3 => Self::Relayed(index),
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

/// All of a worker but the buffer that datagrams lie in.
struct Engine {
    registry: mio::Registry,
    server: Server,
    udp: Vec<(UdpSocket, SocketAddr)>,
    tcp: Vec<(TcpListener, SocketAddr)>,
    relayed: Vec<Option<RelayedSocket>>,
    connections: Slab<Connection>,
    serial: u64,
    pending: Pending,
    limits: StreamLimits,
    answer: Box<[u8]>,
    counters: NetCounters,
}

impl Worker {
    pub(crate) fn new(
        poll: Poll,
        bound: BoundListeners,
        settings: Arc<Settings>,
        limits: StreamLimits,
        shard: Shard,
        control: mpsc::Receiver<Control>,
    ) -> io::Result<Self> {
        let registry = poll.registry().try_clone()?;
        let mut udp = Vec::new();
        for (index, socket) in bound.udp.into_iter().enumerate() {
            let local = socket.local_addr()?;
            let mut socket = UdpSocket::from_std(socket);
            registry.register(&mut socket, Source::Udp(index).token(), Interest::READABLE)?;
            udp.push((socket, local));
        }
        let mut tcp = Vec::new();
        for (index, socket) in bound.tcp.into_iter().enumerate() {
            let local = socket.local_addr()?;
            let mut socket = TcpListener::from_std(socket);
            registry.register(&mut socket, Source::Listener(index).token(), Interest::READABLE)?;
            tcp.push((socket, local));
        }
        let engine = Engine {
            registry,
            server: Server::new(settings, shard),
            udp,
            tcp,
            relayed: Vec::new(),
            connections: Slab::new(),
            serial: 0,
            pending: Pending::default(),
            limits,
            answer: vec![0; Server::ANSWER_LEN].into_boxed_slice(),
            counters: NetCounters::default(),
        };
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
                    Source::Connection(_)
                    | Source::Udp(_)
                    | Source::Listener(_)
                    | Source::Relayed(_) => self.attend(source),
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
        let next = [self.engine.server.poll_timeout(), self.engine.pending.next()];
        let next = next.into_iter().flatten().min()?;
        // The kernel counts in whole milliseconds and mio rounds up, so nothing fires early.
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Does what it is told; whether that is to stop.
    fn obey(&mut self) -> bool {
        while let Ok(control) = self.control.try_recv() {
            match control {
                Control::Apply(settings, limits) => {
                    self.engine.server.apply(settings);
                    self.engine.limits = limits;
                }
                Control::Drain => self.engine.server.drain(),
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
            Source::Udp(index) => self.read_clients(index),
            Source::Relayed(index) => self.read_peers(index),
            Source::Listener(index) => self.engine.accept(index),
            Source::Connection(index) => self.engine.read_connection(index),
            Source::Waker => false,
        };
        if more {
            self.backlog.push_back(source);
        }
    }

    fn read_clients(&mut self, index: usize) -> bool {
        for _ in 0..TURNS {
            let Some((socket, local)) = self.engine.udp.get(index) else { return false };
            let local = *local;
            let Ok(count) = receive(&mut self.datagrams, socket, BATCH) else { return false };
            let now = now();
            for datagram in 0..count {
                let Some(datagram) = self.datagrams.get(datagram) else { continue };
                let client = ClientAddr(datagram.from);
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
    loop {
        match datagrams.receive(socket.as_fd(), most) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn now() -> Now {
    // A clock before 1970 is a clock that nobody set: every credential is then still valid.
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { instant: Instant::now(), unix: UnixSeconds(unix.as_secs()) }
}

impl Engine {
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            counters: self.server.counters().clone(),
            net: self.counters,
            allocations: self.server.allocations(),
            connections: self.connections.len(),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.server.poll_timeout().is_some_and(|due| due <= now) {
            self.server.handle_timeout(now);
            self.run_commands(None);
        }
        while let Some(id) = self.pending.overdue(now) {
            if self.connection(id).is_some_and(|connection| connection.pending) {
                self.counters.connections_timed_out += 1;
                self.close(id.index);
            }
        }
    }

    fn handle_client(&mut self, now: Now, path: ClientPath, from: &FiveTuple, bytes: &[u8]) {
        match self.server.handle_client(now, from, bytes, &mut self.answer) {
            Verdict::ToPeer { relayed, peer, payload, dont_fragment } => {
                if !self.send_to_peer(relayed, &bytes[payload], peer, dont_fragment) {
                    self.counters.send_to_peer_failed += 1;
                }
            }
            Verdict::Respond { len } => {
                self.answer(path, from, len);
                self.run_commands(None);
            }
            Verdict::RespondFrom { len, server, client } => self.answer_from(server, client, len),
            Verdict::Opening => self.run_commands(Some((path, from))),
            Verdict::Drop(_) => {}
        }
    }

    fn send_to_peer(
        &mut self,
        relayed: RelayedId,
        payload: &[u8],
        peer: PeerAddr,
        dont_fragment: bool,
    ) -> bool {
        let socket = self.relayed.get_mut(relayed.index()).and_then(Option::as_mut);
        socket.is_some_and(|socket| socket.send(payload, peer, dont_fragment).is_ok())
    }

    fn handle_peer(
        &mut self,
        now: Instant,
        relayed: RelayedId,
        path: ClientPath,
        mut datagram: Datagram<'_>,
    ) {
        let from = PeerAddr(datagram.from);
        let len = datagram.len();
        let Some(head) = datagram.head_mut() else { return };
        match self.server.handle_peer(now, relayed, from, len, head) {
            PeerVerdict::ToClient { five_tuple, head_len, padding } => {
                let framed = datagram.framed(head_len, padding);
                self.send_to_client(path, &five_tuple, framed, FrameKind::Relayed);
            }
            PeerVerdict::Drop(_) => {}
        }
    }

    /// Sends the answer that has been written.
    fn answer(&mut self, path: ClientPath, to: &FiveTuple, len: usize) {
        let answer = std::mem::take(&mut self.answer);
        self.send_to_client(path, to, &answer[..len.min(answer.len())], FrameKind::Answer);
        self.answer = answer;
    }

    /// Sends the answer that has been written from another listener.
    fn answer_from(&mut self, server: SocketAddr, client: ClientAddr, len: usize) {
        let listener = self.udp.iter().find(|(_, local)| *local == server);
        let sent = listener.is_some_and(|(socket, _)| {
            socket.send_to(&self.answer[..len.min(self.answer.len())], client.0).is_ok()
        });
        self.counters.send_to_client_failed += u64::from(!sent);
    }

    fn send_to_client(&mut self, path: ClientPath, to: &FiveTuple, bytes: &[u8], kind: FrameKind) {
        match path {
            ClientPath::Udp(index) => {
                let sent = self
                    .udp
                    .get(index)
                    .is_some_and(|(socket, _)| socket.send_to(bytes, to.client.0).is_ok());
                self.counters.send_to_client_failed += u64::from(!sent);
            }
            ClientPath::Tcp(id) => self.send_on_connection(id, bytes, kind),
        }
    }

    fn send_on_connection(&mut self, id: ConnectionId, bytes: &[u8], kind: FrameKind) {
        let Some(connection) = self.connection(id) else { return };
        match connection.send(bytes, kind) {
            Ok(Ok(dropped)) => self.counters.queue_dropped += dropped,
            Ok(Err(_stalled)) => {
                self.counters.connections_stalled += 1;
                self.close(id.index);
            }
            Err(_gone) => self.close(id.index),
        }
    }

    /// Opens and closes relayed sockets as the server core wants it. What it opens is for the client
    /// whose request is being answered.
    fn run_commands(&mut self, client: Option<(ClientPath, &FiveTuple)>) {
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::Open { relayed, local } => {
                    if let Some((path, from)) = client {
                        self.open(relayed, local, path, from);
                    }
                }
                Command::Close { relayed, address, five_tuple, reason, allocation_ended } => {
                    tracing::debug!(
                        client = %five_tuple.client.0,
                        relayed = %address.0,
                        reason = reason.label(),
                        "relayed address ended"
                    );
                    let place = self.relayed.get_mut(relayed.index());
                    if let Some(socket) = place.and_then(Option::take) {
                        let path = socket.path;
                        socket.close(&self.registry);
                        if allocation_ended {
                            self.wait_for_allocation(path);
                        }
                    }
                }
            }
        }
    }

    fn open(&mut self, relayed: RelayedId, local: SocketAddr, path: ClientPath, from: &FiveTuple) {
        let index = relayed.index();
        let token = Source::Relayed(index).token();
        let opened = RelayedSocket::open(&self.registry, token, relayed, local, path);
        let opened = opened.map(|socket| {
            if self.relayed.len() <= index {
                self.relayed.resize_with(index + 1, || None);
            }
            self.relayed[index] = Some(socket);
            tracing::debug!(client = %from.client.0, %local, "relayed address opened");
            self.has_allocation(path);
        });
        if let Verdict::Respond { len } =
            self.server.handle_opened(now(), relayed, opened, &mut self.answer)
        {
            self.answer(path, from, len);
        }
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.index).filter(|connection| connection.serial == id.serial)
    }

    /// The connection's client has an allocation: it is not pending any more.
    fn has_allocation(&mut self, path: ClientPath) {
        let ClientPath::Tcp(id) = path else { return };
        let Some(connection) = self.connection(id).filter(|connection| connection.pending) else {
            return;
        };
        connection.pending = false;
        let source = connection.five_tuple.client.0.ip();
        self.pending.leave(source);
    }

    /// The connection's client has lost its allocation: it has some time to make another. It is not
    /// counted against its prefix again: it did prove itself.
    fn wait_for_allocation(&mut self, path: ClientPath) {
        let ClientPath::Tcp(id) = path else { return };
        let deadline = Instant::now() + self.limits.pending_timeout;
        let Some(connection) = self.connection(id).filter(|connection| !connection.pending) else {
            return;
        };
        connection.pending = true;
        let source = connection.five_tuple.client.0.ip();
        self.pending.enter(source, u32::MAX);
        self.pending.watch(id, deadline);
    }

    /// Accepts connections; whether there may be more.
    fn accept(&mut self, index: usize) -> bool {
        for _ in 0..TURNS {
            let Some((listener, local)) = self.tcp.get(index) else { return false };
            let local = *local;
            match listener.accept() {
                Ok((stream, client)) => self.admit(stream, client, local),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection accepted");
                    return false;
                }
            }
        }
        true
    }

    fn admit(&mut self, mut stream: mio::net::TcpStream, client: SocketAddr, local: SocketAddr) {
        if !self.pending.enter(client.ip(), self.limits.pending_per_prefix) {
            self.counters.connections_refused += 1;
            reset(&stream);
            return;
        }
        self.counters.connections_accepted += 1;
        // Media must not wait for more of it.
        let _slower_without = stream.set_nodelay(true);
        let entry = self.connections.vacant_entry();
        let id = ConnectionId { index: entry.key(), serial: self.serial };
        self.serial += 1;
        let token = Source::Connection(id.index).token();
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.registry.register(&mut stream, token, both) {
            tracing::warn!(%client, %error, "connection lost");
            self.pending.leave(client.ip());
            return;
        }
        let queue = self.limits.queue_bytes;
        entry.insert(Connection::new(stream, client, local, queue, id.serial));
        self.pending.watch(id, Instant::now() + self.limits.pending_timeout);
    }

    /// Reads frames of a connection; whether there may be more.
    fn read_connection(&mut self, index: usize) -> bool {
        for _ in 0..TURNS {
            let Some(connection) = self.connections.get_mut(index) else { return false };
            let id = ConnectionId { index, serial: connection.serial };
            let from = connection.five_tuple;
            let mut input = std::mem::take(&mut connection.input);
            let filled = input.fill(&mut connection.stream);
            let now = now();
            let framing = loop {
                if self.connection(id).is_none() {
                    // It broke while an answer was sent: nobody may allocate on it any more.
                    return false;
                }
                match input.next_frame() {
                    Ok(Some(frame)) => self.handle_client(now, ClientPath::Tcp(id), &from, frame),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            if let Some(connection) = self.connection(id) {
                connection.input = input;
            }
            match (framing, filled) {
                (Err(_), _) => {
                    self.counters.framing_errors += 1;
                    self.close_if(id);
                    return false;
                }
                (_, Err(_) | Ok((_, ReadState::Ended))) => {
                    self.close_if(id);
                    return false;
                }
                (_, Ok((_, ReadState::Drained))) => return false,
                (_, Ok((_, ReadState::Full))) => {}
            }
        }
        true
    }

    fn flush(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if !connection.queue.is_empty() && connection.flush().is_err() {
            self.close(index);
        }
    }

    fn close_if(&mut self, id: ConnectionId) {
        if self.connection(id).is_some() {
            self.close(id.index);
        }
    }

    /// Ends a connection, and the allocation that came over it.
    fn close(&mut self, index: usize) {
        let Some(mut connection) = self.connections.try_remove(index) else { return };
        if connection.pending {
            self.pending.leave(connection.five_tuple.client.0.ip());
        }
        let _closed_anyway = self.registry.deregister(&mut connection.stream);
        self.server.handle_disconnect(&connection.five_tuple);
        self.run_commands(None);
    }
}

/// Ends a connection by RST: the client learns at once, and no state is left here.
fn reset(stream: &mio::net::TcpStream) {
    let _closed_anyway = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
