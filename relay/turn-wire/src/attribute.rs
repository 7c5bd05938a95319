//! The attributes of RFC 8489, RFC 8656, RFC 6062, RFC 8016 and RFC 5780, each as a type of its own;
//! and one of ours.

use std::{fmt, net::SocketAddr};

use crate::{ChannelNumber, address, header::TransactionId, integrity};

/// The two bytes that say what an attribute is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttributeType(pub u16);

impl AttributeType {
    /// Whether a receiver that does not know the attribute must refuse the message (RFC 8489,
    /// section 14): types below 0x8000.
    #[must_use]
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}

/// An attribute that is there, but whose value is none of its type's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} has a value that cannot be")]
pub struct Malformed(pub AttributeType);

/// What each attribute can do.
pub trait Attribute<'a>: Sized {
    /// Its type.
    const TYPE: AttributeType;
    /// Reads a value. `None` when it is none of the type's.
    fn decode(value: &'a [u8], transaction: &TransactionId) -> Option<Self>;
    /// How many bytes [`Attribute::encode`] writes.
    fn value_len(&self) -> usize;
    /// Writes the value: `out` has exactly [`Attribute::value_len`] bytes.
    fn encode(&self, out: &mut [u8], transaction: &TransactionId);
}

macro_rules! names {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl fmt::Debug for AttributeType {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($number => f.write_str($text),)*
                    number => write!(f, "{number:#06x}"),
                }
            }
        }

        $(const $name: AttributeType = AttributeType($number);)*
    };
}

names! {
    MAPPED_ADDRESS = 0x0001, "MAPPED-ADDRESS";
    CHANGE_REQUEST = 0x0003, "CHANGE-REQUEST";
    USERNAME = 0x0006, "USERNAME";
    MESSAGE_INTEGRITY = 0x0008, "MESSAGE-INTEGRITY";
    ERROR_CODE = 0x0009, "ERROR-CODE";
    UNKNOWN_ATTRIBUTES = 0x000A, "UNKNOWN-ATTRIBUTES";
    CHANNEL_NUMBER = 0x000C, "CHANNEL-NUMBER";
    LIFETIME = 0x000D, "LIFETIME";
    XOR_PEER_ADDRESS = 0x0012, "XOR-PEER-ADDRESS";
    DATA = 0x0013, "DATA";
    REALM = 0x0014, "REALM";
    NONCE = 0x0015, "NONCE";
    XOR_RELAYED_ADDRESS = 0x0016, "XOR-RELAYED-ADDRESS";
    REQUESTED_ADDRESS_FAMILY = 0x0017, "REQUESTED-ADDRESS-FAMILY";
    EVEN_PORT = 0x0018, "EVEN-PORT";
    REQUESTED_TRANSPORT = 0x0019, "REQUESTED-TRANSPORT";
    DONT_FRAGMENT = 0x001A, "DONT-FRAGMENT";
    MESSAGE_INTEGRITY_SHA256 = 0x001C, "MESSAGE-INTEGRITY-SHA256";
    PASSWORD_ALGORITHM = 0x001D, "PASSWORD-ALGORITHM";
    USERHASH = 0x001E, "USERHASH";
    XOR_MAPPED_ADDRESS = 0x0020, "XOR-MAPPED-ADDRESS";
    RESERVATION_TOKEN = 0x0022, "RESERVATION-TOKEN";
    PADDING = 0x0026, "PADDING";
    RESPONSE_PORT = 0x0027, "RESPONSE-PORT";
    CONNECTION_ID = 0x002A, "CONNECTION-ID";
    ADDITIONAL_ADDRESS_FAMILY = 0x8000, "ADDITIONAL-ADDRESS-FAMILY";
    ADDRESS_ERROR_CODE = 0x8001, "ADDRESS-ERROR-CODE";
    PASSWORD_ALGORITHMS = 0x8002, "PASSWORD-ALGORITHMS";
    ALTERNATE_DOMAIN = 0x8003, "ALTERNATE-DOMAIN";
    ICMP = 0x8004, "ICMP";
    SOFTWARE = 0x8022, "SOFTWARE";
    ALTERNATE_SERVER = 0x8023, "ALTERNATE-SERVER";
    FINGERPRINT = 0x8028, "FINGERPRINT";
    RESPONSE_ORIGIN = 0x802B, "RESPONSE-ORIGIN";
    OTHER_ADDRESS = 0x802C, "OTHER-ADDRESS";
    MOBILITY_TICKET = 0x8030, "MOBILITY-TICKET";
    DRAFT_ADDITIONAL_ADDRESS_FAMILY = 0x8032, "ADDITIONAL-ADDRESS-FAMILY of the draft";
    RELAY_PORT = 0xED90, "RELAY-PORT";
}

