//! Fleets under observation, in a time of their own: how much is probed, how soon faults are found,
//! and what loss, liars and nonsense change.

#![expect(clippy::print_stdout, reason = "figures, and the seed of what failed")]

mod liars;
mod loss;
mod scale;
mod simulation;
mod weather;
