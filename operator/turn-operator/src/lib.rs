//! The operator: it reconciles `TurnServer` resources into relay pods and all that they need.
//!
//! Decisions are pure functions of values ([`turnserver::plan`], [`turnserver::desired`],
//! [`turnserver::status`]), so that `turnctl` makes the same ones without a cluster; the rest of
//! the crate reads and writes the API server.

pub mod api_error;
pub mod check;
pub mod doctor_page;
pub mod health;
pub mod ice_api;
pub mod leader;
pub mod metrics;
pub mod reachability;
mod refusal;
pub mod turnserver;
mod unix_time;
