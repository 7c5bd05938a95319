//! What a worker does: the server core, and the sockets that it speaks through.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Instant,
};

use slab::Slab;
use turn_proto::{
    ClientAddr, Command, FiveTuple, Now, OpenError, PeerAddr, PeerConnectionId, PeerVerdict,
    RelayedId, Server, Shard, Verdict,
};

use crate::{
    Identity, ListenerSpec, NetCounters, Protocol, Snapshot, StreamLimits, Terms,
    bind::BoundListeners,
    client_path::{ClientPath, ConnectionId},
    connection::Connection,
    datagrams::Datagram,
    dtls::{associations::Associations, cookie::Cookies},
    handover::Desk,
    listeners::{DatagramListener, StreamListener},
    peer_connections::PeerConnect,
    pending::{Pending, Wait},
    relayed::RelayedSocket,
    relayed_listener::RelayedListener,
    send_queue::FrameKind,
    worker::{Source, now},
};

/// All of a worker but the buffer that datagrams lie in.
pub(crate) struct Engine {
    pub(crate) registry: mio::Registry,
    pub(crate) server: Server,
    pub(crate) datagram_listeners: Slab<DatagramListener>,
    pub(crate) stream_listeners: Slab<StreamListener>,
    pub(crate) relayed: Vec<Option<RelayedSocket>>,
    /// Of allocations that relay streams, by the index of the relayed address.
    pub(crate) relayed_listeners: BTreeMap<usize, RelayedListener>,
    /// Connections to peers that are being made, by their numbers.
    pub(crate) connecting: BTreeMap<usize, PeerConnect>,
    /// Connections to peers that clients of this worker have bound, and those clients' connections.
    pub(crate) bound: BTreeMap<PeerConnectionId, ConnectionId>,
    /// Connections that a limit holds up, and until when.
    pub(crate) held_up: BTreeSet<(Instant, usize)>,
    pub(crate) desk: Desk,
    pub(crate) connections: Slab<Connection>,
    pub(crate) associations: Associations,
    pub(crate) cookies: Cookies,
    serial: u64,
    pub(crate) pending: Pending,
    pub(crate) limits: StreamLimits,
    pub(crate) identity: Option<Identity>,
    pub(crate) answer: Box<[u8]>,
    pub(crate) counters: NetCounters,
}

impl Engine {
    pub(crate) fn new(
        registry: mio::Registry,
        terms: Terms,
        shard: Shard,
        cookie_key: [u8; 32],
        desk: Desk,
    ) -> Self {
        Self {
            registry,
            cookies: Cookies::new(cookie_key, shard.start),
            server: Server::new(terms.settings, shard),
            datagram_listeners: Slab::new(),
            stream_listeners: Slab::new(),
            relayed: Vec::new(),
            relayed_listeners: BTreeMap::new(),
            connecting: BTreeMap::new(),
            bound: BTreeMap::new(),
            held_up: BTreeSet::new(),
            desk,
            connections: Slab::new(),
            associations: Associations::default(),
            serial: 0,
            pending: Pending::default(),
            limits: terms.limits,
            identity: terms.identity,
            answer: vec![0; Server::ANSWER_LEN].into_boxed_slice(),
            counters: NetCounters::default(),
        }
    }

