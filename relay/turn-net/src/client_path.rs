//! How a client is reached.

use crate::pending::ConnectionId;

/// How a client is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientPath {
    /// Through this one of the UDP listeners.
    Udp(usize),
    /// Over this connection.
    Tcp(ConnectionId),
}
