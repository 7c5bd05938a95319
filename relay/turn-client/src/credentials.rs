//! Long-term credentials (RFC 8489, section 9.2).

use std::fmt;

use md5::{Digest, Md5};

/// The most bytes that USERNAME holds (RFC 8489, section 14.3).
const MAX_USERNAME_LEN: usize = 508;

/// A user name that no message can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user name has at most {MAX_USERNAME_LEN} bytes, this one has {0}")]
pub struct CredentialsError(usize);

/// A user name and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    username: String,
    password: String,
}

impl Credentials {
    /// Both as the server knows them: they are not prepared (RFC 8265).
    ///
    /// # Errors
    /// When the user name is longer than 508 bytes.
    pub fn new(
        username: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Self, CredentialsError> {
        let (username, password) = (username.into(), password.into());
        if username.len() > MAX_USERNAME_LEN {
            return Err(CredentialsError(username.len()));
        }
        Ok(Self { username, password })
    }

    /// The user name.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// MD5 over `username ":" realm ":" password` (RFC 8489, section 9.2.2).
    pub(crate) fn key(&self, realm: &[u8]) -> [u8; 16] {
        let mut digest = Md5::new();
        digest.update(&self.username);
        digest.update(b":");
        digest.update(realm);
        digest.update(b":");
        digest.update(&self.password);
        digest.finalize().into()
    }
}

/// Without the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What a server wants requests to be signed with.
#[derive(Clone)]
pub(crate) struct Challenge {
    pub(crate) realm: Vec<u8>,
    pub(crate) nonce: Vec<u8>,
    pub(crate) key: [u8; 16],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc() {
        let credentials = Credentials::new("user", "pass").expect("it is short");
        let expected = [
            0x84, 0x93, 0xfb, 0xc5, 0x3b, 0xa5, 0x82, 0xfb, 0x4c, 0x04, 0x4c, 0x45, 0x6b, 0xdc,
            0x40, 0xeb,
        ];
        assert_eq!(credentials.key(b"realm"), expected);
    }

    #[test]
    fn a_password_is_not_shown() {
        let credentials = Credentials::new("user", "pass").expect("it is short");
        assert_eq!(format!("{credentials:?}"), r#"Credentials { username: "user", .. }"#);
    }

    #[test]
    fn a_user_name_that_does_not_fit_is_refused() {
        assert!(Credentials::new("u".repeat(508), "").is_ok());
        assert_eq!(Credentials::new("u".repeat(509), ""), Err(CredentialsError(509)));
    }
}
