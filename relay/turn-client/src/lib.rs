//! A TURN client (RFC 8656, RFC 6062) without I/O: bytes and times go in, bytes, events and the next time
//! come out.
//!
//! No clock, no randomness but the seed that is given, no sockets: probes, load generators and
//! simulations drive it, each with its own idea of time.
//!
//! ```text
//! handle_input(now, message) -> Input     what came from the server; data of peers at once
//! handle_timeout(now)                     when poll_timeout says so
//! poll_transmit() -> Option<&[u8]>        what goes to the server
//! poll_event() -> Option<Event>           what has become of the operations
//! poll_timeout() -> Option<Instant>       when handle_timeout wants to be called
//! ```
//!
//! Over UDP each datagram is one message; over a stream a [`FrameBuffer`] cuts them out of the
//! bytes that were read. Each operation ends in exactly one event, unless the allocation that it is
//! for ends first.
//!
//! The client can behave like those that relays meet ([`Profile`]): it sends, gives up, refreshes
//! and picks between Send indications and channels as libwebrtc or nICEr do.

mod allocation;
mod answer;
mod client;
mod config;
mod credentials;
mod dropped;
mod event;
mod frame_buffer;
mod peers;
mod profile;
mod request;
mod transaction;

pub use client::{Client, ClientError, Input};
pub use config::{Config, Transport};
pub use credentials::{Credentials, CredentialsError};
pub use dropped::{DropReason, Dropped};
pub use event::{End, Event, Failure, Operation};
pub use frame_buffer::FrameBuffer;
pub use profile::{ChannelUse, Profile, Schedule};
// What stands in the signatures above.
pub use turn_wire::{
    AttributeType, ChannelNumber,
    attribute::{ConnectionId, Family},
    stream::FramingError,
};
