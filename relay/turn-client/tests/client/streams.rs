//! Over a stream.

use std::time::Instant;

use turn_client::{Client, Config, Event, FrameBuffer, Input, Profile, Transport};
use turn_wire::{ChannelData, ChannelNumber};

use crate::server::{Server, config, events, exchange, mapped, peer, sent};

#[test]
fn answers_come_in_any_portions() {
    let now = Instant::now();
    for portion in [1, 3, 7, 64, 1_000] {
        let mut server = Server::new();
        let mut client =
            Client::new(Config { transport: Transport::Stream, ..config(Profile::NICER) });
        client.binding(now);
        client.binding(now);
        let mut wire = Vec::new();
        for request in sent(&mut client) {
            wire.extend(server.respond(&request));
        }
        let mut buffer = FrameBuffer::new();
        for read in wire.chunks(portion) {
            buffer.push(read);
            while let Some(message) = buffer.next_frame().expect("they are messages") {
                assert_eq!(client.handle_input(now, message), Input::Handled);
            }
        }
        assert_eq!(events(&mut client), vec![Event::Mapped { mapped: mapped() }; 2]);
    }
}

#[test]
fn channel_data_is_padded() {
    let now = Instant::now();
    let mut server = Server::new();
    let mut client = Client::new(Config { transport: Transport::Stream, ..config(Profile::RFC) });
    client.allocate(now, None, None).expect("there is none yet");
    exchange(&mut client, &mut server, now);
    client.bind_channel(now, peer()).expect("there are channels");
    exchange(&mut client, &mut server, now);
    let mut out = [0xEE; 64];
    let len = client.send(now, peer(), b"hello", &mut out).expect("it fits");
    assert_eq!(out[..len], *b"\x40\x00\x00\x05hello\0\0\0");

    let mut buffer = FrameBuffer::new();
    buffer.push(&out[..len]);
    let frame = buffer.next_frame().expect("it can be").expect("it is whole");
    let expected = ChannelData { channel: ChannelNumber::MIN, data: &b"hello"[..] };
    assert_eq!(ChannelData::decode(frame), Ok(expected));
    assert_eq!(buffer.next_frame(), Ok(None));
}

#[test]
fn something_else_ends_the_stream() {
    for other in [&b"\x16\x03\x01"[..], b"SSH-2.0-OpenSSH\r\n", b"\x50\x00\x00\x00", b"\xff"] {
        let mut buffer = FrameBuffer::new();
        buffer.push(other);
        assert!(buffer.next_frame().is_err(), "{other:02x?}");
    }
}
