//! What a shard counts: plain integers, read when somebody asks.

use crate::Refusal;

/// Declares an enum whose variants are labels of one metric.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Each of them, in the order of their numbers in [`Counters`].
            pub const ALL: [Self; [$($label),*].len()] = [$(Self::$variant),*];

            /// The label in metrics.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

reasons! {
    /// Why a datagram, or a frame of a stream, was dropped without an answer.
    DropReason {
        /// Neither STUN nor ChannelData by its first byte.
        NotTurn = "not_turn",
        /// STUN by its first byte, but no well-formed message.
        MalformedMessage = "malformed_message",
        /// FINGERPRINT is there and wrong.
        WrongFingerprint = "wrong_fingerprint",
        /// ChannelData by its first byte, but cut short or of a reserved number.
        MalformedChannelData = "malformed_channel_data",
        /// A response: a server never gets one that it asked for.
        Response = "response",
        /// An indication other than Send: nothing to do, and no answer allowed. Binding indications
        /// keep NAT bindings alive.
        Indication = "indication",
        /// From port 0, or from an address of the relay's own listeners.
        ImpossibleSource = "impossible_source",
        /// The prefix has had its share of unauthenticated replies.
        ReplyBudget = "reply_budget",
        /// Send or ChannelData from somebody who has no allocation.
        NoAllocation = "no_allocation",
        /// ChannelData on a channel that is not bound.
        ChannelNotBound = "channel_not_bound",
        /// A Send indication without a peer or data, or with an attribute that is not understood.
        MalformedSend = "malformed_send",
        /// To a peer without a permission.
        NoPermissionOutbound = "no_permission_outbound",
        /// From a peer without a permission.
        NoPermissionInbound = "no_permission_inbound",
        /// The permission holds for the IP address, but that port of it is denied.
        PeerPortDenied = "peer_port_denied",
        /// More than the allocation may relay.
        AllocationRate = "allocation_rate",
        /// More than its user may relay.
        UserRate = "user_rate",
        /// More than the relay may relay.
        RelayRate = "relay_rate",
        /// The same request came again while its allocation's socket is being opened.
        AllocationOpening = "allocation_opening",
        /// An ICMP error of a type that clients are not told of.
        Icmp = "icmp",
        /// Send or ChannelData on an allocation that relays streams.
        RelaysStreams = "relays_streams",
        /// A peer connected to an allocation, or a relay, that has as many connections as it may.
        TooManyConnections = "too_many_connections",
        /// From a peer, while the client of an allocation that may move has no connection.
        ClientAway = "client_away",
        /// To the client the datagram would be longer than a message can be.
        TooLong = "too_long",
    }
}

reasons! {
    /// Why an allocation ended.
    EndReason {
        /// Its lifetime ran out.
        Expired = "expired",
        /// The client refreshed it with a lifetime of zero.
        Deleted = "deleted",
        /// The client's connection ended.
        Disconnected = "disconnected",
        /// The relay drains and it was silent for long.
        Idle = "idle",
        /// The listener that the client came through is no more.
        ListenerRemoved = "listener_removed",
        /// No socket could be opened for it.
        NotOpened = "not_opened",
        /// What it relays is not relayed any more: TCP relaying was switched off.
        Disallowed = "disallowed",
    }
}

reasons! {
    /// Why a connection to a peer (RFC 6062) ended.
    ConnectionEnd {
        /// The peer refused it, did not answer in time, or could not be reached.
        NotConnected = "not_connected",
        /// The client did not bind it in time.
        NotBound = "not_bound",
        /// Its peer or its client closed it.
        Closed = "closed",
        /// Its allocation ended.
        AllocationEnded = "allocation_ended",
        /// The peer gate does not let its peer pass any more.
        Denied = "denied",
    }
}

reasons! {
    /// What a client has come to on its way to an allocation. Counted of clients alone, not of probers;
    /// what comes before a credential is proved may come from anybody.
    ClientStep {
        /// A Binding was answered.
        Binding = "binding",
        /// An Allocate without credentials was answered with 401: each client begins so.
        Challenged = "challenged",
        /// An Allocate with credentials was answered with 401.
        WrongCredentials = "wrong_credentials",
        /// The client has proved its credentials, and its Allocate was refused for another reason.
        Refused = "refused",
        /// An allocation was made.
        Allocated = "allocated",
    }
}

/// Datagrams and their payload bytes that were relayed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

impl Traffic {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.datagrams += 1;
        self.bytes += bytes as u64;
    }
}

/// What a shard has counted since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Drops, by [`DropReason`].
    pub drops: [u64; DropReason::ALL.len()],
    /// Refusals, by [`Refusal`].
    pub refusals: [u64; Refusal::ALL.len()],
    /// Ended allocations, by [`EndReason`].
    pub ended: [u64; EndReason::ALL.len()],
    /// Ended connections to peers, by [`ConnectionEnd`].
    pub connections_ended: [u64; ConnectionEnd::ALL.len()],
    /// Connections to peers, in either direction, that were offered to clients.
    pub connections_made: u64,
    /// Connections to peers that clients bound.
    pub connections_bound: u64,
    /// Bytes from clients to peers over connections.
    pub stream_bytes_to_peers: u64,
    /// Bytes from peers to clients over connections.
    pub stream_bytes_to_clients: u64,
    /// Allocations made.
    pub allocated: u64,
    /// Allocations that moved to another five-tuple, counted where they came to.
    pub moved: u64,
    /// Requests that succeeded, Binding included.
    pub succeeded: u64,
    /// From clients to peers.
    pub to_peers: Traffic,
    /// From peers to clients.
    pub to_clients: Traffic,
}

impl Counters {
    /// Adds what another shard has counted.
    pub fn merge(&mut self, other: &Self) {
        let pairs = self.drops.iter_mut().zip(&other.drops);
        let pairs = pairs.chain(self.refusals.iter_mut().zip(&other.refusals));
        let pairs = pairs.chain(self.connections_ended.iter_mut().zip(&other.connections_ended));
        for (sum, more) in pairs.chain(self.ended.iter_mut().zip(&other.ended)) {
            *sum += more;
        }
        self.allocated += other.allocated;
        self.moved += other.moved;
        self.succeeded += other.succeeded;
        self.connections_made += other.connections_made;
        self.connections_bound += other.connections_bound;
        self.stream_bytes_to_peers += other.stream_bytes_to_peers;
        self.stream_bytes_to_clients += other.stream_bytes_to_clients;
        for (sum, more) in
            [(&mut self.to_peers, other.to_peers), (&mut self.to_clients, other.to_clients)]
        {
            sum.datagrams += more.datagrams;
            sum.bytes += more.bytes;
        }
    }

    pub(crate) fn dropped(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    pub(crate) fn refused(&mut self, refusal: Refusal) {
        self.refusals[refusal as usize] += 1;
    }

    pub(crate) fn connection_ended(&mut self, reason: ConnectionEnd) {
        self.connections_ended[reason as usize] += 1;
    }

    pub(crate) fn ended(&mut self, reason: EndReason) {
        self.ended[reason as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_number_of_its_own() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
        }
        for (index, reason) in ConnectionEnd::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        for (index, reason) in EndReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        for (index, step) in ClientStep::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, index);
        }
    }
}
