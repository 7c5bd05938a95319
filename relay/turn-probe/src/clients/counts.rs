//! What a relay tells of its clients.

use serde::{Deserialize, Serialize};

use super::Network;
use crate::Transport;

/// How many listeners a relay tells of at most, and how many networks.
const MOST_LISTENERS: usize = 256;
pub(super) const MOST_NETWORKS: usize = 256;
/// How long a listener's name is at most, in bytes.
const LONGEST_NAME: usize = 128;

/// What clients have come to at a relay since its start; probers are not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCounts {
    /// At each listener.
    pub listeners: Vec<ListenerClients>,
    /// Allocations, by the network that they were made from: those that the relay has room for.
    pub networks: Vec<NetworkClients>,
    /// Allocations from all other networks.
    pub other_networks: ByTransport,
}

/// What clients have come to at one listener over one transport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerClients {
    /// The listener's name.
    pub name: String,
    /// Over what.
    pub transport: Transport,
    /// Bindings that were answered.
    pub bindings: u64,
    /// Allocates without credentials that were answered with 401: each client begins so.
    pub challenged: u64,
    /// Allocates with credentials that were answered with 401.
    pub wrong_credentials: u64,
    /// Allocates of clients that proved their credentials, refused for another reason.
    pub refused: u64,
    /// Allocations made.
    pub allocated: u64,
}

/// Allocations that were made from one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkClients {
    /// From where.
    pub network: Network,
    /// How many.
    #[serde(flatten)]
    pub allocated: ByTransport,
}

/// Allocations, by what lies between client and relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByTransport {
    /// Over UDP.
    pub udp: u64,
    /// Over TCP.
    pub tcp: u64,
    /// Over TLS.
    pub tls: u64,
    /// Over DTLS.
    pub dtls: u64,
}

/// Places in [`ListenerClients::steps`].
pub(super) const BINDINGS: usize = 0;
pub(super) const CHALLENGED: usize = 1;
pub(super) const WRONG_CREDENTIALS: usize = 2;
pub(super) const REFUSED: usize = 3;
pub(super) const ALLOCATED: usize = 4;

impl ListenerClients {
    pub(super) const fn steps(&self) -> [u64; 5] {
        let Self { bindings, challenged, wrong_credentials, refused, allocated, .. } = *self;
        [bindings, challenged, wrong_credentials, refused, allocated]
    }
}

impl ByTransport {
    pub(super) const fn counts(self) -> [u64; 4] {
        [self.udp, self.tcp, self.tls, self.dtls]
    }
}

impl ClientCounts {
    /// Whether a relay can have counted that: who tells it may lie, and what is kept has a limit.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        self.listeners.len() <= MOST_LISTENERS
            && self.networks.len() <= MOST_NETWORKS
            && self.listeners.iter().all(|listener| listener.name.len() <= LONGEST_NAME)
    }

    pub(super) fn steps(&self, name: &str, over: Transport) -> Option<[u64; 5]> {
        let is_it = |of: &&ListenerClients| of.name == *name && of.transport == over;
        self.listeners.iter().find(is_it).map(ListenerClients::steps)
    }

    pub(super) fn network(&self, network: Network) -> Option<[u64; 4]> {
        let found = self.networks.iter().find(|of| of.network == network)?;
        Some(found.allocated.counts())
    }
}
