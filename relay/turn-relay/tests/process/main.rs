//! The program `turn-relay`, as an operator of it sees it: files in, signals in, HTTP and exit codes
//! out. Everything on loopback.

mod configuration;
mod garbage;
mod lifecycle;
mod relay;
