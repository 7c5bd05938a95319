//! The server core against the client core, over links that lose, duplicate, reorder and delay, on
//! virtual time.
//!
//! One seed decides everything: who comes when, what is lost, what strangers send. After each step an
//! oracle that knows only what went over the wire holds the server to its promises; at the end,
//! when everybody has gone and the longest lifetime is over, nothing may be left.
//!
//! `cargo run -p simulation -- --seed N` repeats a run.

mod link;
mod network;
mod oracle;
mod person;
mod relay;
mod run;

pub use run::{Summary, run};
