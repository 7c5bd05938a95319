//! The server core against the client core, over links that lose, duplicate, reorder and delay, on
//! virtual time.
//!
//! One seed decides everything: who comes when, what is lost, when a NAT gives somebody another
//! port, what the relay's owner changes, when the relay dies, what strangers send. Beside the server
//! stands an oracle, a second and simple one that is told the same things: before each step it says
//! what the server has to do, and after it the two are compared. At the end, when everybody has gone
//! and the longest lifetime is over, nothing may be left.
//!
//! `cargo run -p simulation -- --seed N` repeats a run; `--count 10000` makes many.

mod batch;
mod link;
mod network;
mod oracle;
mod person;
mod prober;
mod relay;
mod rules;
mod run;
mod session;
mod stranger;
mod tally;

pub use batch::run_all;
pub use run::{Summary, run};
pub use session::session;
