//! STUN, TURN and ChannelData as bytes: zero-copy decoding, encoding into a caller's buffer.
//!
//! No clock, no randomness, no I/O, and no allocation: what is decoded borrows from the datagram,
//! what is encoded goes into a buffer that the caller owns.
//!
//! - [`Message`] is a view of a STUN message (RFC 8489, section 5) whose shape has been checked;
//!   its attributes are decoded when they are asked for, as the types of [`attribute`].
//! - [`MessageWriter`] writes one.
//! - [`ChannelData`] is a ChannelData message (RFC 8656, section 12.4).
//! - [`stream::frame`] cuts either out of a byte stream (RFC 8656, section 12.5).

mod address;
pub mod attribute;
mod channel_data;
mod header;
mod indication;
mod integrity;
mod message;
pub mod stream;
mod writer;

pub use attribute::{Attribute, AttributeType, ErrorCode};
pub use channel_data::{ChannelData, ChannelDataError, ChannelNumber};
pub use header::{Class, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId};
pub use indication::{MAX_DATA_INDICATION_HEAD, data_indication_head};
pub use message::{DecodeError, Message, RawAttribute};
pub use writer::{BufferFull, MessageWriter};

/// What a datagram looks like by its first byte (RFC 7983, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 0–3: a STUN message.
    Stun,
    /// 64–127: a ChannelData message; 64–79 from clients of RFC 8656 (see [`ChannelNumber`]).
    ChannelData,
    /// Anything else, and nothing at all.
    Neither,
}

/// Tells what a datagram, or a stream at a frame's start, holds.
#[must_use]
pub fn kind(bytes: &[u8]) -> Kind {
    match bytes.first() {
        Some(0..=3) => Kind::Stun,
        Some(64..=127) => Kind::ChannelData,
        _ => Kind::Neither,
    }
}

/// Rounds up to the four-byte boundary that attributes and stream frames end on.
#[must_use]
pub const fn padded(len: usize) -> usize {
    (len + 3) & !3
}
