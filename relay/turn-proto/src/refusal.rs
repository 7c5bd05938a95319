//! The ways in which a request is refused: the error codes of RFC 8489, RFC 8656, RFC 6062 and RFC 8016.

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// 300: another relay of the fleet will serve the client.
    TryAlternate,
    /// 400: an attribute is missing, malformed, or contradicts another.
    BadRequest,
    /// 401: no credentials yet, or wrong ones.
    Unauthenticated,
    /// 403: the peer is denied.
    Forbidden,
    /// 405: allocations do not move here, or not this one.
    MobilityForbidden,
    /// 420: an attribute that has to be understood is not.
    UnknownAttribute,
    /// 437: no allocation where one is needed, or one where none may be.
    AllocationMismatch,
    /// 438: the nonce is too old, or none of ours.
    StaleNonce,
    /// 440: there is no relayed address of that family here.
    AddressFamilyNotSupported,
    /// 441: the allocation belongs to another user.
    WrongCredentials,
    /// 442: that protocol is not relayed: UDP is, and TCP where the relay is told to.
    UnsupportedTransportProtocol,
    /// 443: the peer is of another family than the relayed address.
    PeerAddressFamilyMismatch,
    /// 446: the allocation has a connection to that peer already.
    ConnectionExists,
    /// 447: the peer could not be connected to.
    ConnectionFailed,
    /// 486: the user has as many allocations as it may have.
    AllocationQuotaReached,
    /// 508: the relay, or this allocation, can hold no more; or the relay is draining.
    InsufficientCapacity,
}

impl Refusal {
    /// Each of them, in the order of their numbers in [`crate::Counters`].
    pub const ALL: [Self; 16] = [
        Self::TryAlternate,
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::MobilityForbidden,
        Self::UnknownAttribute,
        Self::AllocationMismatch,
        Self::StaleNonce,
        Self::AddressFamilyNotSupported,
        Self::WrongCredentials,
        Self::UnsupportedTransportProtocol,
        Self::PeerAddressFamilyMismatch,
        Self::ConnectionExists,
        Self::ConnectionFailed,
        Self::AllocationQuotaReached,
        Self::InsufficientCapacity,
    ];

    /// The error code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::TryAlternate => 300,
            Self::BadRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::MobilityForbidden => 405,
            Self::UnknownAttribute => 420,
            Self::AllocationMismatch => 437,
            Self::StaleNonce => 438,
            Self::AddressFamilyNotSupported => 440,
            Self::WrongCredentials => 441,
            Self::UnsupportedTransportProtocol => 442,
            Self::PeerAddressFamilyMismatch => 443,
            Self::ConnectionExists => 446,
            Self::ConnectionFailed => 447,
            Self::AllocationQuotaReached => 486,
            Self::InsufficientCapacity => 508,
        }
    }

    /// The reason phrase, for clients that have proved who they are. The others get none: the answer
    /// to somebody unknown is kept as small as it can be.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::TryAlternate => "Try Alternate",
            Self::BadRequest => "Bad Request",
            Self::Unauthenticated => "Unauthenticated",
            Self::Forbidden => "Forbidden",
            Self::MobilityForbidden => "Mobility Forbidden",
            Self::UnknownAttribute => "Unknown Attribute",
            Self::AllocationMismatch => "Allocation Mismatch",
            Self::StaleNonce => "Stale Nonce",
            Self::AddressFamilyNotSupported => "Address Family not Supported",
            Self::WrongCredentials => "Wrong Credentials",
            Self::UnsupportedTransportProtocol => "Unsupported Transport Protocol",
            Self::PeerAddressFamilyMismatch => "Peer Address Family Mismatch",
            Self::ConnectionExists => "Connection Already Exists",
            Self::ConnectionFailed => "Connection Timeout or Failure",
            Self::AllocationQuotaReached => "Allocation Quota Reached",
            Self::InsufficientCapacity => "Insufficient Capacity",
        }
    }

    /// The label in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TryAlternate => "try_alternate",
            Self::BadRequest => "bad_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::MobilityForbidden => "mobility_forbidden",
            Self::UnknownAttribute => "unknown_attribute",
            Self::AllocationMismatch => "allocation_mismatch",
            Self::StaleNonce => "stale_nonce",
            Self::AddressFamilyNotSupported => "address_family_not_supported",
            Self::WrongCredentials => "wrong_credentials",
            Self::UnsupportedTransportProtocol => "unsupported_transport_protocol",
            Self::PeerAddressFamilyMismatch => "peer_address_family_mismatch",
            Self::ConnectionExists => "connection_exists",
            Self::ConnectionFailed => "connection_failed",
            Self::AllocationQuotaReached => "allocation_quota_reached",
            Self::InsufficientCapacity => "insufficient_capacity",
        }
    }
}
