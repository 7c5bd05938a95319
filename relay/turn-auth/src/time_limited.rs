//! Credentials that a web service mints and that end by themselves.
//!
//! The username is `expiry:user`, the expiry in seconds since 1970; the password is base64 of
//! HMAC-SHA1 over the username under a secret that service and relays share. The scheme is that of
//! draft-uberti-behave-turn-rest, which coturn calls `use-auth-secret`. HMAC-SHA256 in its place is
//! our addition, for services that must not use SHA-1.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use crate::{Secret, UnixSeconds};

/// What the user part of a prober's name begins with. Such a name is a prober's or nobody's.
const PROBE_PREFIX: &str = "turnpike-probe:";

/// What stands before a prober's name where its password is made: no name of a client begins so,
/// since those begin with digits.
const PROBE_DOMAIN: &[u8] = b"turnpike probe\0";

/// The hash that makes the password of a time-limited credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialHash {
    /// HMAC-SHA1: what every other server and service takes.
    Sha1,
    /// HMAC-SHA256.
    Sha256,
}

/// A username and its password, both for the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct TimeLimitedCredential {
    /// `expiry:user`.
    pub username: String,
    /// Base64 of 20 bytes, or of 32 under SHA-256.
    pub password: String,
}

impl TimeLimitedCredential {
    /// Makes the credential of a user that ends at `expires_at`, under HMAC-SHA1.
    #[must_use]
    pub fn mint(secret: &Secret, user: &str, expires_at: UnixSeconds) -> Self {
        Self::mint_with(CredentialHash::Sha1, secret, user, expires_at)
    }

    /// The same, under a hash of choice.
    #[must_use]
    pub fn mint_with(
        hash: CredentialHash,
        secret: &Secret,
        user: &str,
        expires_at: UnixSeconds,
    ) -> Self {
        let username = format!("{}:{user}", expires_at.0);
        let password = password(hash, secret, username.as_bytes());
        Self { username, password }
    }

    /// Makes the credential of a prober ([`Origin::Probe`](crate::Origin::Probe)). Its password is
    /// made otherwise than those of clients, so that whoever mints credentials for user names that
    /// others chose never mints this one.
    #[must_use]
    pub fn mint_for_probe(secret: &Secret, label: &str, expires_at: UnixSeconds) -> Self {
        let username = format!("{}:{PROBE_PREFIX}{label}", expires_at.0);
        let password = probe_password(secret, username.as_bytes());
        Self { username, password }
    }
}

impl fmt::Debug for TimeLimitedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeLimitedCredential")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// The password of a time-limited username under a secret.
pub(crate) fn password(hash: CredentialHash, secret: &Secret, username: &[u8]) -> String {
    match hash {
        CredentialHash::Sha1 => encoded(keyed::<Hmac<Sha1>>(secret).chain_update(username)),
        CredentialHash::Sha256 => encoded(keyed::<Hmac<Sha256>>(secret).chain_update(username)),
    }
}

/// The password of a prober's username under a secret.
pub(crate) fn probe_password(secret: &Secret, username: &[u8]) -> String {
    encoded(keyed::<Hmac<Sha256>>(secret).chain_update(PROBE_DOMAIN).chain_update(username))
}

/// Whether the user part of a time-limited name is kept for probers.
#[must_use]
pub fn is_probe_user(user: &str) -> bool {
    user.starts_with(PROBE_PREFIX)
}

/// A MAC under a secret, over nothing yet.
pub(crate) fn keyed<M: Mac + KeyInit>(secret: &Secret) -> M {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
    <M as KeyInit>::new_from_slice(secret.expose()).expect("any key")
}

/// A MAC as text.
#[expect(clippy::disallowed_methods, reason = "it is handed out: a password, or a signature")]
pub(crate) fn encoded(mac: impl Mac) -> String {
    STANDARD.encode(mac.finalize().into_bytes())
}

/// The expiry and the user of a time-limited username; `None` when it is not of that form. A name
/// that is an expiry alone has itself as user.
pub(crate) fn split(username: &str) -> Option<(UnixSeconds, &str)> {
    let (expiry, user) = username.split_once(':').unwrap_or((username, username));
    if !expiry.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let expiry = expiry.parse().ok().map(UnixSeconds)?;
    Some((expiry, if user.is_empty() { username } else { user }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `echo -n 1700000000:alice | openssl dgst -sha1 -hmac north -binary | base64`
    #[test]
    fn the_password_is_what_other_back_ends_make() {
        let secret = Secret::from_file(b"north\n").expect("not empty");
        let credential = TimeLimitedCredential::mint(&secret, "alice", UnixSeconds(1_700_000_000));
        assert_eq!(credential.username, "1700000000:alice");
        assert_eq!(credential.password, "Cd/49soE35ICqcJF/bCTn8Z4OyE=");
    }

    /// `echo -n 1700000000:alice | openssl dgst -sha256 -hmac north -binary | base64`
    #[test]
    fn the_password_under_sha_256_is_what_openssl_makes() {
        let secret = Secret::from_file(b"north\n").expect("not empty");
        let hash = CredentialHash::Sha256;
        let expires_at = UnixSeconds(1_700_000_000);
        let credential = TimeLimitedCredential::mint_with(hash, &secret, "alice", expires_at);
        assert_eq!(credential.password, "EuME0Xh0HllnbpbObfs8aBsd78Vr1EMwxArqbyCrGl8=");
    }

    /// `printf 'turnpike probe\0001700000000:turnpike-probe:node-1' |
    /// openssl dgst -sha256 -hmac north -binary | base64`
    #[test]
    fn the_password_of_a_probe_is_over_a_text_of_its_own() {
        let secret = Secret::from_file(b"north\n").expect("not empty");
        let expires_at = UnixSeconds(1_700_000_000);
        let credential = TimeLimitedCredential::mint_for_probe(&secret, "node-1", expires_at);
        assert_eq!(credential.username, "1700000000:turnpike-probe:node-1");
        assert_eq!(credential.password, "HLqMWybPBlnqRP6i83D3zjK+le+H4mBXUDnnEY0b6Is=");
        for hash in [CredentialHash::Sha1, CredentialHash::Sha256] {
            let user = "turnpike-probe:node-1";
            let client = TimeLimitedCredential::mint_with(hash, &secret, user, expires_at);
            assert_eq!(client.username, credential.username);
            assert_ne!(client.password, credential.password);
        }
    }

    #[test]
    fn only_digits_before_the_colon_are_an_expiry() {
        assert_eq!(split("1700000000:alice"), Some((UnixSeconds(1_700_000_000), "alice")));
        assert_eq!(split("17:a:b"), Some((UnixSeconds(17), "a:b")));
        assert_eq!(split("1700000000"), Some((UnixSeconds(1_700_000_000), "1700000000")));
        assert_eq!(split("17:"), Some((UnixSeconds(17), "17:")));
        for name in ["", "alice", ":alice", "+17:alice", "-1:alice", "99999999999999999999:alice"] {
            assert_eq!(split(name), None, "{name:?}");
        }
    }
}
