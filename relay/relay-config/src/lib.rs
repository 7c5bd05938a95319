//! The relay's configuration file: rendered by the operator, read by the relay. One type, so that
//! the two cannot drift apart.
//!
//! [`RawConfig`] is what stands in the file; [`Config`] is what has been checked. No secret stands
//! in either: they name files.

mod checked;
mod raw;

pub use checked::{Config, ConfigError};
pub use raw::{
    Admin, Alternate, Auth, CredentialHash, Drain, Features, Limits, Listener, LogLevel, Peers,
    PortRange, Protocol, RawConfig, Tls, User,
};
