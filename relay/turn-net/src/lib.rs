//! The relay's sockets: listeners, relayed sockets, and the workers that carry datagrams between
//! them.
//!
//! Shared nothing: each worker is a thread with a socket of its own on each listener's address
//! (`SO_REUSEPORT`: the kernel spreads the clients), and it owns the allocations of its clients and
//! their relayed sockets. On a datagram's way there is no lock, no channel and no allocation of
//! memory; what a worker is told (new settings, drain, questions) comes over a channel that it looks
//! at between datagrams.
//!
//! The loop is mio's: a task for each socket, as tokio has them, would cost a wake-up and a scheduling
//! round for each datagram, and the core needs one owner that no lock guards.
//!
//! Streams may be TLS, told from TCP by the first byte where both are spoken on one port, and may begin
//! with a load balancer's header. Datagrams may be DTLS, of which nothing is kept before its cookie
//! has come back. What is encrypted costs memory for each datagram; what is not, does not.
//!
//! A worker is an event loop around [`turn_proto::Server`], which decides everything:
//!
//! ```text
//! client -> listener / connection -> Server::handle_client -> relayed socket -> peer
//! peer   -> relayed socket        -> Server::handle_peer   -> listener / connection -> client
//! ```

mod bind;
mod client_counts;
mod client_path;
mod client_stream;
mod connection;
mod counters;
mod datagrams;
mod dtls;
mod engine;
mod handover;
mod handshake_failure;
mod icmp;
mod identity;
mod listeners;
mod log_budget;
mod migration;
mod peer_connections;
mod pending;
mod protocol;
mod proxy_header;
mod relayed;
mod relayed_listener;
mod secure_datagrams;
mod send_queue;
mod splice;
mod streams;
mod worker;
mod workers;

pub use bind::{BindError, BoundListeners, ListenerSpec, bind, is_local};
pub use client_counts::{ClientCounts, Steps};
pub use counters::NetCounters;
pub use handshake_failure::HandshakeFailure;
pub use identity::{Identity, IdentityError};
pub use protocol::Protocol;
pub use worker::{StreamLimits, Terms};
pub use workers::{Snapshot, WorkerLost, Workers};
