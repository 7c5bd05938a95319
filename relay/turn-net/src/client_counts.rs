//! What clients come to at each listener: plain counters, that requests alone touch.

use std::collections::BTreeMap;

use turn_proto::{ClientStep, Transport};

use crate::{Protocol, client_path::ClientPath, engine::Engine};

/// How often clients have come to each step, in the order of [`ClientStep::ALL`].
pub type Steps = [u64; ClientStep::ALL.len()];

/// The same of one listener, for each transport: a port may speak two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StepsOfListener([Steps; Transport::ALL.len()]);

impl StepsOfListener {
    const fn count(&mut self, over: Transport, step: ClientStep) {
        self.0[over as usize][step as usize] += 1;
    }
}

/// What clients have come to, by the listener's name and the transport.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientCounts(pub BTreeMap<(String, Transport), Steps>);

impl ClientCounts {
    /// A listener of one name is one, on however many addresses it stands.
    fn add(&mut self, name: &str, protocol: Protocol, counted: &StepsOfListener) {
        for over in Transport::ALL.into_iter().filter(|over| protocol.serves(*over)) {
            self.add_steps((name.to_owned(), over), &counted.0[over as usize]);
        }
    }

    fn add_steps(&mut self, key: (String, Transport), steps: &Steps) {
        for (sum, more) in self.0.entry(key).or_default().iter_mut().zip(steps) {
            *sum += more;
        }
    }

    /// Adds what another worker has counted.
    pub(crate) fn merge(&mut self, other: Self) {
        for (key, steps) in other.0 {
            self.add_steps(key, &steps);
        }
    }
}

impl Engine {
    /// Counts how far the client of the request that is being answered has come.
    pub(crate) fn count_client(&mut self, path: ClientPath, over: Transport) {
        let Some(step) = self.server.take_client_step() else { return };
        if let Some(counted) = self.counted_at(path) {
            counted.count(over, step);
        }
    }

    fn counted_at(&mut self, path: ClientPath) -> Option<&mut StepsOfListener> {
        let datagrams = match path {
            ClientPath::Udp(index) => index,
            ClientPath::Dtls(id) => self.associations.get(id)?.listener,
            ClientPath::Stream(id) => {
                let listener = self.connection(id)?.listener;
                return Some(&mut self.stream_listeners.get_mut(listener)?.clients);
            }
        };
        Some(&mut self.datagram_listeners.get_mut(datagrams)?.clients)
    }

    /// What has been counted at each listener.
    pub(crate) fn client_counts(&self) -> ClientCounts {
        let mut counts = ClientCounts::default();
        for (_, listener) in &self.datagram_listeners {
            counts.add(&listener.spec.name, listener.spec.protocol, &listener.clients);
        }
        for (_, listener) in &self.stream_listeners {
            counts.add(&listener.spec.name, listener.spec.protocol, &listener.clients);
        }
        counts
    }
}
