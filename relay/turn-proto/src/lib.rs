//! The TURN server core.
