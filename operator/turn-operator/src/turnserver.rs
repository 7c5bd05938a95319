//! The reconciliation of a `TurnServer`, one stage a module: `dereference` reads what there is,
//! [`plan`] decides (validation, ports, credentials, the desired objects: all pure), `apply` writes
//! the objects, and [`status`] says how it went, also when a stage failed.

pub mod apply;
pub mod certificate;
pub mod controller;
pub mod credentials;
pub mod dereference;
pub mod desired;
pub mod dns;
pub mod events;
pub mod gate;
#[cfg(test)]
mod golden;
pub mod names;
pub mod observed;
pub mod plan;
pub mod ports;
pub mod relay_pod;
pub mod replacement;
pub mod rollout;
pub mod status;
pub mod subset;
