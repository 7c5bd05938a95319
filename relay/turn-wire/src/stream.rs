//! Messages in a byte stream (RFC 8656, section 12.5; RFC 8489, section 6.2.2).

use crate::{ChannelData, HEADER_LEN, Kind, MAGIC_COOKIE, kind, padded};

/// What stands at the start of a stream's unread bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// Not yet a whole frame: at least `needed` bytes in all are.
    Incomplete {
        /// How many bytes, counted from the frame's start, are needed to say more.
        needed: usize,
    },
    /// A whole frame.
    Complete {
        /// The length of the frame without its padding, in bytes.
        len: usize,
        /// Where the next frame starts.
        next: usize,
    },
}

/// A stream that holds something that no frame can start with. There is no way to find the next
/// frame: the connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream holds neither a STUN message nor a ChannelData message")]
pub struct FramingError;

/// Finds the frame at the start of `bytes`. A frame has at most 65,555 bytes.
///
/// # Errors
/// When no frame starts like that.
pub fn frame(bytes: &[u8]) -> Result<Frame, FramingError> {
    match (kind(bytes), bytes) {
        (_, []) => Ok(Frame::Incomplete { needed: ChannelData::HEADER_LEN }),
        (Kind::Neither, _) => Err(FramingError),
        (_, [_] | [_, _] | [_, _, _]) => Ok(Frame::Incomplete { needed: ChannelData::HEADER_LEN }),
        (Kind::Stun, [_, _, a, b, rest @ ..]) => {
            let len = usize::from(u16::from_be_bytes([*a, *b]));
            let cookie = MAGIC_COOKIE.to_be_bytes();
            let seen = rest.len().min(cookie.len());
            if len % 4 != 0 || rest[..seen] != cookie[..seen] {
                return Err(FramingError);
            }
            Ok(whole(bytes, HEADER_LEN + len))
        }
        (Kind::ChannelData, [_, _, a, b, ..]) => {
            let len = usize::from(u16::from_be_bytes([*a, *b]));
            Ok(whole(bytes, ChannelData::HEADER_LEN + len))
        }
    }
}

/// The padding is part of the frame: until it is there, the frame is not whole.
fn whole(bytes: &[u8], len: usize) -> Frame {
    let next = padded(len);
    if bytes.len() < next {
        Frame::Incomplete { needed: next }
    } else {
        Frame::Complete { len, next }
    }
}
