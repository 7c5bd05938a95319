//! Whether the relays are reached: the operator probes them, has them probe each other, and keeps
//! what all vantages have seen.
//!
//! What is decided is `turn_probe::survey`; this carries it out. The controller tells what a fleet
//! looks like ([`facts()`]) and asks what is known of it ([`Reachability::verdict`]); when that changes,
//! it is told to look again. Of a former leader nothing is left but the pods' conditions, which is
//! enough: what was let in stays in until it is found out not to be reached.

mod agents;
mod clients;
mod driver;
mod facts;
#[cfg(test)]
mod fixture;
mod observed_fleet;
mod relay_client;
mod store;

pub use agents::{AGENT_PATH, Leading, Term, VISIT_PATH, VisitTaken, routes as agent_routes};
pub use facts::{Facts, OPERATOR, facts};
pub use observed_fleet::OnChange;
pub use store::Reachability;
