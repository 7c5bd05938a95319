//! The invariants of the workspace that no compiler holds: see the README's map.

mod dependencies;
mod tree;
