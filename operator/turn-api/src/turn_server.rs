//! The resource as a user writes it: any value that the schema lets through.

mod listener;
mod pod;
mod spec;
mod status;

pub use listener::{Listener, Protocol, Tls, TlsSecretRef};
pub use pod::{ImagePullSecret, PodSettings, Resources};
pub use spec::{
    AddressFrom, Addresses, Admin, Auth, CredentialHash, Drain, Features, Limits, Peers, Region,
    RelayPorts, SecretRef, StaticAddress, TurnServer, TurnServerSpec, Workload,
};
pub use status::{CredentialsStatus, RegionStatus, RelayStatus, TurnServerStatus};
