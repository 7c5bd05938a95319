//! The program `turn-relay`, as an operator of it sees it: files in, signals in, HTTP and exit codes
//! out. Everything on loopback.

mod caller;
mod certificates;
mod clients;
mod configuration;
mod dtls;
mod garbage;
mod header_fields;
mod icmp;
mod lifecycle;
mod listeners;
mod log;
mod mobility;
mod mount;
mod probing;
mod proxy;
mod relay;
mod rotation;
mod soak;
mod tcp_relaying;
mod tls;