macro_rules! addresses {
    ($($(#[$doc:meta])* $name:ident = $type:ident, $xor:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub SocketAddr);

        impl Attribute<'_> for $name {
            const TYPE: AttributeType = $type;

            fn decode(value: &[u8], transaction: &TransactionId) -> Option<Self> {
                let found = address::decode(value)?;
                Some(Self(if $xor { address::xor(found, transaction) } else { found }))
            }

            fn value_len(&self) -> usize {
                address::encoded_len(&self.0)
            }

            fn encode(&self, out: &mut [u8], transaction: &TransactionId) {
                let written = if $xor { address::xor(self.0, transaction) } else { self.0 };
                address::encode(&written, out);
            }
        }
    )*};
}

addresses! {
    /// The client's address, as RFC 3489 had it (RFC 8489, section 14.1).
    MappedAddress = MAPPED_ADDRESS, false;
    /// The client's address as the server sees it (RFC 8489, section 14.2).
    XorMappedAddress = XOR_MAPPED_ADDRESS, true;
    /// A peer's address (RFC 8656, section 18.3).
    XorPeerAddress = XOR_PEER_ADDRESS, true;
    /// A relayed transport address (RFC 8656, section 18.5).
    XorRelayedAddress = XOR_RELAYED_ADDRESS, true;
    /// Another server to try (RFC 8489, section 14.15).
    AlternateServer = ALTERNATE_SERVER, false;
    /// Where an answer is sent from (RFC 5780, section 7.3).
    ResponseOrigin = RESPONSE_ORIGIN, false;
    /// Where it would be sent from, were address and port to change (RFC 5780, section 7.4).
    OtherAddress = OTHER_ADDRESS, false;
}

macro_rules! byte_strings {
    ($($(#[$doc:meta])* $name:ident = $type:ident, $most:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name<'a>(pub &'a [u8]);

        impl<'a> Attribute<'a> for $name<'a> {
            const TYPE: AttributeType = $type;

            fn decode(value: &'a [u8], _: &TransactionId) -> Option<Self> {
                (value.len() <= $most).then_some(Self(value))
            }

            fn value_len(&self) -> usize {
                self.0.len()
            }

            fn encode(&self, out: &mut [u8], _: &TransactionId) {
                out.copy_from_slice(self.0);
            }
        }
    )*};
}

byte_strings! {
    /// Who the client says it is: UTF-8, at most 508 bytes (RFC 8489, section 14.3).
    Username = USERNAME, 508;
    /// Where a name is valid: UTF-8, at most 763 bytes (RFC 8489, section 14.9).
    Realm = REALM, 763;
    /// What a server hands out to be sent back: at most 763 bytes (RFC 8489, section 14.10).
    Nonce = NONCE, 763;
    /// What the sender runs: at most 763 bytes (RFC 8489, section 14.14).
    Software = SOFTWARE, 763;
    /// The domain of an alternate server: at most 255 bytes (RFC 8489, section 14.16).
    AlternateDomain = ALTERNATE_DOMAIN, 255;
    /// Bytes that make a message so long that it is fragmented (RFC 5780, section 7.6).
    Padding = PADDING, 65_535;
    /// What moves an allocation to another five-tuple; empty to ask for it (RFC 8016, section 3.3).
    /// How long it may be is not said: at most 763 bytes, as other things that a server hands out.
    MobilityTicket = MOBILITY_TICKET, 763;
    /// What goes to or came from a peer (RFC 8656, section 18.4).
    Data = DATA, 65_535;
}

