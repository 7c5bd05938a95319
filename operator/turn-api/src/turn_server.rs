//! The resource as a user writes it: any value that the schema lets through.

mod dns;
mod ice_servers;
mod listener;
mod pod;
mod reachability;
mod spec;
mod status;

pub use dns::Dns;
pub use ice_servers::{ApiKeys, IceServers};
pub use listener::{Listener, Protocol, Tls, TlsSecretRef};
pub use pod::{ImagePullSecret, PodSettings, Resources};
pub use reachability::{Gate, NamedSecret, Reachability, Vantages};
pub use spec::{
    AddressFrom, Addresses, Admin, Auth, CredentialHash, Drain, Features, Limits, Peers, Region,
    RelayPorts, SecretRef, StaticAddress, TurnServer, TurnServerSpec, Workload,
};
pub use status::{
    CredentialsStatus, DnsStatus, ListenerReachability, Reached, RegionStatus, RelayStatus,
    TurnServerStatus,
};
