//! What waits for a TCP client to read.

use std::{
    collections::VecDeque,
    io::{self, Write},
};

/// A byte-bounded queue of frames. When a relayed datagram does not fit, the oldest relayed
/// datagrams go first: in real-time media late is as bad as never. Answers are never dropped.
#[derive(Debug)]
pub(crate) struct SendQueue {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// How much of the first frame has been written.
    written: usize,
    most: usize,
}

#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    kind: FrameKind,
}

/// What a frame is, which says what may be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// To a request.
    Answer,
    /// From a peer.
    Relayed,
}

/// The client does not even read its answers: the connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stalled;

impl SendQueue {
    pub(crate) const fn new(most: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, written: 0, most }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Writes a frame at once if nothing waits, and queues what is not taken. Returns how many
    /// relayed datagrams were dropped.
    pub(crate) fn send(
        &mut self,
        stream: &mut impl Write,
        frame: &[u8],
        kind: FrameKind,
    ) -> io::Result<Result<u64, Stalled>> {
        let mut written = 0;
        if self.is_empty() {
            written = write_some(stream, frame)?;
            if written == frame.len() {
                return Ok(Ok(0));
            }
        }
        let result = self.push(frame, kind);
        if result.is_ok() && written > 0 {
            self.written = written;
        }
        Ok(result)
    }

    fn push(&mut self, frame: &[u8], kind: FrameKind) -> Result<u64, Stalled> {
        let mut dropped = 0;
        while self.bytes + frame.len() > self.most {
            // The first frame may be half written: dropping it would break the stream.
            let first = usize::from(self.written > 0);
            let oldest = self.frames.iter().skip(first).position(|f| f.kind == FrameKind::Relayed);
            match oldest.and_then(|index| self.frames.remove(first + index)) {
                Some(removed) => {
                    self.bytes -= removed.bytes.len();
                    dropped += 1;
                }
                None if kind == FrameKind::Relayed => return Ok(dropped + 1),
                None => return Err(Stalled),
            }
        }
        self.bytes += frame.len();
        self.frames.push_back(Frame { bytes: frame.to_vec(), kind });
        Ok(dropped)
    }

    /// Writes what waits, as far as the client takes it.
    pub(crate) fn flush(&mut self, stream: &mut impl Write) -> io::Result<()> {
        while let Some(frame) = self.frames.front() {
            self.written += write_some(stream, &frame.bytes[self.written..])?;
            if self.written < frame.bytes.len() {
                return Ok(());
            }
            self.bytes -= frame.bytes.len();
            self.written = 0;
            self.frames.pop_front();
        }
        // A queue that was needed once must not keep its memory for the connection's life.
        self.frames.shrink_to(16);
        Ok(())
    }
}

/// Writes until the stream takes no more; how much it took.
fn write_some(stream: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then none.
    #[derive(Default)]
    struct Slow {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_oldest_datagram_is_dropped_first_and_never_half_a_one() {
        let mut stream = Slow { room: 2, ..Slow::default() };
        let mut queue = SendQueue::new(12);
        let mut send = |frame: &[u8], kind| queue.send(&mut stream, frame, kind).expect("no error");
        assert_eq!(send(b"aaaa", FrameKind::Relayed), Ok(0), "half of it is written");
        assert_eq!(send(b"bbbb", FrameKind::Relayed), Ok(0));
        assert_eq!(send(b"cccc", FrameKind::Relayed), Ok(0));
        assert_eq!(send(b"dddd", FrameKind::Relayed), Ok(1), "b goes, a is half written");
        assert_eq!(send(b"EEEE", FrameKind::Answer), Ok(1), "c goes");
        assert_eq!(send(b"FFFF", FrameKind::Answer), Ok(1), "d goes");
        assert_eq!(send(b"gggg", FrameKind::Relayed), Ok(1), "g itself goes");
        assert_eq!(send(b"HHHH", FrameKind::Answer), Err(Stalled));
        stream.room = 100;
        queue.flush(&mut stream).expect("no error");
        assert_eq!(stream.taken, b"aaaaEEEEFFFF");
        assert!(queue.is_empty());
    }
}
