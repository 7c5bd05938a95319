//! Connections to peers (RFC 6062): made, accepted, joined with clients' connections, and ended.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Interest, net::TcpStream};
use turn_proto::{Direction, FiveTuple, PeerAddr, PeerConnectionId, RelayedId, Verdict};

use crate::{
    client_path::{ClientPath, ConnectionId},
    connection::Connection,
    engine::Engine,
    log_budget::log_rarely,
    relayed_listener::{RelayedListener, connect, is_connected},
    splice::{Moved, Splice},
    streams::reset,
    worker::{Source, TURNS, now},
};

/// A connection to a peer that is being made.
pub(crate) struct PeerConnect {
    id: PeerConnectionId,
    stream: TcpStream,
    client: ToClient,
}

/// Whom to tell what came of it.
#[derive(Clone, Copy)]
struct ToClient {
    path: ClientPath,
    five_tuple: FiveTuple,
}

impl Engine {
    /// Opens a relayed address for peers to connect to.
    pub(crate) fn listen(
        &mut self,
        relayed: RelayedId,
        local: SocketAddr,
        path: ClientPath,
        from: &FiveTuple,
    ) {
        let index = relayed.index();
        let token = Source::RelayedListener(index).token();
        let opened = RelayedListener::open(&self.registry, token, relayed, local, path, *from);
        let opened = opened.map(|listener| {
            self.relayed_listeners.insert(index, listener);
        });
        self.opened(relayed, local, path, from, opened);
    }

    /// Accepts connections of peers; whether there may be more.
    pub(crate) fn accept_peers(&mut self, index: usize) -> bool {
        for _ in 0..TURNS {
            let Some(listener) = self.relayed_listeners.get(&index) else { return false };
            let (relayed, path) = (listener.id, listener.path);
            match listener.socket.accept() {
                Ok((stream, peer)) => self.offer(relayed, path, stream, PeerAddr(peer)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    log_rarely!(WARN, %error, "no connection of a peer accepted");
                    return false;
                }
            }
        }
        true
    }

    fn offer(&mut self, relayed: RelayedId, path: ClientPath, stream: TcpStream, peer: PeerAddr) {
        let offered = self.server.handle_incoming(Instant::now(), relayed, peer, &mut self.answer);
        let Some((id, five_tuple, len)) = offered else { return reset(&stream) };
        self.desk.lay_down(id, stream);
        self.answer(path, &five_tuple, len);
    }

    /// Begins a connection to a peer.
    pub(crate) fn connect(
        &mut self,
        id: PeerConnectionId,
        relayed: RelayedId,
        local: SocketAddr,
        peer: PeerAddr,
    ) {
        let Some(listener) = self.relayed_listeners.get(&relayed.index()) else { return };
        let client = ToClient { path: listener.path, five_tuple: listener.client };
        let number = id.number() as usize;
        match connect(&self.registry, Source::Connecting(number).token(), local, peer.0) {
            Ok(stream) => {
                self.connecting.insert(number, PeerConnect { id, stream, client });
            }
            Err(error) => {
                log_rarely!(DEBUG, peer = %peer.0, %error, "no connection to a peer");
                self.connected(id, client, None);
            }
        }
    }

    /// A connection that was begun may be there, or have failed.
    pub(crate) fn finish_connect(&mut self, number: usize) {
        let Some(begun) = self.connecting.get(&number) else { return };
        let Some(connected) = is_connected(&begun.stream) else { return };
        let Some(PeerConnect { id, mut stream, client }) = self.connecting.remove(&number) else {
            return;
        };
        let _closed_anyway = self.registry.deregister(&mut stream);
        self.connected(id, client, connected.then_some(stream));
    }

    /// It takes too long.
    pub(crate) fn abort_connect(&mut self, id: PeerConnectionId) {
        if let Some(begun) = self.stop_connecting(id) {
            self.connected(id, begun.client, None);
        }
    }

    fn stop_connecting(&mut self, id: PeerConnectionId) -> Option<PeerConnect> {
        let mut begun = self.connecting.remove(&(id.number() as usize))?;
        let _closed_anyway = self.registry.deregister(&mut begun.stream);
        Some(begun)
    }

    /// Tells the client what came of its Connect. The connection lies ready before the client knows
    /// what to bind.
    fn connected(&mut self, id: PeerConnectionId, client: ToClient, stream: Option<TcpStream>) {
        let connected = stream.is_some();
        if let Some(stream) = stream {
            self.desk.lay_down(id, stream);
        }
        match self.server.handle_connected(now(), id, connected, &mut self.answer) {
            Verdict::Respond { len } => self.answer(client.path, &client.five_tuple, len),
            Verdict::ToPeer { .. }
            | Verdict::RespondFrom { .. }
            | Verdict::Opening
            | Verdict::Moving
            | Verdict::Bind { .. }
            | Verdict::Drop(_) => self.desk.forget(id),
        }
    }

    /// Answers a ConnectionBind, and joins both connections behind the answer.
    pub(crate) fn bind(
        &mut self,
        path: ClientPath,
        from: &FiveTuple,
        id: PeerConnectionId,
        len: usize,
    ) {
        let taken = self.desk.take_up(id);
        let (ClientPath::Stream(client), Some(peer)) = (path, taken) else {
            return self.let_go(path, id);
        };
        self.answer(path, from, len);
        if let Err(error) = self.join(client, id, peer) {
            log_rarely!(DEBUG, client = %from.client.0, %error, "no connection joined");
            self.let_go(path, id);
        }
    }

