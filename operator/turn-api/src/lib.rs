//! The custom resources: types, CEL rules, validated forms. No client.
//!
//! A [`TurnServer`] is what a user wrote, and may be wrong in ways that a schema cannot say; a
//! [`Validated`] is one that has been checked and can only be right. What the API server checks
//! ([`crd()`], with its schema and CEL rules) and what [`Validated`] checks are the same rules: they
//! share their texts in one table, and [`Document`] does both without an API server.

pub mod conditions;
mod crd;
mod document;
mod rules;
mod schema;
mod turn_server;
mod validated;

pub use crd::crd;
pub use document::{Document, DocumentError};
pub use schema::Violation;
pub use turn_server::{
    AddressFrom, Addresses, Admin, ApiKeys, Auth, CredentialHash, CredentialsStatus, Dns,
    DnsStatus, Drain, Features, Gate, IceServers, ImagePullSecret, Limits, Listener,
    ListenerReachability, NamedSecret, Peers, PodSettings, Protocol, Reachability, Reached, Region,
    RegionStatus, RelayPorts, RelayStatus, Resources, SecretRef, StaticAddress, Tls, TlsSecretRef,
    TurnServer, TurnServerSpec, TurnServerStatus, Vantages, Workload,
};
pub use validated::{
    Advertised, CredentialsSource, DEFAULT_REGION, Invalid, StaticAddresses, Validated,
    ValidatedListener, ValidatedRegion,
};

/// The label that every object made for a `TurnServer` carries. Its value is the name of the
/// `TurnServer`, shortened when it is longer than a label may be.
pub const TURN_SERVER_LABEL: &str = "turnpike.dev/turnserver";
/// The label with the region of a relay and of its workload.
pub const REGION_LABEL: &str = "turnpike.dev/region";