    /// A number that no other connection or association has.
    pub(crate) const fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            counters: self.server.counters().clone(),
            net: self.counters,
            clients: self.client_counts(),
            allocations: self.server.allocations(),
            connections: self.connections.len(),
            associations: self.associations.len(),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.server.poll_timeout().is_some_and(|due| due <= now) {
            self.server.handle_timeout(now);
            self.run_commands(None);
        }
        self.go_on(now);
        while let Some(path) = self.pending.overdue(now) {
            self.time_out(now, path);
        }
        while let Some(id) = self.associations.overdue(now) {
            self.handle_association_timeout(now, id);
        }
    }

    /// When something is due, if nothing else happens.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let held_up = self.held_up.first().map(|(until, _)| *until);
        let (server, pending) = (self.server.poll_timeout(), self.pending.next());
        let next = [server, pending, self.associations.next(), held_up];
        next.into_iter().flatten().min()
    }

    /// Takes new terms and new listeners; those that are no longer named are closed.
    pub(crate) fn apply(
        &mut self,
        terms: Terms,
        listeners: &[ListenerSpec],
        added: BoundListeners,
    ) {
        self.server.apply(terms.settings);
        self.run_commands(None);
        self.limits = terms.limits;
        self.identity = terms.identity;
        self.keep_listeners(listeners);
        if let Err(error) = self.add_listeners(added) {
            // The sockets are bound already: there was no room for one more in the poll.
            tracing::error!(%error, "a new listener is not served");
        }
    }

    pub(crate) fn drain(&mut self) {
        self.server.drain();
    }

    pub(crate) fn handle_client(
        &mut self,
        now: Now,
        path: ClientPath,
        from: &FiveTuple,
        bytes: &[u8],
    ) {
        match self.server.handle_client(now, from, bytes, &mut self.answer) {
            Verdict::ToPeer { relayed, peer, payload, dont_fragment } => {
                if !self.send_to_peer(relayed, &bytes[payload], peer, dont_fragment) {
                    self.counters.send_to_peer_failed += 1;
                }
            }
            Verdict::Respond { len } => {
                self.count_client(path, from.transport);
                self.answer(path, from, len);
                self.run_commands(None);
            }
            Verdict::RespondFrom { len, server, client } => {
                self.count_client(path, from.transport);
                self.answer_from(server, client, len);
            }
            Verdict::Bind { connection, len } => self.bind(path, from, connection, len),
            Verdict::Opening => self.run_commands(Some((path, from))),
            Verdict::Moving => self.send_for(path),
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

    pub(crate) fn handle_peer(
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

    /// Tells clients what came back for datagrams that were relayed.
    pub(crate) fn read_errors(&mut self, index: usize) {
        while let Some(Some(socket)) = self.relayed.get(index) {
            let (relayed, path) = (socket.id, socket.path);
            let Some((peer, error)) = socket.next_error() else { return };
            self.counters.icmp_received += 1;
            let now = Instant::now();
            let told = self.server.handle_icmp(now, relayed, peer, error, &mut self.answer);
            if let Some((five_tuple, len)) = told {
                self.answer(path, &five_tuple, len);
            }
        }
    }

    /// Sends the answer that has been written.
    pub(crate) fn answer(&mut self, path: ClientPath, to: &FiveTuple, len: usize) {
        let answer = std::mem::take(&mut self.answer);
        self.send_to_client(path, to, &answer[..len.min(answer.len())], FrameKind::Answer);
        self.answer = answer;
    }

    /// Sends the answer that has been written from another listener.
    fn answer_from(&mut self, server: SocketAddr, client: ClientAddr, len: usize) {
        let is_other = |listener: &&DatagramListener| {
            listener.local == server && listener.spec.protocol == Protocol::Udp
        };
        let mut listeners = self.datagram_listeners.iter().map(|(_, listener)| listener);
        let sent = listeners.find(is_other).is_some_and(|listener| {
            let answer = &self.answer[..len.min(self.answer.len())];
            listener.socket.send_to(answer, client.0).is_ok()
        });
        self.counters.send_to_client_failed += u64::from(!sent);
    }

    fn send_to_client(&mut self, path: ClientPath, to: &FiveTuple, bytes: &[u8], kind: FrameKind) {
        match path {
            ClientPath::Udp(index) => {
                let listener = self.datagram_listeners.get(index);
                let sent = listener
                    .is_some_and(|listener| listener.socket.send_to(bytes, to.client.0).is_ok());
                self.counters.send_to_client_failed += u64::from(!sent);
            }
            ClientPath::Stream(id) => self.send_on_connection(id, bytes, kind),
            ClientPath::Dtls(id) => self.send_in_association(id, bytes),
        }
    }

    /// Opens and closes relayed sockets as the server core wants it. What it opens is for the client
    /// whose request is being answered.
    pub(crate) fn run_commands(&mut self, client: Option<(ClientPath, &FiveTuple)>) {
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::Open { relayed, local } => {
                    if let Some((path, from)) = client {
                        self.open(relayed, local, path, from);
                    }
                }
                Command::Listen { relayed, local } => {
                    if let Some((path, from)) = client {
                        self.listen(relayed, local, path, from);
                    }
                }
                Command::Connect { connection, relayed, local, peer } => {
                    self.connect(connection, relayed, local, peer);
                }
                Command::AbortConnect { connection } => self.abort_connect(connection),
                Command::CloseConnection { connection } => self.close_connection(connection),
                Command::Close { relayed, address, five_tuple, reason, allocation_ended } => {
                    tracing::debug!(
                        client = %five_tuple.client.0,
                        relayed = %address.0,
                        reason = reason.label(),
                        "relayed address ended"
                    );
                    if let Some(path) = self.close_relayed(relayed)
                        && allocation_ended
                    {
                        self.wait_for_allocation(path);
                    }
                }
            }
        }
    }

    fn open(&mut self, relayed: RelayedId, local: SocketAddr, path: ClientPath, from: &FiveTuple) {
        let index = relayed.index();
        let token = Source::Relayed(index).token();
        let opened = RelayedSocket::open(&self.registry, token, relayed, local, path);
        let opened = opened.map(|socket| self.place(socket));
        self.opened(relayed, local, path, from, opened);
    }

    /// Keeps a relayed socket where its name says.
    pub(crate) fn place(&mut self, socket: RelayedSocket) {
        let index = socket.id.index();
        if self.relayed.len() <= index {
            self.relayed.resize_with(index + 1, || None);
        }
        self.relayed[index] = Some(socket);
    }

    /// Closes the socket of a relayed address: how its client is reached.
    fn close_relayed(&mut self, relayed: RelayedId) -> Option<ClientPath> {
        if let Some(listener) = self.relayed_listeners.remove(&relayed.index()) {
            let path = listener.path;
            listener.close(&self.registry);
            return Some(path);
        }
        let socket = self.relayed.get_mut(relayed.index()).and_then(Option::take)?;
        let path = socket.path;
        socket.close(&self.registry);
        Some(path)
    }

    /// Tells the core, and the client, what came of opening a relayed address.
    pub(crate) fn opened(
        &mut self,
        relayed: RelayedId,
        local: SocketAddr,
        path: ClientPath,
        from: &FiveTuple,
        opened: Result<(), OpenError>,
    ) {
        if opened.is_ok() {
            tracing::debug!(client = %from.client.0, %local, "relayed address opened");
            self.has_allocation(path);
        }
        if let Verdict::Respond { len } =
            self.server.handle_opened(now(), relayed, opened, &mut self.answer)
        {
            self.count_client(path, from.transport);
            self.answer(path, from, len);
        }
    }

    /// The client has an allocation: it is not pending any more.
    pub(crate) fn has_allocation(&mut self, path: ClientPath) {
        if let Some(wait) = self.pending_of(path).and_then(Option::take) {
            self.pending.leave(wait);
        }
    }

    /// The client has lost its allocation: it has some time to make another. It is not counted
    /// against its prefix again: it did prove itself.
    pub(crate) fn wait_for_allocation(&mut self, path: ClientPath) {
        let wait = Wait { until: Instant::now() + self.limits.pending_timeout, counted: None };
        if let Some(pending @ None) = self.pending_of(path) {
            *pending = Some(wait);
            self.pending.watch(path, wait.until);
        }
    }

    /// Ends a connection or an association that has had no allocation for too long.
    fn time_out(&mut self, now: Instant, path: ClientPath) {
        let Some(Some(wait)) = self.pending_of(path) else { return };
        if now < wait.until {
            return;
        }
        match path {
            ClientPath::Udp(_) => {}
            ClientPath::Stream(id) => {
                self.counters.connections_timed_out += 1;
                self.close(id.index);
            }
            ClientPath::Dtls(id) => {
                self.counters.associations_timed_out += 1;
                self.close_association(id);
            }
        }
    }

    fn pending_of(&mut self, path: ClientPath) -> Option<&mut Option<Wait>> {
        match path {
            ClientPath::Udp(_) => None,
            ClientPath::Stream(id) => self.connection(id).map(|found| &mut found.pending),
            ClientPath::Dtls(id) => self.associations.get(id).map(|found| &mut found.pending),
        }
    }
}