macro_rules! fixed {
    ($($(#[$doc:meta])* $name:ident = $type:ident, $len:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub [u8; $len]);

        impl Attribute<'_> for $name {
            const TYPE: AttributeType = $type;

            fn decode(value: &[u8], _: &TransactionId) -> Option<Self> {
                value.try_into().ok().map(Self)
            }

            fn value_len(&self) -> usize {
                $len
            }

            fn encode(&self, out: &mut [u8], _: &TransactionId) {
                out.copy_from_slice(&self.0);
            }
        }
    )*};
}

fixed! {
    /// HMAC-SHA1 over the message before it (RFC 8489, section 14.5). Written by
    /// [`crate::MessageWriter::put_integrity`], checked by [`crate::Message::verify_integrity`].
    MessageIntegrity = MESSAGE_INTEGRITY, 20;
    /// SHA-256 over `username ":" realm` (RFC 8489, section 14.4).
    Userhash = USERHASH, 32;
    /// A reserved port (RFC 8656, section 18.10).
    ReservationToken = RESERVATION_TOKEN, 8;
    /// CRC-32 over the message before it (RFC 8489, section 14.7). Written by
    /// [`crate::MessageWriter::put_fingerprint`], checked by [`crate::Message::decode`].
    Fingerprint = FINGERPRINT, 4;
}

/// HMAC-SHA256 over the message before it, 16 to 32 bytes (RFC 8489, section 14.6). Written by
/// [`crate::MessageWriter::put_integrity_sha256`], checked by
/// [`crate::Message::verify_integrity_sha256`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageIntegritySha256<'a>(pub &'a [u8]);

impl<'a> Attribute<'a> for MessageIntegritySha256<'a> {
    const TYPE: AttributeType = MESSAGE_INTEGRITY_SHA256;

    fn decode(value: &'a [u8], _: &TransactionId) -> Option<Self> {
        (16..=integrity::SHA256_LEN).contains(&value.len()).then_some(Self(value))
    }

    fn value_len(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, out: &mut [u8], _: &TransactionId) {
        out.copy_from_slice(self.0);
    }
}

/// A number in the first bytes of a value of four; the rest is reserved, zero when sent and ignored
/// when received.
macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident($inner:ty) = $type:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub $inner);

        impl Attribute<'_> for $name {
            const TYPE: AttributeType = $type;

            fn decode(value: &[u8], _: &TransactionId) -> Option<Self> {
                let value: [u8; 4] = value.try_into().ok()?;
                value.first_chunk().map(|bytes| Self(<$inner>::from_be_bytes(*bytes)))
            }

            fn value_len(&self) -> usize {
                4
            }

            fn encode(&self, out: &mut [u8], _: &TransactionId) {
                let bytes = self.0.to_be_bytes();
                out.fill(0);
                out[..bytes.len()].copy_from_slice(&bytes);
            }
        }
    )*};
}

numbers! {
    /// A lifetime, in seconds (RFC 8656, section 18.2).
    Lifetime(u32) = LIFETIME;
    /// The IP protocol that a relayed transport address is for: 17 UDP, 6 TCP (RFC 8656,
    /// section 18.7).
    RequestedTransport(u8) = REQUESTED_TRANSPORT;
    /// The port that an answer is to be sent to (RFC 5780, section 7.5).
    ResponsePort(u16) = RESPONSE_PORT;
    /// A connection to a peer (RFC 6062, section 6.2.1).
    ConnectionId(u32) = CONNECTION_ID;
    /// The port that a prober would like its relayed transport address to have: ours alone, of a
    /// type that IANA has given to nobody, and that other servers pass over (RFC 8489, section 14:
    /// it need not be understood).
    RelayPort(u16) = RELAY_PORT;
}

impl Software<'_> {
    /// What our probers say that they run: what they do is not counted among what clients do. They
    /// have to say it from the first request on, which carries no name yet. Who lies about it is left
    /// out of the counts, and gains nothing.
    pub const PROBE: Software<'static> = Software(b"turnpike-probe");
}

