//! What a probe that came through has found.

use std::{fmt, net::SocketAddr, time::Duration};

use crate::{Datagrams, Transport};

/// How far a probe is; in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The sockets are opened; over TCP, the connections stand.
    Connect,
    /// The server answers at all.
    Binding,
    /// Both clients have an allocation: the credentials are good.
    Allocate,
    /// Each has a permission for the other's relayed address.
    Permission,
    /// A payload goes there and back, over Send indications.
    Echo,
    /// Each has a channel to the other's relayed address.
    ChannelBind,
    /// Another payload goes there and back, over the channels.
    ChannelEcho,
    /// So does one as long as the longest packets of media: nothing on the way drops those.
    LargeEcho,
    /// Both allocations are refreshed, as clients do during a long call.
    Refresh,
    /// Each has a permission for the prober's own machine. A relay whose rules deny it (403) is not
    /// tried any further, and has passed.
    PeerPermission,
    /// A payload goes from the prober's own machine through each of the two relay ports, and back.
    PeerEcho,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Binding => "binding",
            Self::Allocate => "allocate",
            Self::Permission => "permission",
            Self::Echo => "echo",
            Self::ChannelBind => "channel bind",
            Self::ChannelEcho => "channel echo",
            Self::LargeEcho => "large echo",
            Self::Refresh => "refresh",
            Self::PeerPermission => "peer permission",
            Self::PeerEcho => "peer echo",
        })
    }
}

/// How long a stage took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Which one.
    pub stage: Stage,
    /// How long.
    pub duration: Duration,
}

/// What a probe that came through has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The server that was probed.
    pub server: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// The two clients' addresses, as the server sees them.
    pub mapped: [SocketAddr; 2],
    /// The two relayed transport addresses, between which the payloads went; none after a probe that
    /// ended before it allocated.
    pub relayed: Option<[SocketAddr; 2]>,
    /// The relayed addresses that were tried from the prober's own machine, and whether each was
    /// reached, there and back; all were, and none was tried where the relay's rules deny it.
    pub outside: Vec<(SocketAddr, bool)>,
    /// What was sent over UDP and what came back; none over TCP.
    pub datagrams: Option<Datagrams>,
    /// The stages, in their order.
    pub stages: Vec<Timing>,
}
