//! The probe against a relay that follows a script: over loopback sockets, and without any.

mod diagnosis;
mod loss;
mod relay;
mod sockets;