impl RequestedTransport {
    /// UDP.
    pub const UDP: Self = Self(17);
    /// TCP (RFC 6062).
    pub const TCP: Self = Self(6);
}

/// A channel (RFC 8656, section 18.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel(pub ChannelNumber);

impl Attribute<'_> for Channel {
    const TYPE: AttributeType = CHANNEL_NUMBER;

    fn decode(value: &[u8], _: &TransactionId) -> Option<Self> {
        let [a, b, _, _] = value.try_into().ok()?;
        ChannelNumber::new(u16::from_be_bytes([a, b])).map(Self)
    }

    fn value_len(&self) -> usize {
        4
    }

    fn encode(&self, out: &mut [u8], _: &TransactionId) {
        let [a, b] = self.0.number().to_be_bytes();
        out.copy_from_slice(&[a, b, 0, 0]);
    }
}

/// An address family, as attributes name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// 0x01.
    V4,
    /// 0x02.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::V4),
            2 => Some(Self::V6),
            _ => None,
        }
    }
}

macro_rules! families {
    ($($(#[$doc:meta])* $name:ident = $type:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub Option<Family>);

        impl Attribute<'_> for $name {
            const TYPE: AttributeType = $type;

            fn decode(value: &[u8], _: &TransactionId) -> Option<Self> {
                let [number, _, _, _] = value.try_into().ok()?;
                Some(Self(Family::from_number(number)))
            }

            fn value_len(&self) -> usize {
                4
            }

            fn encode(&self, out: &mut [u8], _: &TransactionId) {
                out.copy_from_slice(&[self.0.map_or(0, Family::number), 0, 0, 0]);
            }
        }
    )*};
}

families! {
    /// The family of the relayed transport address that a client wants (RFC 8656, section 18.6).
    /// `None`: a number that is no family, which is answered with 440.
    RequestedAddressFamily = REQUESTED_ADDRESS_FAMILY;
    /// The family of a second one (RFC 8656, section 18.11).
    AdditionalAddressFamily = ADDITIONAL_ADDRESS_FAMILY;
    /// The same under the number that coturn's clients took from a draft of RFC 8656, and sent until
    /// September 2025.
    DraftAdditionalAddressFamily = DRAFT_ADDITIONAL_ADDRESS_FAMILY;
}

/// A wish for an even port (RFC 8656, section 18.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvenPort {
    /// Whether the next higher port is to be kept for a later request.
    pub reserve: bool,
}

impl Attribute<'_> for EvenPort {
    const TYPE: AttributeType = EVEN_PORT;

    fn decode(value: &[u8], _: &TransactionId) -> Option<Self> {
        let [flags] = value.try_into().ok()?;
        Some(Self { reserve: flags & 0x80 != 0 })
    }

    fn value_len(&self) -> usize {
        1
    }

    fn encode(&self, out: &mut [u8], _: &TransactionId) {
        out[0] = if self.reserve { 0x80 } else { 0 };
    }
}

/// Where an answer is wanted from (RFC 5780, section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeRequest {
    /// From the server's other IP address.
    pub address: bool,
    /// From the server's other port.
    pub port: bool,
}

impl Attribute<'_> for ChangeRequest {
    const TYPE: AttributeType = CHANGE_REQUEST;

    fn decode(value: &[u8], _: &TransactionId) -> Option<Self> {
        let [_, _, _, flags] = value.try_into().ok()?;
        Some(Self { address: flags & 0x04 != 0, port: flags & 0x02 != 0 })
    }

    fn value_len(&self) -> usize {
        4
    }

    fn encode(&self, out: &mut [u8], _: &TransactionId) {
        let flags = u8::from(self.address) << 2 | u8::from(self.port) << 1;
        out.copy_from_slice(&[0, 0, 0, flags]);
    }
}

/// A wish that relayed datagrams are not fragmented (RFC 8656, section 18.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DontFragment;

impl Attribute<'_> for DontFragment {
    const TYPE: AttributeType = DONT_FRAGMENT;

    fn decode(value: &[u8], _: &TransactionId) -> Option<Self> {
        value.is_empty().then_some(Self)
    }

    fn value_len(&self) -> usize {
        0
    }

    fn encode(&self, _: &mut [u8], _: &TransactionId) {}
}

