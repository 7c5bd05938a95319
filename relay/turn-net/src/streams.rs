//! Clients' connections: accepted, opened, read, written to and ended.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Interest, net::TcpStream};
use turn_proto::{ClientAddr, FiveTuple, Transport};

use crate::{
    HandshakeFailure,
    client_path::{ClientPath, ConnectionId},
    client_stream::{ClientStream, Opening},
    connection::{Connection, FrameBuffer, ReadState},
    engine::Engine,
    log_budget::log_rarely,
    pending::Wait,
    send_queue::{FrameKind, SendQueue},
    worker::{Source, TURNS, now},
};

/// What a connection has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There may be more to read.
    More,
    /// Nothing more for now, or ever.
    Over,
}

impl Engine {
    pub(crate) fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.index).filter(|connection| connection.serial == id.serial)
    }

    pub(crate) fn send_on_connection(&mut self, id: ConnectionId, bytes: &[u8], kind: FrameKind) {
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

    /// Accepts connections; whether there may be more.
    pub(crate) fn accept(&mut self, index: usize) -> bool {
        for _ in 0..TURNS {
            let Some(listener) = self.stream_listeners.get(index) else { return false };
            match listener.socket.accept() {
                Ok((stream, client)) => self.admit(stream, client, index),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    log_rarely!(WARN, %error, "no connection accepted");
                    return false;
                }
            }
        }
        true
    }

    fn admit(&mut self, mut stream: TcpStream, client: SocketAddr, listener: usize) {
        let Some(through) = self.stream_listeners.get(listener) else { return };
        let (server, behind_proxy) = (through.local, through.is_proxy(client.ip()));
        let until = Instant::now() + self.limits.pending_timeout;
        // Whom a load balancer connects for is known only once it has said so.
        let counted = (!behind_proxy).then_some(client.ip());
        let room = counted.is_none_or(|ip| self.pending.enter(ip, self.limits.pending_per_prefix));
        if !room {
            self.counters.connections_refused += 1;
            reset(&stream);
            return;
        }
        let wait = Wait { until, counted };
        self.counters.connections_accepted += 1;
        // Media must not wait for more of it.
        let _slower_without = stream.set_nodelay(true);
        let serial = self.next_serial();
        let entry = self.connections.vacant_entry();
        let id = ConnectionId { index: entry.key(), serial };
        let token = Source::Connection(id.index).token();
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.registry.register(&mut stream, token, both) {
            log_rarely!(WARN, %client, %error, "connection lost");
            self.pending.leave(wait);
            return;
        }
        let client = ClientAddr(client);
        entry.insert(Connection {
            stream: ClientStream::new(stream, behind_proxy),
            listener,
            five_tuple: FiveTuple { client, server, transport: Transport::Tcp },
            queue: SendQueue::new(self.limits.queue_bytes),
            serial,
            pending: Some(wait),
            splice: None,
            input: FrameBuffer::default(),
        });
        self.pending.watch(ClientPath::Stream(id), until);
    }

    /// Reads frames of a connection; whether there may be more.
    pub(crate) fn read_connection(&mut self, index: usize) -> bool {
        let Some(connection) = self.connections.get(index) else { return false };
        let id = ConnectionId { index, serial: connection.serial };
        if !connection.stream.is_open() && !self.open_stream(id) {
            return false;
        }
        for _ in 0..TURNS {
            if self.is_spliced(id) {
                return self.relay_stream(index);
            }
            if self.read_frames(id) == Turn::Over {
                return false;
            }
        }
        true
    }

    fn read_frames(&mut self, id: ConnectionId) -> Turn {
        let Some(connection) = self.connection(id) else { return Turn::Over };
        let from = connection.five_tuple;
        let mut input = std::mem::take(&mut connection.input);
        let filled = input.fill(&mut connection.stream);
        let now = now();
        let framing = loop {
            if self.connection(id).is_none() {
                // It broke while an answer was sent: nobody may allocate on it any more.
                return Turn::Over;
            }
            if self.is_spliced(id) {
                self.take_over(id, input.rest());
                return Turn::More;
            }
            match input.next_frame() {
                Ok(Some(frame)) => self.handle_client(now, ClientPath::Stream(id), &from, frame),
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
                self.refuse(id);
                Turn::Over
            }
            (_, Err(error)) => {
                self.count_handshake(id, &error);
                self.close_if(id);
                Turn::Over
            }
            (_, Ok((_, ReadState::Ended))) => {
                self.close_if(id);
                Turn::Over
            }
            (_, Ok((_, ReadState::Drained))) => Turn::Over,
            (_, Ok((_, ReadState::Full))) => Turn::More,
        }
    }

    fn count_handshake(&mut self, id: ConnectionId, error: &io::Error) {
        let Some(connection) = self.connection(id) else { return };
        if connection.stream.is_handshaking()
            && let Some(failure) = HandshakeFailure::of(error)
        {
            let client = connection.five_tuple.client.0;
            log_rarely!(DEBUG, %client, %error, "TLS handshake failed");
            self.counters.handshake_failed(failure);
        }
    }

    /// Goes from a connection that was accepted to one that messages are read from: a load
    /// balancer's header is read, and TLS is told from TCP. Whether it is there.
    fn open_stream(&mut self, id: ConnectionId) -> bool {
        loop {
            let Some(connection) = self.connections.get_mut(id.index) else { return false };
            let Some(listener) = self.stream_listeners.get(connection.listener) else {
                return false;
            };
            let tls = self.identity.as_ref().map(|identity| &identity.tls);
            match connection.stream.open(listener.spec.protocol, tls) {
                Ok(Opening::Waiting) => return false,
                Ok(Opening::Header(addresses)) => {
                    if !self.enter_behind_proxy(id, addresses) {
                        return false;
                    }
                }
                Ok(Opening::Plain) => return true,
                Ok(Opening::Tls) => {
                    connection.five_tuple.transport = Transport::Tls;
                    return true;
                }
                Ok(Opening::NoHeader) => {
                    self.counters.proxy_header_missing += 1;
                    self.refuse(id);
                    return false;
                }
                Ok(Opening::Ended) | Err(_) => {
                    self.close_if(id);
                    return false;
                }
            }
        }
    }

    /// A load balancer has said whom it connects for, itself if nobody: from here on that is the
    /// client, everywhere.
    fn enter_behind_proxy(
        &mut self,
        id: ConnectionId,
        addresses: Option<(SocketAddr, SocketAddr)>,
    ) -> bool {
        let most = self.limits.pending_per_prefix;
        let Some(connection) = self.connections.get_mut(id.index) else { return false };
        if let Some((client, server)) = addresses {
            connection.five_tuple.client = ClientAddr(client);
            connection.five_tuple.server = server;
        }
        let client = connection.five_tuple.client.0.ip();
        if self.pending.enter(client, most) {
            if let Some(wait) = &mut connection.pending {
                wait.counted = Some(client);
            }
            return true;
        }
        self.counters.connections_refused += 1;
        self.refuse(id);
        false
    }

    pub(crate) fn flush(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.has_output() && connection.flush().is_err() {
            self.close(index);
        }
    }

    fn close_if(&mut self, id: ConnectionId) {
        if self.connection(id).is_some() {
            self.close(id.index);
        }
    }

    /// Ends a connection by RST.
    fn refuse(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connection(id) {
            reset(&connection.stream.tcp);
            self.close(id.index);
        }
    }

    /// Ends a connection, and the allocation that came over it.
    pub(crate) fn close(&mut self, index: usize) {
        let Some(mut connection) = self.connections.try_remove(index) else { return };
        if let Some(wait) = connection.pending {
            self.pending.leave(wait);
        }
        if let Some(splice) = connection.splice.take() {
            self.end_splice(*splice);
        }
        connection.stream.say_goodbye();
        let _closed_anyway = self.registry.deregister(&mut connection.stream.tcp);
        self.server.handle_disconnect(&connection.five_tuple);
        self.run_commands(None);
    }
}

/// Ends a connection by RST: the client learns at once, and no state is left here.
pub(crate) fn reset(stream: &TcpStream) {
    let _closed_anyway = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
