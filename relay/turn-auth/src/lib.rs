//! Who may allocate: keys, time-limited credentials, sets of active secrets, and nonces.
//!
//! The only crate that sees a secret. No clock and no randomness: the time comes in, and the keys of
//! the nonces are made of the secrets that the whole fleet shares, so that a nonce which one relay
//! hands out is taken by the others, and by the same relay after a restart.

mod credentials;
mod key;
mod nonce;
mod opaque;
mod probe_order;
mod secret;
mod time_limited;

pub use credentials::{Authenticated, Credentials, Identity, Origin};
pub use key::{LongTermKey, PasswordAlgorithm, userhash};
pub use nonce::{FreshNonce, NONCE_LEN, Nonces, Offers, StaleNonce};
pub use probe_order::{sign_probe_order, verify_probe_order};
pub use secret::{EmptySecret, Secret};
pub use time_limited::{CredentialHash, TimeLimitedCredential, is_probe_user};

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u64);
