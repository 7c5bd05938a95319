//! Messages out of a byte stream.

use turn_wire::{
    ChannelNumber,
    stream::{Frame, FramingError, frame},
};

/// Holds what was read from a stream until it is a whole message.
///
/// It holds at most one unfinished message, of at most 65,556 bytes, beside what one
/// [`FrameBuffer::push`] brings.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// Where what has not been given out begins.
    start: usize,
}

impl FrameBuffer {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), start: 0 }
    }

    /// Takes bytes as they were read, in any portions.
    pub fn push(&mut self, read: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(read);
    }

    /// What was read behind the last message: the peer's first bytes, once a connection is bound.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The next message, without the padding behind it.
    ///
    /// # Errors
    /// When the stream holds something else: there is no way to go on, the connection has to end.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FramingError> {
        let unread = &self.bytes[self.start..];
        // What a server would take for a channel of RFC 5766 is none of this client's: text, rather.
        let [highest, _] = ChannelNumber::MAX_CLIENT.number().to_be_bytes();
        if unread.first().is_some_and(|first| *first > highest) {
            return Err(FramingError);
        }
        match frame(unread)? {
            Frame::Incomplete { .. } => Ok(None),
            Frame::Complete { len, next } => {
                let start = self.start;
                self.start += next;
                Ok(Some(&self.bytes[start..start + len]))
            }
        }
    }
}