/// Why a request failed (RFC 8489, section 14.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode<'a> {
    /// 300–699.
    pub code: u16,
    /// A phrase for a person: UTF-8, at most 763 bytes.
    pub reason: &'a [u8],
}

fn decode_code(value: &[u8]) -> Option<(u16, &[u8])> {
    let ([_, _, class, number], reason) = value.split_first_chunk::<4>()?;
    let class = u16::from(class & 0x07);
    ((3..=6).contains(&class) && *number < 100)
        .then_some((class * 100 + u16::from(*number), reason))
}

fn code_bytes(code: u16) -> [u8; 2] {
    // Both quotients are below 256 for each code of at most 699; a larger one is a bug of the caller
    // and still written as two bytes.
    [u8::try_from(code / 100).unwrap_or(6), u8::try_from(code % 100).unwrap_or(0)]
}

impl<'a> Attribute<'a> for ErrorCode<'a> {
    const TYPE: AttributeType = ERROR_CODE;

    fn decode(value: &'a [u8], _: &TransactionId) -> Option<Self> {
        let (code, reason) = decode_code(value)?;
        (reason.len() <= 763).then_some(Self { code, reason })
    }

    fn value_len(&self) -> usize {
        4 + self.reason.len()
    }

    fn encode(&self, out: &mut [u8], _: &TransactionId) {
        let [class, number] = code_bytes(self.code);
        out[..4].copy_from_slice(&[0, 0, class, number]);
        out[4..].copy_from_slice(self.reason);
    }
}

/// Why one of two address families was not allocated (RFC 8656, section 18.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressErrorCode<'a> {
    /// Which family.
    pub family: Family,
    /// 300–699.
    pub code: u16,
    /// A phrase for a person: UTF-8, at most 763 bytes.
    pub reason: &'a [u8],
}

impl<'a> Attribute<'a> for AddressErrorCode<'a> {
    const TYPE: AttributeType = ADDRESS_ERROR_CODE;

    fn decode(value: &'a [u8], _: &TransactionId) -> Option<Self> {
        let family = Family::from_number(*value.first()?)?;
        let (code, reason) = decode_code(value)?;
        (reason.len() <= 763).then_some(Self { family, code, reason })
    }

    fn value_len(&self) -> usize {
        4 + self.reason.len()
    }

    fn encode(&self, out: &mut [u8], _: &TransactionId) {
        let [class, number] = code_bytes(self.code);
        out[..4].copy_from_slice(&[self.family.number(), 0, class, number]);
        out[4..].copy_from_slice(self.reason);
    }
}

/// The attributes that a request had and the server does not know (RFC 8489, section 14.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownAttributes<'a> {
    /// Two bytes for each type.
    bytes: &'a [u8],
}

impl<'a> UnknownAttributes<'a> {
    /// A list from its bytes, two for each type. `None` when they are odd in number.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.len().is_multiple_of(2).then_some(Self { bytes })
    }

    /// The types.
    pub fn types(self) -> impl Iterator<Item = AttributeType> + use<'a> {
        self.bytes.chunks_exact(2).map(|pair| AttributeType(u16::from_be_bytes([pair[0], pair[1]])))
    }
}

impl<'a> Attribute<'a> for UnknownAttributes<'a> {
    const TYPE: AttributeType = UNKNOWN_ATTRIBUTES;

    fn decode(value: &'a [u8], _: &TransactionId) -> Option<Self> {
        Self::new(value)
    }

    fn value_len(&self) -> usize {
        self.bytes.len()
    }

    fn encode(&self, out: &mut [u8], _: &TransactionId) {
        out.copy_from_slice(self.bytes);
    }
}

/// A way to make a key of a password (RFC 8489, section 18.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordAlgorithm<'a> {
    /// [`PasswordAlgorithm::MD5`], [`PasswordAlgorithm::SHA256`], or another.
    pub algorithm: u16,
    /// Empty for both that are defined.
    pub parameters: &'a [u8],
}

