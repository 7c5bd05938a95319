//! What a listener speaks.

use std::fmt;

use turn_proto::Transport;

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// One message in each datagram.
    Udp,
    /// Messages framed in a stream.
    Tcp,
    /// The same within TLS.
    Tls,
    /// Datagrams within DTLS.
    Dtls,
    /// TCP and TLS on one port, told apart by a connection's first byte.
    Auto,
}

impl Protocol {
    /// Whether its port is one of TCP's, and not of UDP's.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        match self {
            Self::Tcp | Self::Tls | Self::Auto => true,
            Self::Udp | Self::Dtls => false,
        }
    }

    /// Whether clients of `transport` are served.
    #[must_use]
    pub const fn serves(self, transport: Transport) -> bool {
        match transport {
            Transport::Udp => matches!(self, Self::Udp),
            Transport::Tcp => matches!(self, Self::Tcp | Self::Auto),
            Transport::Tls => matches!(self, Self::Tls | Self::Auto),
            Transport::Dtls => matches!(self, Self::Dtls),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Dtls => "DTLS",
            Self::Auto => "Auto",
        })
    }
}
