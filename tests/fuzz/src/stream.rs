//! A stream of frames.

use turn_client::FrameBuffer;
use turn_wire::{
    ChannelData, ChannelNumber, Kind,
    stream::{Frame, frame},
};

/// A stream, cut up as its first byte says: however it is cut, the same frames come out of it.
pub fn stream(bytes: &[u8]) {
    let Some((step, stream)) = bytes.split_first() else { return };
    let (frames, ended) = frames(stream);
    let mut buffer = FrameBuffer::new();
    let mut found = Vec::new();
    let mut failed = false;
    for portion in stream.chunks(usize::from(*step).max(1)) {
        buffer.push(portion);
        while !failed {
            match buffer.next_frame() {
                Ok(Some(frame)) => found.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => failed = true,
            }
        }
    }
    // A client takes fewer channels than a server, so it may end earlier.
    assert!(frames.starts_with(&found), "{found:?} are not {frames:?}");
    assert!(failed || found.len() == frames.len() && !ended);
}

/// The frames of a stream, and whether it ended at something that none can start with.
fn frames(stream: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut frames = Vec::new();
    let mut rest = stream;
    loop {
        match frame(rest) {
            Ok(Frame::Complete { len, next }) => {
                assert!(len <= next && next <= rest.len() && next % 4 == 0 && next > 0);
                is_readable(&rest[..len]);
                frames.push(rest[..len].to_vec());
                rest = &rest[next..];
            }
            Ok(Frame::Incomplete { needed }) => {
                assert!(needed > rest.len() && needed <= 65_556);
                return (frames, false);
            }
            Err(_) => return (frames, true),
        }
    }
}

/// A frame of ChannelData is one.
fn is_readable(frame: &[u8]) {
    if turn_wire::kind(frame) == Kind::ChannelData {
        let number = u16::from_be_bytes([frame[0], frame[1]]);
        assert_eq!(ChannelData::decode(frame).is_ok(), ChannelNumber::new(number).is_some());
    }
}
