//! What any bytes may be given to, and what must hold then: plain functions, so that what was found
//! once is tried again by each `cargo test`, without a fuzzer.
//!
//! `cargo xtask fuzz message --seconds 60` lets libFuzzer look for more; with `--keep` it adds what
//! it learned to `corpus/`.

mod client;
mod configuration;
mod front;
mod message;
mod stream;

pub use client::client;
pub use configuration::configuration;
pub use front::front;
pub use message::message;
pub use stream::stream;

/// Whatever a sequence of messages, signed and not, with time passing: the server does what the
/// simulation's oracle expects.
pub fn session(bytes: &[u8]) {
    if let Err(broken) = simulation::session(bytes) {
        panic!("{broken}");
    }
}

/// Something that takes any bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of its folder in `corpus/`.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub run: fn(&[u8]),
}

/// Each of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "client", run: client },
    Target { name: "configuration", run: configuration },
    Target { name: "front", run: front },
    Target { name: "message", run: message },
    Target { name: "session", run: session },
    Target { name: "stream", run: stream },
];
