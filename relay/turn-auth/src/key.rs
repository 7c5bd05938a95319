//! The key that messages are signed with.

use std::fmt;

use md5::{Digest, Md5};
use sha2::Sha256;

/// How a key is made of a password (RFC 8489, section 18.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PasswordAlgorithm {
    /// The only one of RFC 5389, and what a client means that names none.
    Md5,
    /// SHA-256.
    Sha256,
}

impl PasswordAlgorithm {
    /// The algorithm of a number in PASSWORD-ALGORITHM.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Md5),
            2 => Some(Self::Sha256),
            _ => None,
        }
    }
}

/// The key of the long-term credential mechanism: a digest over `username ":" realm ":" password`
/// (RFC 8489, section 18.5.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LongTermKey {
    /// As many as the algorithm makes; zero behind them.
    bytes: [u8; 32],
    algorithm: PasswordAlgorithm,
}

impl LongTermKey {
    /// Makes the key of a user.
    #[must_use]
    pub fn derive(
        algorithm: PasswordAlgorithm,
        username: &[u8],
        realm: &[u8],
        password: &[u8],
    ) -> Self {
        let parts = [username, realm, password];
        let mut bytes = [0; 32];
        match algorithm {
            PasswordAlgorithm::Md5 => bytes[..16].copy_from_slice(&digest::<Md5>(parts)),
            PasswordAlgorithm::Sha256 => bytes.copy_from_slice(&digest::<Sha256>(parts)),
        }
        Self { bytes, algorithm }
    }

    /// The bytes, as MESSAGE-INTEGRITY takes them: 16 of MD5, 32 of SHA-256.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self.algorithm {
            PasswordAlgorithm::Md5 => &self.bytes[..16],
            PasswordAlgorithm::Sha256 => &self.bytes,
        }
    }

    /// How it was made.
    #[must_use]
    pub const fn algorithm(&self) -> PasswordAlgorithm {
        self.algorithm
    }
}

impl fmt::Debug for LongTermKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LongTermKey({:?}, …)", self.algorithm)
    }
}

/// What stands for a name in USERHASH: SHA-256 over `username ":" realm` (RFC 8489, section 14.4).
#[must_use]
pub fn userhash(username: &[u8], realm: &[u8]) -> [u8; 32] {
    digest::<Sha256>([username, realm]).into()
}

/// A digest over parts with colons between them.
fn digest<D: Digest>(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> md5::digest::Output<D> {
    let mut digest = D::new();
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            digest.update(b":");
        }
        digest.update(part);
    }
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8489, section 9.2.2, has this example.
    #[test]
    fn the_key_of_the_rfc() {
        let key = LongTermKey::derive(PasswordAlgorithm::Md5, b"user", b"realm", b"pass");
        let expected = [
            0x84, 0x93, 0xfb, 0xc5, 0x3b, 0xa5, 0x82, 0xfb, 0x4c, 0x04, 0x4c, 0x45, 0x6b, 0xdc,
            0x40, 0xeb,
        ];
        assert_eq!(key.as_bytes(), &expected);
    }

    /// `printf user:realm:pass | sha256sum`
    #[test]
    fn the_key_of_sha_256_has_32_bytes() {
        let key = LongTermKey::derive(PasswordAlgorithm::Sha256, b"user", b"realm", b"pass");
        assert_eq!(key.as_bytes().len(), 32);
        assert_eq!(key.as_bytes()[..4], [0x07, 0xe9, 0x34, 0x11]);
    }

    /// The message of RFC 8489, appendix B.1, names its user so.
    #[test]
    fn the_userhash_of_the_rfc() {
        let hash =
            userhash("\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}".as_bytes(), b"example.org");
        assert_eq!(hash[..8], [0x4a, 0x3c, 0xf3, 0x8f, 0xef, 0x69, 0x92, 0xbd]);
    }
}