impl<'a> PasswordAlgorithm<'a> {
    /// MD5, as RFC 5389 had it.
    pub const MD5: u16 = 1;
    /// SHA-256.
    pub const SHA256: u16 = 2;

    /// One algorithm, and what stands behind it.
    fn split(value: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let ([a, b, c, d], rest) = value.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([*c, *d]));
        let parameters = rest.get(..len)?;
        // The last one need not be padded within the attribute: the attribute itself is.
        let behind = rest.get(crate::padded(len)..).unwrap_or_default();
        Some((Self { algorithm: u16::from_be_bytes([*a, *b]), parameters }, behind))
    }
}

impl<'a> Attribute<'a> for PasswordAlgorithm<'a> {
    const TYPE: AttributeType = PASSWORD_ALGORITHM;

    fn decode(value: &'a [u8], _: &TransactionId) -> Option<Self> {
        let (algorithm, behind) = Self::split(value)?;
        behind.is_empty().then_some(algorithm)
    }

    fn value_len(&self) -> usize {
        4 + crate::padded(self.parameters.len())
    }

    fn encode(&self, out: &mut [u8], _: &TransactionId) {
        let len = u16::try_from(self.parameters.len()).unwrap_or(u16::MAX);
        out.fill(0);
        out[..2].copy_from_slice(&self.algorithm.to_be_bytes());
        out[2..4].copy_from_slice(&len.to_be_bytes());
        out[4..4 + self.parameters.len()].copy_from_slice(self.parameters);
    }
}

/// The ways that a server takes, best first (RFC 8489, section 14.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordAlgorithms<'a> {
    bytes: &'a [u8],
}

impl<'a> PasswordAlgorithms<'a> {
    /// The algorithms, in the sender's order.
    pub fn iter(self) -> impl Iterator<Item = PasswordAlgorithm<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (algorithm, behind) = PasswordAlgorithm::split(rest)?;
            rest = behind;
            Some(algorithm)
        })
    }
}

/// SHA-256, then MD5: all that is defined.
impl Default for PasswordAlgorithms<'static> {
    fn default() -> Self {
        Self { bytes: &[0, 2, 0, 0, 0, 1, 0, 0] }
    }
}

impl<'a> Attribute<'a> for PasswordAlgorithms<'a> {
    const TYPE: AttributeType = PASSWORD_ALGORITHMS;

    fn decode(value: &'a [u8], _: &TransactionId) -> Option<Self> {
        let mut rest = value;
        while !rest.is_empty() {
            (_, rest) = PasswordAlgorithm::split(rest)?;
        }
        (!value.is_empty()).then_some(Self { bytes: value })
    }

    fn value_len(&self) -> usize {
        self.bytes.len()
    }

    fn encode(&self, out: &mut [u8], _: &TransactionId) {
        out.copy_from_slice(self.bytes);
    }
}

/// An ICMP error that a relayed datagram met (RFC 8656, section 18.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// The ICMP type: seven bits.
    pub kind: u8,
    /// The ICMP code: nine bits.
    pub code: u16,
    /// For 'packet too big' and 'fragmentation needed' the MTU, in bytes; else zero.
    pub error_data: u32,
}

impl Attribute<'_> for Icmp {
    const TYPE: AttributeType = ICMP;

    fn decode(value: &[u8], _: &TransactionId) -> Option<Self> {
        let [_, _, a, b, data @ ..]: [u8; 8] = value.try_into().ok()?;
        let both = u16::from_be_bytes([a, b]);
        let kind = u8::try_from(both >> 9).ok()?;
        Some(Self { kind, code: both & 0x01FF, error_data: u32::from_be_bytes(data) })
    }

    fn value_len(&self) -> usize {
        8
    }

    fn encode(&self, out: &mut [u8], _: &TransactionId) {
        let both = (u16::from(self.kind & 0x7F) << 9) | (self.code & 0x01FF);
        out[..2].fill(0);
        out[2..4].copy_from_slice(&both.to_be_bytes());
        out[4..].copy_from_slice(&self.error_data.to_be_bytes());
    }
}
