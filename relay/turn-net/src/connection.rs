//! Connections of clients, over TCP or TLS.

use std::io::{self, Read, Write as _};

use turn_proto::FiveTuple;
use turn_wire::stream::{Frame, FramingError, frame};

use crate::{
    client_stream::ClientStream,
    pending::Wait,
    send_queue::{FrameKind, SendQueue, Stalled},
    splice::Splice,
};

/// The first buffer of a connection: room for any request. It grows when a longer frame comes.
const FIRST_BUFFER: usize = 4096;

/// A client's connection.
pub(crate) struct Connection {
    pub(crate) stream: ClientStream,
    /// Which listener it came through.
    pub(crate) listener: usize,
    pub(crate) five_tuple: FiveTuple,
    pub(crate) queue: SendQueue,
    /// Tells this connection from others that have had its place.
    pub(crate) serial: u64,
    /// While it has no allocation.
    pub(crate) pending: Option<Wait>,
    /// What it has been joined with: from then on it carries no messages.
    pub(crate) splice: Option<Box<Splice>>,
    /// Taken out while its frames are handled.
    pub(crate) input: FrameBuffer,
}

impl Connection {
    /// Sends a frame, or queues it. Returns how many relayed datagrams were dropped.
    pub(crate) fn send(
        &mut self,
        frame: &[u8],
        kind: FrameKind,
    ) -> io::Result<Result<u64, Stalled>> {
        self.queue.send(&mut self.stream, frame, kind)
    }

    /// Sends what waits, as far as the client takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()?;
        self.queue.flush(&mut self.stream)
    }

    /// Whether something waits.
    pub(crate) fn has_output(&self) -> bool {
        !self.queue.is_empty() || self.stream.has_output()
    }
}

/// What reading has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadState {
    /// All that was there has been read.
    Drained,
    /// The buffer is full: there may be more.
    Full,
    /// The client has ended the connection.
    Ended,
}

/// The bytes of a stream that are not yet taken as frames.
#[derive(Debug, Default)]
pub(crate) struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameBuffer {
    /// Reads as much as there is room for; how much it was, and whether there may be more.
    pub(crate) fn fill(&mut self, stream: &mut impl Read) -> io::Result<(usize, ReadState)> {
        self.make_room();
        let before = self.end;
        loop {
            let state = match stream.read(&mut self.bytes[self.end..]) {
                Ok(0) if self.end == self.bytes.len() => ReadState::Full,
                Ok(0) => ReadState::Ended,
                Ok(count) => {
                    self.end += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ReadState::Drained,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            return Ok((self.end - before, state));
        }
    }

    /// The next whole frame, without its padding.
    pub(crate) fn next_frame(&mut self) -> Result<Option<&[u8]>, FramingError> {
        match frame(&self.bytes[self.start..self.end])? {
            Frame::Complete { len, next } => {
                let place = self.start..self.start + len;
                self.start += next;
                Ok(self.bytes.get(place))
            }
            Frame::Incomplete { needed } => {
                if self.start + needed > self.bytes.len() {
                    self.compact();
                    if needed > self.bytes.len() {
                        self.bytes.resize(needed.next_power_of_two(), 0);
                    }
                }
                Ok(None)
            }
        }
    }

    /// What has been read and is not taken.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn make_room(&mut self) {
        if self.bytes.is_empty() {
            self.bytes.resize(FIRST_BUFFER, 0);
        }
        if self.start == self.end || self.end == self.bytes.len() {
            self.compact();
        }
    }

    fn compact(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use turn_wire::{ChannelData, ChannelNumber};

    use super::*;

    /// Gives its bytes in pieces, then blocks.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.first_mut() else {
                return Err(io::ErrorKind::WouldBlock.into());
            };
            let count = piece.len().min(out.len());
            out[..count].copy_from_slice(&piece[..count]);
            piece.drain(..count);
            if piece.is_empty() {
                self.0.remove(0);
            }
            Ok(count)
        }
    }

    fn channel_data(len: u16) -> Vec<u8> {
        let mut frame = ChannelData::header(ChannelNumber::MIN, len).to_vec();
        frame.resize(turn_wire::padded(4 + usize::from(len)), len as u8);
        frame
    }

    #[test]
    fn frames_come_out_whole_however_the_stream_is_cut() {
        let lens = [0, 1, 5, 4000, 4095, 4096, 65_535, 3, 20_000];
        let stream: Vec<u8> = lens.iter().flat_map(|len| channel_data(*len)).collect();
        for piece in [1, 7, 1000, 4096, 100_000] {
            let mut source = Pieces(stream.chunks(piece).map(<[u8]>::to_vec).collect());
            let mut buffer = FrameBuffer::default();
            let mut found = Vec::new();
            loop {
                let (_, state) = buffer.fill(&mut source).expect("no error");
                while let Some(frame) = buffer.next_frame().expect("frames") {
                    found.push(frame.len() - 4);
                }
                if state == ReadState::Drained {
                    break;
                }
            }
            assert_eq!(found, lens.map(usize::from), "in pieces of {piece}");
            assert!(buffer.bytes.len() <= 131_072);
        }
    }
}
