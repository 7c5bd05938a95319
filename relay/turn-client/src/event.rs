//! What becomes of the operations.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use turn_wire::{
    AttributeType, ChannelNumber, Method,
    attribute::{ConnectionId, Family},
};

/// What is asked of the server: one request, and its repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Which address the server sees (RFC 8489, section 12). Not signed.
    Binding,
    /// RFC 8656, section 7.
    Allocate {
        /// The lifetime that is asked for, in seconds; none leaves it to the server.
        lifetime_seconds: Option<u32>,
        /// The family of the relayed transport address; none means IPv4.
        family: Option<Family>,
        /// Whether connections are to be relayed, instead of datagrams (RFC 6062, section 4.1).
        streams: bool,
        /// Whether it is to move with the client (RFC 8016, section 3.1.1).
        mobile: bool,
        /// The port that a prober would like the relayed transport address to have.
        relay_port: Option<u16>,
    },
    /// RFC 8656, section 8.
    Refresh {
        /// The lifetime that is asked for, in seconds; none leaves it to the server, zero ends the
        /// allocation.
        lifetime_seconds: Option<u32>,
    },
    /// A Refresh from another address, with the ticket of the allocation (RFC 8016, section 3.2.1).
    Migrate {
        /// The lifetime that is asked for, in seconds; none leaves it to the server.
        lifetime_seconds: Option<u32>,
    },
    /// RFC 8656, section 10.
    CreatePermission {
        /// The peer, of which only the IP address counts.
        peer: SocketAddr,
    },
    /// RFC 8656, section 12.
    ChannelBind {
        /// The peer.
        peer: SocketAddr,
        /// Its channel.
        channel: ChannelNumber,
    },
    /// RFC 6062, section 4.3.
    Connect {
        /// The peer.
        peer: SocketAddr,
    },
    /// RFC 6062, section 4.3. Not for the allocation of this client but for one of the same user.
    ConnectionBind {
        /// Which connection to a peer.
        connection: ConnectionId,
    },
}

impl Operation {
    pub(crate) const fn method(&self) -> Method {
        match self {
            Self::Binding => Method::BINDING,
            Self::Allocate { .. } => Method::ALLOCATE,
            Self::Refresh { .. } | Self::Migrate { .. } => Method::REFRESH,
            Self::CreatePermission { .. } => Method::CREATE_PERMISSION,
            Self::ChannelBind { .. } => Method::CHANNEL_BIND,
            Self::Connect { .. } => Method::CONNECT,
            Self::ConnectionBind { .. } => Method::CONNECTION_BIND,
        }
    }

    /// Whether it ends the allocation.
    pub(crate) const fn is_release(&self) -> bool {
        matches!(self, Self::Refresh { lifetime_seconds: Some(0) })
    }
}

/// Something that the owner of a client wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The answer to a Binding request.
    Mapped {
        /// The client's address as the server sees it.
        mapped: SocketAddr,
    },
    /// There is an allocation.
    Allocated {
        /// Its relayed transport address.
        relayed: SocketAddr,
        /// The client's address as the server sees it.
        mapped: SocketAddr,
        /// How long it lives, in seconds, unless it is refreshed; which the client does.
        lifetime_seconds: u32,
    },
    /// The allocation lives on.
    Refreshed {
        /// For how long, in seconds.
        lifetime_seconds: u32,
    },
    /// The allocation is where the client is now.
    Migrated {
        /// For how long it lives, in seconds.
        lifetime_seconds: u32,
    },
    /// The allocation is no more, and its permissions and channels with it.
    Ended {
        /// Why.
        end: End,
    },
    /// A permission is installed, or renewed.
    PermissionInstalled {
        /// The peer.
        peer: IpAddr,
    },
    /// A channel is bound, or bound again.
    ChannelBound {
        /// The peer.
        peer: SocketAddr,
        /// Its channel.
        channel: ChannelNumber,
    },
    /// The server has connected to a peer. The connection has to be bound soon, over a connection to
    /// the server of its own.
    Connected {
        /// The peer.
        peer: SocketAddr,
        /// What the connection is called.
        connection: ConnectionId,
    },
    /// A peer has connected to the relayed transport address. The connection has to be bound soon,
    /// over a connection to the server of its own.
    ConnectionAttempt {
        /// The peer.
        peer: SocketAddr,
        /// What the connection is called.
        connection: ConnectionId,
    },
    /// What comes from here on is the peer's, and what goes is for the peer: this connection to the
    /// server carries no more messages.
    ConnectionBound {
        /// What the connection is called.
        connection: ConnectionId,
    },
    /// An operation has failed.
    Failed {
        /// Which one.
        operation: Operation,
        /// Why.
        failure: Failure,
    },
    /// The server wants the client to allocate elsewhere (300; RFC 8489, section 10). The address is
    /// of the same family, and no loopback address.
    TryAlternate {
        /// The other server.
        server: SocketAddr,
        /// The name that is in its certificate.
        domain: Option<String>,
    },
    /// A datagram that the server relayed has met an ICMP error (RFC 8656, section 11.5).
    Icmp {
        /// The peer that it was for.
        peer: SocketAddr,
        /// The ICMP type.
        kind: u8,
        /// The ICMP code.
        code: u16,
    },
}

/// Why an allocation is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client ended it.
    Released,
    /// It was not refreshed in time.
    Expired,
    /// The server does not know it: 437 (RFC 8656, section 18.14).
    Mismatch,
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No answer.
    #[error("no answer within {:.2} s, asked {sends} times", .after.as_secs_f64())]
    TimedOut {
        /// How long it was waited for.
        after: Duration,
        /// How often the request was sent.
        sends: usize,
    },
    /// An error response: a code, and what the server says to it. 401 after the request was signed,
    /// and 438 twice, are refusals too.
    #[error("refused with {code}{}{reason}", if .reason.is_empty() { "" } else { ": " })]
    Refused {
        /// 300–699.
        code: u16,
        /// For a person; free of control characters, and often empty.
        reason: String,
    },
    /// The answer lacks an attribute that it must have. libwebrtc ignores such an answer without a
    /// word, and so never ends its gathering.
    #[error("the answer lacks {0:?}")]
    Missing(AttributeType),
    /// The answer has an attribute whose value cannot be.
    #[error("the answer has a {0:?} that cannot be read")]
    Malformed(AttributeType),
    /// The answer has an attribute that would have to be understood (RFC 8489, section 6.3.3).
    #[error(
        "the answer has the attribute {0:?}, which this client does not know but would have to"
    )]
    Unknown(AttributeType),
}
