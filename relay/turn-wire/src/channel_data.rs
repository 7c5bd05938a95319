//! ChannelData messages (RFC 8656, section 12.4).

use std::fmt;

const HEADER_LEN: usize = 4;

/// A channel's number: 0x4000–0x7FFF.
///
/// RFC 8656, section 12 lets clients take 0x4000–0x4FFF; RFC 5766 let them take all of these, and
/// clients of that time are in use (coturn's own among them). What the narrower range protects is how
/// a client tells protocols apart on its own port; a server has nothing else on its port that starts
/// like that, so it takes both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// The lowest number.
    pub const MIN: Self = Self(0x4000);
    /// The highest number that a client may take (RFC 8656, section 12).
    pub const MAX_CLIENT: Self = Self(0x4FFF);
    /// The highest number that a server takes (RFC 5766, section 11).
    pub const MAX: Self = Self(0x7FFF);

    /// The channel of this number, if there is such a channel.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number >= Self::MIN.0 && number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Counted from zero: below 16,384.
    #[must_use]
    pub const fn index(self) -> usize {
        (self.0 - Self::MIN.0) as usize
    }
}

impl fmt::Debug for ChannelNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// Why bytes are no ChannelData message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelDataError {
    /// Fewer bytes than the header or its length field says.
    #[error("the datagram ends before the ChannelData message does")]
    Truncated,
    /// The number is none of a channel.
    #[error("channel {0:#06x} is outside 0x4000-0x7FFF")]
    ChannelNumber(u16),
}

/// A ChannelData message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelData<'a> {
    /// The channel.
    pub channel: ChannelNumber,
    /// What goes to or came from the peer, without padding.
    pub data: &'a [u8],
}

impl<'a> ChannelData<'a> {
    /// The length of the header, in bytes.
    pub const HEADER_LEN: usize = HEADER_LEN;

    /// Reads a datagram, or a frame of a stream. Bytes behind the data are padding.
    ///
    /// # Errors
    /// When the bytes are too few, or the number is none of a channel.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, ChannelDataError> {
        let (header, rest) =
            bytes.split_first_chunk::<HEADER_LEN>().ok_or(ChannelDataError::Truncated)?;
        let number = u16::from_be_bytes([header[0], header[1]]);
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let channel = ChannelNumber::new(number).ok_or(ChannelDataError::ChannelNumber(number))?;
        let data = rest.get(..len).ok_or(ChannelDataError::Truncated)?;
        Ok(Self { channel, data })
    }

    /// The header of a message that carries `len` bytes: it is written in front of data that
    /// already stands in its place.
    #[must_use]
    pub const fn header(channel: ChannelNumber, len: u16) -> [u8; HEADER_LEN] {
        let [a, b] = channel.0.to_be_bytes();
        let [c, d] = len.to_be_bytes();
        [a, b, c, d]
    }
}
