//! A byte stream gives the same frames however it is cut into reads.

use proptest::{collection::vec, prelude::*};
use turn_wire::{
    ChannelData, ChannelNumber, Method, padded,
    stream::{Frame, FramingError, frame},
};

use crate::generated::{Generated, message};

/// A message that may start with 0 to 3, the bytes that RFC 7983 leaves to STUN: methods up to 0x0FF,
/// which are all that RFC 8489, section 18.2, hands out.
fn assigned(message: Generated) -> Vec<u8> {
    let method = Method::new(message.method.number() & 0x0FF).expect("eight bits");
    Generated { method, ..message }.encode()
}

/// A message of either kind, without padding.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let data = (0x4000..=0x7FFFu16, vec(any::<u8>(), 0..50)).prop_map(|(number, data)| {
        let channel = ChannelNumber::new(number).expect("a channel");
        let len = u16::try_from(data.len()).expect("it is short");
        [&ChannelData::header(channel, len)[..], &data].concat()
    });
    prop_oneof![message().prop_map(assigned), data]
}

/// Takes all whole frames off the front.
fn take_frames(unread: &mut Vec<u8>) -> Result<Vec<Vec<u8>>, FramingError> {
    let mut frames = Vec::new();
    loop {
        match frame(unread)? {
            Frame::Complete { len, next } => {
                frames.push(unread[..len].to_vec());
                unread.drain(..next);
            }
            Frame::Incomplete { needed } => {
                assert!(needed > unread.len(), "a need that is met already would never end");
                return Ok(frames);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_split_gives_the_same_frames(
        frames in vec(any_frame(), 1..6),
        reads in vec(1..40usize, 1..60),
    ) {
        let mut wire = Vec::new();
        for frame in &frames {
            wire.extend_from_slice(frame);
            wire.resize(padded(wire.len()), 0);
        }
        let (mut unread, mut found) = (Vec::new(), Vec::new());
        let mut reads = reads.iter().cycle();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let (read, behind) = rest.split_at((*reads.next().expect("endless")).min(rest.len()));
            unread.extend_from_slice(read);
            found.extend(take_frames(&mut unread).expect("every frame can be"));
            rest = behind;
        }
        prop_assert_eq!(found, frames);
        prop_assert!(unread.is_empty());
    }

    /// The bytes that are needed are enough to say more, and one less is not.
    #[test]
    fn what_is_needed_is_what_it_takes(wire in any_frame()) {
        let mut wire = wire;
        wire.resize(padded(wire.len()), 0);
        let mut have = 0;
        loop {
            match frame(&wire[..have]) {
                Ok(Frame::Incomplete { needed }) => {
                    prop_assert!(needed > have && needed <= wire.len());
                    have = needed;
                }
                Ok(Frame::Complete { next, .. }) => {
                    prop_assert_eq!(next, wire.len());
                    prop_assert_eq!(frame(&wire[..next - 1]), Ok(Frame::Incomplete { needed: next }));
                    break;
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
    }
}

#[test]
fn what_no_frame_starts_with_is_an_error_at_once() {
    assert_eq!(frame(&[0x16]), Err(FramingError), "a TLS record");
    assert_eq!(frame(&[0x80]), Err(FramingError), "a channel above 0x7FFF");
    assert_eq!(frame(&[0, 1, 0, 1]), Err(FramingError), "a length that is no multiple of four");
    assert_eq!(frame(&[0, 1, 0, 0, 0x21, 0x13]), Err(FramingError), "half of a wrong cookie");
}

/// A length field can say at most 65,535: with header and padding the frame is longer than that, so
/// the sum must not be made in sixteen bits.
#[test]
fn the_longest_frames_are_not_cut() {
    let needed = |bytes: &[u8]| frame(bytes).expect("it can be");
    assert_eq!(needed(&[0x40, 0, 0xFF, 0xFF]), Frame::Incomplete { needed: 65_540 });
    assert_eq!(needed(&[0, 1, 0xFF, 0xFC]), Frame::Incomplete { needed: 65_552 });
}
