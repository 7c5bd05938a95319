//! Clients of DTLS listeners.

use std::time::Instant;

use turn_proto::{ClientAddr, FiveTuple, Now, Transport};

use crate::{
    HandshakeFailure,
    client_path::{ClientPath, ConnectionId},
    dtls::{
        association::{Association, Broken, Drained},
        hello::{Beginning, ClientHello, NO_SUCH_VERSION, Version},
    },
    engine::Engine,
    log_budget::log_rarely,
    pending::Wait,
    worker::now,
};

impl Engine {
    /// A datagram came to a DTLS listener.
    pub(crate) fn handle_dtls(
        &mut self,
        now: Now,
        listener: usize,
        client: ClientAddr,
        datagram: &[u8],
    ) {
        let known = self.associations.find(client.0, listener);
        match (Beginning::of(datagram), known) {
            (Beginning::Hello(hello), known) => {
                self.handle_hello(now, (listener, client), known, &hello, datagram);
            }
            (_, Some(id)) => self.receive_in_association(now, id, datagram),
            (Beginning::Fragment, None) => {
                self.counters.handshake_failed(HandshakeFailure::DtlsFragmented);
            }
            (Beginning::NothingInCommon, None) => {
                self.counters.handshake_failed(HandshakeFailure::NothingInCommon);
                self.send_packets(listener, client, &[NO_SUCH_VERSION.to_vec()]);
            }
            (Beginning::Other, None) => {
                self.counters.handshake_failed(HandshakeFailure::Malformed);
            }
        }
    }

    fn handle_hello(
        &mut self,
        now: Now,
        (listener, client): (usize, ClientAddr),
        known: Option<ConnectionId>,
        hello: &ClientHello<'_>,
        datagram: &[u8],
    ) {
        let Some(cookie) = self.cookies.verify(now.instant, client.0, hello) else {
            if hello.cookie.is_some() {
                self.counters.handshake_failed(HandshakeFailure::DtlsCookie);
                if hello.version != Version::V12 {
                    // A client may be asked to retry only once (RFC 8446, section 4.1.4).
                    return;
                }
            }
            self.ask_for_cookie(now, listener, client, hello);
            return;
        };
        match known {
            Some(id) if self.associations.get(id).is_some_and(|old| old.random == hello.random) => {
                self.receive_in_association(now, id, datagram);
            }
            Some(id) => {
                // The same address begins anew (RFC 6347, section 4.2.8).
                self.close_association(id);
                self.begin_association(now, (listener, client), (hello, cookie), datagram);
            }
            None => self.begin_association(now, (listener, client), (hello, cookie), datagram),
        }
    }

    /// Keeps nothing. What is sent is shorter than the hello.
    fn ask_for_cookie(
        &mut self,
        now: Now,
        listener: usize,
        client: ClientAddr,
        hello: &ClientHello<'_>,
    ) {
        let cookie = self.cookies.issue(now.instant, client.0, hello);
        self.counters.cookies_sent += 1;
        self.send_packets(listener, client, &[hello.request(&cookie)]);
    }

    fn begin_association(
        &mut self,
        now: Now,
        (listener, client): (usize, ClientAddr),
        hello: (&ClientHello<'_>, [u8; 32]),
        datagram: &[u8],
    ) {
        let Some(dtls) = self.identity.as_ref().and_then(|identity| identity.dtls.clone()) else {
            return;
        };
        let Some(server) = self.datagram_listeners.get(listener).map(|found| found.local) else {
            return;
        };
        let source = client.0.ip();
        if self.associations.len() >= self.limits.associations
            || !self.pending.enter(source, self.limits.pending_per_prefix)
        {
            self.counters.associations_refused += 1;
            return;
        }
        let until = now.instant + self.limits.pending_timeout;
        let wait = Wait { until, counted: Some(source) };
        let five_tuple = FiveTuple { client, server, transport: Transport::Dtls };
        let place = (five_tuple, listener, self.next_serial());
        match Association::begin(&dtls, now.instant, place, hello, datagram) {
            Ok((mut association, drained)) => {
                self.counters.associations_made += 1;
                association.pending = Some(wait);
                let id = self.associations.insert(association);
                self.pending.watch(ClientPath::Dtls(id), until);
                self.handle_drained(now, id, drained);
            }
            Err(broken) => {
                self.pending.leave(wait);
                self.count_broken(client, &broken);
            }
        }
    }

    fn receive_in_association(&mut self, now: Now, id: ConnectionId, datagram: &[u8]) {
        let received = self.associations.with(id, |found| found.receive(now.instant, datagram));
        self.handle_result(now, id, received);
    }

    pub(crate) fn handle_association_timeout(&mut self, instant: Instant, id: ConnectionId) {
        let done = self.associations.with(id, |found| found.handle_timeout(instant));
        self.handle_result(now(), id, done);
    }

    pub(crate) fn send_in_association(&mut self, id: ConnectionId, message: &[u8]) {
        let now = now();
        match self.associations.with(id, |found| found.send(now.instant, message)) {
            Some(Err(Broken::TooLong)) => self.counters.send_to_client_failed += 1,
            sent => self.handle_result(now, id, sent),
        }
    }

    fn handle_result(
        &mut self,
        now: Now,
        id: ConnectionId,
        result: Option<Result<Drained, Broken>>,
    ) {
        match result {
            None => {}
            Some(Ok(drained)) => self.handle_drained(now, id, drained),
            Some(Err(broken)) => {
                if let Some(found) = self.associations.get(id).filter(|found| !found.is_connected) {
                    let client = found.five_tuple.client;
                    self.count_broken(client, &broken);
                }
                self.close_association(id);
            }
        }
    }

    fn handle_drained(&mut self, now: Now, id: ConnectionId, drained: Drained) {
        let Some(association) = self.associations.get(id) else { return };
        let (from, listener) = (association.five_tuple, association.listener);
        self.send_packets(listener, from.client, &drained.packets);
        for message in &drained.messages {
            if self.associations.get(id).is_none() {
                // It broke while an answer was sent.
                return;
            }
            self.handle_client(now, ClientPath::Dtls(id), &from, message);
        }
        if drained.is_closed {
            self.close_association(id);
        }
    }

    fn send_packets(&mut self, listener: usize, to: ClientAddr, packets: &[Vec<u8>]) {
        let Some(listener) = self.datagram_listeners.get(listener) else { return };
        for packet in packets {
            let sent = listener.socket.send_to(packet, to.0).is_ok();
            self.counters.send_to_client_failed += u64::from(!sent);
        }
    }

    fn count_broken(&mut self, client: ClientAddr, broken: &Broken) {
        log_rarely!(DEBUG, client = %client.0, ?broken, "DTLS handshake failed");
        self.counters.handshake_failed(broken.reason());
    }

    /// Ends an association, and the allocation that came within it.
    pub(crate) fn close_association(&mut self, id: ConnectionId) {
        let Some(mut association) = self.associations.remove(id) else { return };
        if let Some(wait) = association.pending {
            self.pending.leave(wait);
        }
        let (from, listener) = (association.five_tuple, association.listener);
        self.send_packets(listener, from.client, &association.goodbye(Instant::now()));
        self.server.handle_disconnect(&from);
        self.run_commands(None);
    }
}
