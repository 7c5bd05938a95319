//! The relay as a library: what the binary `turn-relay` and `turnctl up` start.
//!
//! A [`Relay`] is made of a checked configuration; it owns the workers. Around it stand the tasks of
//! a [`process::Process`]: [`admin`] (HTTP), [`reload`] (the configuration's files), [`self_check`]
//! (whether the relay relays), [`drain`].

pub mod admin;
mod certificate;
mod clients;
pub mod drain;
pub mod log;
mod metrics;
mod probing;
pub mod process;
mod relay;
pub mod reload;
pub mod self_check;
mod settings;
mod status;

pub use certificate::CertificateError;
pub use relay::{ApplyError, Relay, StartError};
pub use settings::SecretError;
pub use status::{ListenerStatus, Readiness, Status};
