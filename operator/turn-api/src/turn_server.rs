//! The resource as a user writes it: any value that the schema lets through.

mod pod;
mod spec;
mod status;

pub use pod::{ImagePullSecret, PodSettings, Resources};
pub use spec::{
    AddressFrom, Addresses, Admin, Auth, CredentialHash, Drain, Limits, Listener, Peers, Protocol,
    Region, RelayPorts, SecretRef, StaticAddress, TurnServer, TurnServerSpec, Workload,
};
pub use status::{CredentialsStatus, RegionStatus, RelayStatus, TurnServerStatus};
