//! A client's connection and one to a peer, joined (RFC 6062, section 5.4): what comes on either goes
//! out on the other, as it is.
//!
//! Each way has one buffer. What does not fit stays in the kernel, so a slow reader slows the sender
//! down; nothing is dropped. The end of what one side sends is passed on once all before it has
//! left, so that the other may still answer.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    time::Instant,
};

use mio::net::TcpStream;
use turn_proto::PeerConnectionId;

use crate::client_stream::ClientStream;

/// What waits in the relay, each way, in bytes.
const BUFFER: usize = 16 << 10;

/// What a client's connection has been joined with.
pub(crate) struct Splice {
    pub(crate) id: PeerConnectionId,
    pub(crate) peer: TcpStream,
    pub(crate) to_peer: Pipe,
    pub(crate) to_client: Pipe,
    /// Until when a limit holds it up, if it is to be looked at then.
    pub(crate) held_up: Option<Instant>,
}

impl Splice {
    pub(crate) fn new(id: PeerConnectionId, peer: TcpStream) -> Self {
        Self { id, peer, to_peer: Pipe::new(), to_client: Pipe::new(), held_up: None }
    }

    /// Whether nothing will go either way any more.
    pub(crate) fn is_over(&self) -> bool {
        self.to_peer.end == End::Passed && self.to_client.end == End::Passed
    }
}

/// What a pipe ends in.
pub(crate) trait Sink: Write {
    /// Says that nothing more comes. `WouldBlock`: not yet.
    fn end_writing(&mut self) -> io::Result<()>;
}

impl Sink for TcpStream {
    fn end_writing(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Sink for ClientStream {
    fn end_writing(&mut self) -> io::Result<()> {
        Self::end_writing(self)
    }
}

/// How far the end of a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The source may send more.
    Open,
    /// The source has ended.
    Seen,
    /// The sink knows.
    Passed,
}

/// One way of two.
#[derive(Debug)]
pub(crate) struct Pipe {
    bytes: Vec<u8>,
    /// What of them waits.
    from: usize,
    to: usize,
    end: End,
}

/// What a turn has moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Bytes taken from the source.
    pub(crate) read: usize,
    /// Whether anything has happened at all.
    pub(crate) any: bool,
}

impl Pipe {
    fn new() -> Self {
        Self { bytes: vec![0; BUFFER], from: 0, to: 0, end: End::Open }
    }

    /// Puts in what has been read of the source already.
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        self.bytes.truncate(self.to);
        self.bytes.extend_from_slice(bytes);
        self.to = self.bytes.len();
        self.bytes.resize(self.to.max(BUFFER), 0);
    }

    /// Whether it could take more from its source.
    pub(crate) fn wants_more(&self) -> bool {
        self.end == End::Open && self.to < self.bytes.len()
    }

    /// Writes what waits, and reads once. Each only as far as it goes without waiting.
    pub(crate) fn turn(
        &mut self,
        source: Option<&mut impl Read>,
        sink: Option<&mut impl Sink>,
    ) -> io::Result<Moved> {
        let mut moved = Moved::default();
        if let Some(sink) = sink {
            moved.any |= self.write(sink)?;
        }
        if let Some(source) = source.filter(|_| self.wants_more()) {
            moved.read = self.read(source)?;
            moved.any |= moved.read > 0 || self.end == End::Seen;
        }
        Ok(moved)
    }

    fn read(&mut self, source: &mut impl Read) -> io::Result<usize> {
        match source.read(&mut self.bytes[self.to..]) {
            Ok(0) => {
                self.end = End::Seen;
                Ok(0)
            }
            Ok(count) => {
                self.to += count;
                Ok(count)
            }
            Err(error) if is_temporary(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Whether something was written.
    fn write(&mut self, sink: &mut impl Sink) -> io::Result<bool> {
        let before = self.from;
        while self.from < self.to {
            match sink.write(&self.bytes[self.from..self.to]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.from += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(self.from > before);
                }
                Err(error) => return Err(error),
            }
        }
        let written = self.from > before;
        (self.from, self.to) = (0, 0);
        if self.end != End::Seen {
            return Ok(written);
        }
        match sink.end_writing() {
            Ok(()) => {
                self.end = End::Passed;
                Ok(true)
            }
            Err(error) if is_temporary(&error) => Ok(written),
            Err(error) => Err(error),
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives what it has, then ends if it may.
    struct Source {
        bytes: Vec<u8>,
        ends: bool,
    }

    impl Read for Source {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.bytes.is_empty() && !self.ends {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = self.bytes.len().min(out.len());
            out[..count].copy_from_slice(&self.bytes[..count]);
            self.bytes.drain(..count);
            Ok(count)
        }
    }

    /// Takes so many bytes, then none.
    #[derive(Default)]
    struct Taker {
        taken: Vec<u8>,
        room: usize,
        ended: bool,
    }

    impl Write for Taker {
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

    impl Sink for Taker {
        fn end_writing(&mut self) -> io::Result<()> {
            self.ended = true;
            Ok(())
        }
    }

    fn run(pipe: &mut Pipe, source: &mut Source, sink: &mut Taker) {
        while pipe.turn(Some(source), Some(sink)).expect("no error").any {}
    }

    #[test]
    fn a_slow_reader_holds_the_sender_up_and_loses_nothing() {
        let sent: Vec<u8> = (0..100_000_u32).map(|index| (index % 251) as u8).collect();
        let mut source = Source { bytes: sent.clone(), ends: true };
        let (mut pipe, mut sink) = (Pipe::new(), Taker::default());
        run(&mut pipe, &mut source, &mut sink);
        assert_eq!(source.bytes.len(), sent.len() - BUFFER, "one buffer and no more");
        while sink.taken.len() < sent.len() {
            assert!(!sink.ended, "the end comes last");
            sink.room = 777;
            run(&mut pipe, &mut source, &mut sink);
        }
        assert!(sink.taken == sent && sink.ended);
    }

    #[test]
    fn what_was_read_already_goes_first() {
        let mut source = Source { bytes: b" world".to_vec(), ends: false };
        let mut sink = Taker { room: usize::MAX, ..Taker::default() };
        let mut pipe = Pipe::new();
        pipe.fill(b"hello");
        run(&mut pipe, &mut source, &mut sink);
        assert_eq!(sink.taken, b"hello world");
        assert!(!sink.ended);
    }

    #[test]
    fn what_was_read_already_may_be_more_than_a_buffer_holds() {
        let mut source = Source { bytes: vec![2; 9], ends: true };
        let mut sink = Taker { room: 10, ..Taker::default() };
        let mut pipe = Pipe::new();
        pipe.fill(&[1; 3 * BUFFER]);
        run(&mut pipe, &mut source, &mut sink);
        assert_eq!(source.bytes.len(), 9, "no room");
        sink.room = usize::MAX;
        run(&mut pipe, &mut source, &mut sink);
        assert_eq!(sink.taken.len(), 3 * BUFFER + 9);
    }

    #[test]
    fn without_a_source_or_a_sink_the_other_still_goes_on() {
        let mut source = Source { bytes: b"x".to_vec(), ends: false };
        let mut sink = Taker { room: usize::MAX, ..Taker::default() };
        let mut pipe = Pipe::new();
        let moved = pipe.turn(Some(&mut source), None::<&mut Taker>).expect("no error");
        assert_eq!((moved.read, sink.taken.len()), (1, 0));
        assert!(pipe.turn(None::<&mut Source>, Some(&mut sink)).expect("no error").any);
        assert_eq!(sink.taken, b"x");
    }
}
