//! The TURN client core.
