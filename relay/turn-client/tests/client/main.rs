//! The client against a server that follows a script.

mod allocating;
mod authentication;
mod data;
mod hostile;
mod retransmission;
mod server;
mod streams;
mod tcp_relaying;
