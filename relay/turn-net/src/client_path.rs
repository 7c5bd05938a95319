//! How a client is reached.

/// How a client is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientPath {
    /// Through this one of the datagram listeners.
    Udp(usize),
    /// Over this connection.
    Stream(ConnectionId),
    /// Within this association of DTLS.
    Dtls(ConnectionId),
}

/// Which connection or association, among those that have had its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionId {
    pub(crate) index: usize,
    pub(crate) serial: u64,
}
