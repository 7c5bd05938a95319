//! What holds for all messages, and for all bytes.

mod agreement;
mod any_bytes;
mod framing;
mod generated;
mod round_trip;
mod tampering;
