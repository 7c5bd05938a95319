//! What a client is told at its start.

use std::net::SocketAddr;

use crate::{Credentials, Profile, Schedule};

/// What lies between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Each datagram is one message.
    Udp,
    /// A byte stream: TCP, or TLS over it.
    Stream,
}

/// What a client is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server. The client sends nothing itself: it judges alternate servers by this.
    pub server: SocketAddr,
    /// What lies between.
    pub transport: Transport,
    /// Who the client says it is.
    pub credentials: Credentials,
    /// How it behaves.
    pub profile: Profile,
    /// Where transaction ids come from. Whoever knows it can forge answers: on a real network it has
    /// to be unpredictable (RFC 8489, section 5).
    pub seed: [u8; 32],
}

impl Config {
    pub(crate) const fn schedule(&self) -> Schedule {
        match self.transport {
            Transport::Udp => self.profile.datagram,
            Transport::Stream => self.profile.stream,
        }
    }
}
