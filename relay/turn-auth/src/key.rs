//! The key that messages are signed with.

use std::fmt;

use md5::{Digest, Md5};

/// The key of the long-term credential mechanism: MD5 over `username ":" realm ":" password`
/// (RFC 8489, section 9.2.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LongTermKey([u8; 16]);

impl LongTermKey {
    /// Makes the key of a user.
    #[must_use]
    pub fn derive(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        let mut digest = Md5::new();
        for (index, part) in [username, realm, password].into_iter().enumerate() {
            if index > 0 {
                digest.update(b":");
            }
            digest.update(part);
        }
        Self(digest.finalize().into())
    }

    /// The bytes, as MESSAGE-INTEGRITY takes them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for LongTermKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LongTermKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8489, section 9.2.2, has this example.
    #[test]
    fn the_key_of_the_rfc() {
        let key = LongTermKey::derive(b"user", b"realm", b"pass");
        let expected = [
            0x84, 0x93, 0xfb, 0xc5, 0x3b, 0xa5, 0x82, 0xfb, 0x4c, 0x04, 0x4c, 0x45, 0x6b, 0xdc,
            0x40, 0xeb,
        ];
        assert_eq!(key.as_bytes(), &expected);
    }
}
