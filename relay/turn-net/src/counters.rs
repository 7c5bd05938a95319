//! What a worker counts beside what the server core does.

use crate::HandshakeFailure;

/// What a worker's sockets have met since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetCounters {
    /// Datagrams that the kernel would not take towards a peer: its queue is full, the network
    /// unreachable, the datagram too long.
    pub send_to_peer_failed: u64,
    /// The same towards a UDP client.
    pub send_to_client_failed: u64,
    /// Datagrams dropped because a TCP client reads too slowly.
    pub queue_dropped: u64,
    /// Connections accepted.
    pub connections_accepted: u64,
    /// Connections reset at once: their source has too many without an allocation.
    pub connections_refused: u64,
    /// Connections ended because no allocation was made in time.
    pub connections_timed_out: u64,
    /// Connections ended because the stream held what no message starts with.
    pub framing_errors: u64,
    /// Connections ended because the client does not read its answers.
    pub connections_stalled: u64,
    /// Connections ended because what came from a load balancer did not begin with its header.
    pub proxy_header_missing: u64,
    /// First flights of DTLS clients answered by a cookie. Nothing is kept of them.
    pub cookies_sent: u64,
    /// Associations of DTLS made: a client has shown that it receives at its address.
    pub associations_made: u64,
    /// Associations not made: their source has too many without an allocation, or there are too many
    /// of them.
    pub associations_refused: u64,
    /// Associations ended because no allocation was made in time.
    pub associations_timed_out: u64,
    /// ICMP errors read that came back from where a datagram was relayed to.
    pub icmp_received: u64,
    /// Handshakes that failed, by [`HandshakeFailure`].
    pub handshakes_failed: [u64; HandshakeFailure::ALL.len()],
}

impl NetCounters {
    /// Each count with the label that it has in metrics; failed handshakes have a metric of their
    /// own.
    #[must_use]
    pub const fn labelled(&self) -> [(&'static str, u64); 14] {
        [
            ("send_to_peer_failed", self.send_to_peer_failed),
            ("send_to_client_failed", self.send_to_client_failed),
            ("queue_dropped", self.queue_dropped),
            ("connections_accepted", self.connections_accepted),
            ("connections_refused", self.connections_refused),
            ("connections_timed_out", self.connections_timed_out),
            ("framing_errors", self.framing_errors),
            ("connections_stalled", self.connections_stalled),
            ("proxy_header_missing", self.proxy_header_missing),
            ("cookies_sent", self.cookies_sent),
            ("associations_made", self.associations_made),
            ("associations_refused", self.associations_refused),
            ("associations_timed_out", self.associations_timed_out),
            ("icmp_received", self.icmp_received),
        ]
    }

    /// Adds what another worker has counted.
    pub fn merge(&mut self, other: &Self) {
        self.send_to_peer_failed += other.send_to_peer_failed;
        self.send_to_client_failed += other.send_to_client_failed;
        self.queue_dropped += other.queue_dropped;
        self.connections_accepted += other.connections_accepted;
        self.connections_refused += other.connections_refused;
        self.connections_timed_out += other.connections_timed_out;
        self.framing_errors += other.framing_errors;
        self.connections_stalled += other.connections_stalled;
        self.proxy_header_missing += other.proxy_header_missing;
        self.cookies_sent += other.cookies_sent;
        self.associations_made += other.associations_made;
        self.associations_refused += other.associations_refused;
        self.associations_timed_out += other.associations_timed_out;
        self.icmp_received += other.icmp_received;
        for (sum, more) in self.handshakes_failed.iter_mut().zip(other.handshakes_failed) {
            *sum += more;
        }
    }

    pub(crate) const fn handshake_failed(&mut self, failure: HandshakeFailure) {
        self.handshakes_failed[failure as usize] += 1;
    }
}
