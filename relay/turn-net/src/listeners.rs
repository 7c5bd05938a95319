//! A worker's listeners, which come and go while it runs.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use mio::{
    Interest,
    net::{TcpListener, UdpSocket},
};
use turn_proto::{FiveTuple, Transport};

use crate::{
    ListenerSpec, Protocol, bind::BoundListeners, client_counts::StepsOfListener, engine::Engine,
    worker::Source,
};

/// A socket that clients send datagrams to.
pub(crate) struct DatagramListener {
    pub(crate) socket: UdpSocket,
    pub(crate) local: SocketAddr,
    pub(crate) spec: ListenerSpec,
    pub(crate) clients: StepsOfListener,
}

/// A socket that clients connect to.
pub(crate) struct StreamListener {
    pub(crate) socket: TcpListener,
    pub(crate) local: SocketAddr,
    pub(crate) spec: ListenerSpec,
    pub(crate) clients: StepsOfListener,
}

impl StreamListener {
    /// Whether a source is a load balancer, which says in a header whom it connects for.
    pub(crate) fn is_proxy(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.spec.proxies.iter().any(|range| range.contains(&source))
    }
}

impl Engine {
    /// Serves what has been bound.
    pub(crate) fn add_listeners(&mut self, bound: BoundListeners) -> io::Result<()> {
        for (socket, spec) in bound.datagram {
            let local = socket.local_addr()?;
            let mut socket = UdpSocket::from_std(socket);
            let entry = self.datagram_listeners.vacant_entry();
            let token = Source::Datagrams(entry.key()).token();
            self.registry.register(&mut socket, token, Interest::READABLE)?;
            entry.insert(DatagramListener {
                socket,
                local,
                spec,
                clients: StepsOfListener::default(),
            });
        }
        for (socket, spec) in bound.stream {
            let local = socket.local_addr()?;
            let mut socket = TcpListener::from_std(socket);
            let entry = self.stream_listeners.vacant_entry();
            let token = Source::Listener(entry.key()).token();
            self.registry.register(&mut socket, token, Interest::READABLE)?;
            entry.insert(StreamListener {
                socket,
                local,
                spec,
                clients: StepsOfListener::default(),
            });
        }
        Ok(())
    }

    /// Closes the listeners that are not among `listeners`, and takes what is new of the others. The
    /// clients of a listener that is closed lose their allocations: the address that they speak to
    /// is no more. So do those whose transport is not spoken there any more.
    pub(crate) fn keep_listeners(&mut self, listeners: &[ListenerSpec]) {
        let kept = |spec: &ListenerSpec| {
            listeners.iter().find(|listener| listener.socket() == spec.socket()).cloned()
        };
        let datagram: Vec<_> = self.datagram_listeners.iter().map(|(index, _)| index).collect();
        for index in datagram {
            let Some(listener) = self.datagram_listeners.get_mut(index) else { continue };
            let new = kept(&listener.spec);
            let protocol = new.as_ref().map(|spec| spec.protocol);
            if let Some(new) = new {
                listener.spec = new;
            }
            self.end_datagram_clients(index, protocol);
            if protocol.is_none() {
                let mut listener = self.datagram_listeners.remove(index);
                let _closed_anyway = self.registry.deregister(&mut listener.socket);
            }
        }
        let stream: Vec<_> = self.stream_listeners.iter().map(|(index, _)| index).collect();
        for index in stream {
            let Some(listener) = self.stream_listeners.get_mut(index) else { continue };
            let new = kept(&listener.spec);
            let protocol = new.as_ref().map(|spec| spec.protocol);
            if let Some(new) = new {
                listener.spec = new;
            }
            self.end_connections(index, protocol);
            if protocol.is_none() {
                let mut listener = self.stream_listeners.remove(index);
                let _closed_anyway = self.registry.deregister(&mut listener.socket);
            }
        }
    }

    /// Ends what clients of a datagram listener have that `now`, if anything, does not serve.
    fn end_datagram_clients(&mut self, index: usize, now: Option<Protocol>) {
        let Some(listener) = self.datagram_listeners.get(index) else { return };
        let local = listener.local;
        let is_served = |transport| now.is_some_and(|protocol| protocol.serves(transport));
        self.server.handle_listener_removed(|five_tuple: &FiveTuple| {
            let transport = five_tuple.transport;
            five_tuple.server == local && !transport.is_stream() && !is_served(transport)
        });
        self.run_commands(None);
        if !is_served(Transport::Dtls) {
            for id in self.associations.of_listener(index) {
                self.close_association(id);
            }
        }
    }

    /// Ends the connections of a stream listener that `now`, if anything, does not serve.
    fn end_connections(&mut self, index: usize, now: Option<Protocol>) {
        let is_served = |transport| now.is_some_and(|protocol| protocol.serves(transport));
        let gone: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.listener == index)
            // What is not open yet finds out how the listener is spoken to now.
            .filter(|(_, found)| now.is_none() || found.stream.is_open())
            .filter(|(_, connection)| !is_served(connection.five_tuple.transport))
            .map(|(place, connection)| (place, connection.five_tuple))
            .collect();
        for (place, five_tuple) in gone {
            self.server.handle_listener_removed(|other| *other == five_tuple);
            self.close(place);
        }
    }
}