    /// A connection cannot be bound after all: its allocation has ended, or the client's connection.
    fn let_go(&mut self, path: ClientPath, id: PeerConnectionId) {
        self.desk.forget(id);
        self.server.handle_connection_ended(id);
        if let ClientPath::Stream(client) = path
            && self.connection(client).is_some()
        {
            self.close(client.index);
        }
    }

    fn join(
        &mut self,
        client: ConnectionId,
        id: PeerConnectionId,
        mut peer: TcpStream,
    ) -> io::Result<()> {
        // Neither end shall wait for more of it.
        let _slower_without = peer.set_nodelay(true);
        let both = Interest::READABLE | Interest::WRITABLE;
        if self.connection(client).is_none() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.registry.register(&mut peer, Source::Peer(client.index).token(), both)?;
        if let Some(connection) = self.connection(client) {
            connection.splice = Some(Box::new(Splice::new(id, peer)));
        }
        self.bound.insert(id, client);
        self.has_allocation(ClientPath::Stream(client));
        Ok(())
    }

    pub(crate) fn is_spliced(&mut self, id: ConnectionId) -> bool {
        self.connection(id).is_some_and(|connection| connection.splice.is_some())
    }

    /// What was read behind the ConnectionBind is the peer's.
    pub(crate) fn take_over(&mut self, id: ConnectionId, rest: &[u8]) {
        let Some(connection) = self.connection(id) else { return };
        let Some(splice) = &mut connection.splice else { return };
        splice.to_peer.fill(rest);
        let id = splice.id;
        if !rest.is_empty() {
            self.server.stream_relayed(Instant::now(), id, Direction::ToPeer, rest.len());
        }
    }

    /// Moves what has come on either of two joined connections; whether there may be more.
    pub(crate) fn relay_stream(&mut self, index: usize) -> bool {
        for _ in 0..TURNS {
            match self.relay_once(index) {
                Some(Ok(true)) => {}
                Some(Ok(false)) | None => return false,
                Some(Err(error)) => {
                    log_rarely!(DEBUG, %error, "joined connection lost");
                    self.close(index);
                    return false;
                }
            }
        }
        true
    }

    /// Whether anything has moved; `None` when there is nothing joined here any more.
    fn relay_once(&mut self, index: usize) -> Option<io::Result<bool>> {
        let now = Instant::now();
        let Connection { stream, queue, splice, .. } = self.connections.get_mut(index)?;
        let splice = splice.as_mut()?;
        let pause = |direction| self.server.stream_pause(now, splice.id, direction);
        let pauses = [pause(Direction::ToPeer), pause(Direction::ToClient)];
        let from_client = pauses[0].is_none().then_some(&mut *stream);
        let to_peer = splice.to_peer.turn(from_client, Some(&mut splice.peer));
        let from_peer = pauses[1].is_none().then_some(&mut splice.peer);
        // What was said before the answer, and the answer, come first.
        let to_client = splice.to_client.turn(from_peer, queue.is_empty().then_some(stream));
        let (to_peer, to_client) = match (to_peer, to_client) {
            (Ok(to_peer), Ok(to_client)) => (to_peer, to_client),
            (Err(error), _) | (_, Err(error)) => return Some(Err(error)),
        };
        let (id, is_over) = (splice.id, splice.is_over());
        let waits = [&splice.to_peer, &splice.to_client].map(|pipe| pipe.wants_more());
        self.count_moved(now, id, to_peer, to_client);
        let until =
            pauses.into_iter().zip(waits).filter_map(|(until, waits)| until.filter(|_| waits));
        if let Some(until) = until.min() {
            self.hold_up(now, index, until);
        }
        if is_over {
            self.close(index);
            return None;
        }
        Some(Ok(to_peer.any || to_client.any))
    }

    fn count_moved(
        &mut self,
        now: Instant,
        id: PeerConnectionId,
        to_peer: Moved,
        to_client: Moved,
    ) {
        let both = [(Direction::ToPeer, to_peer), (Direction::ToClient, to_client)];
        for (direction, moved) in both {
            if moved.read > 0 {
                self.server.stream_relayed(now, id, direction, moved.read);
            }
        }
    }

    /// Looks at a connection again when it may go on; once, however often it is asked for until then.
    fn hold_up(&mut self, now: Instant, index: usize, until: Instant) {
        let splice = self.connections.get_mut(index).and_then(|found| found.splice.as_mut());
        let Some(splice) = splice else { return };
        if splice.held_up.is_none_or(|then| then <= now) {
            splice.held_up = Some(until);
            self.held_up.insert((until, index));
        }
    }

    /// Goes on with those connections that a limit held up until now.
    pub(crate) fn go_on(&mut self, now: Instant) {
        while let Some((until, index)) = self.held_up.first().copied() {
            if now < until {
                return;
            }
            self.held_up.pop_first();
            if self.relay_stream(index) {
                // Others first.
                self.held_up.insert((now + Duration::from_millis(1), index));
            }
        }
    }

    /// Ends a connection to a peer, wherever it is.
    pub(crate) fn close_connection(&mut self, id: PeerConnectionId) {
        if self.stop_connecting(id).is_none() {
            self.desk.close(id);
        }
    }

    /// Ends a connection to a peer that a client of this worker has bound, and the client's.
    pub(crate) fn close_bound(&mut self, id: PeerConnectionId) {
        if let Some(client) = self.bound.remove(&id)
            && self.connection(client).is_some()
        {
            self.close(client.index);
        }
    }

    /// Gives back what a client's connection was joined with.
    pub(crate) fn end_splice(&mut self, mut splice: Splice) {
        let _closed_anyway = self.registry.deregister(&mut splice.peer);
        self.bound.remove(&splice.id);
        self.desk.forget(splice.id);
        self.server.handle_connection_ended(splice.id);
    }
}
