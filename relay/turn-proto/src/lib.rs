//! The TURN server as a state machine: datagrams, connections' ends and time come in as values;
//! answers, datagrams to relay and commands come out as values.
//!
//! A [`Server`] is one shard: the allocations of the clients that one worker serves. What shards
//! have in common, the ports and the quotas, is a [`Ledger`], which is asked on Allocate and at an
//! allocation's end, never on a datagram's way.
//!
//! Two lanes:
//! - The data path returns: [`Server::handle_client`] and [`Server::handle_peer`] say with a
//!   [`Verdict`] or a [`PeerVerdict`] what becomes of the datagram. Nothing is copied: payloads are
//!   ranges of the caller's buffer, and headers are written in front of them.
//! - The control path queues: [`Server::poll_command`] tells the shell which relayed sockets to open
//!   and close.
//!
//! No clock, no randomness of its own (a seed comes in), no sockets, no hash order that matters.

mod address;
mod allocation;
mod authenticate;
mod channel_binding;
mod client_step;
mod connecting;
mod counters;
mod discovery;
mod icmp;
mod ledger;
mod meter;
mod mobility;
mod networks;
mod peer_connection;
mod peer_policy;
mod permission;
mod port_allocator;
mod probe_user;
mod refusal;
mod relay_path;
mod relayed_address;
mod reply;
mod reply_budget;
mod request;
mod server;
mod settings;
mod stream_path;
mod ticket;
mod timer_wheel;

pub use address::{ClientAddr, FiveTuple, PeerAddr, RelayedAddr, Transport};
pub use allocation::AllocationId;
pub use counters::{ClientStep, ConnectionEnd, Counters, DropReason, EndReason, Traffic};
pub use discovery::DiscoveryAddresses;
pub use icmp::IcmpError;
pub use ledger::Ledger;
pub use meter::{Direction, Rate};
pub use mobility::{Arrival, Departed, Move};
pub use networks::{ByTransport, ClientNetworks};
pub use peer_connection::PeerConnectionId;
pub use peer_policy::{PeerPolicy, Reach};
pub use port_allocator::PortRange;
pub use refusal::Refusal;
pub use relayed_address::RelayedId;
pub use server::{Command, Now, OpenError, PeerVerdict, Server, Shard, Verdict};
pub use settings::{Alternate, Limits, RelayAddress, Settings, TcpRelaying};
