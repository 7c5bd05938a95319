//! A secret that never shows itself.

use std::fmt;

/// A shared secret, or a password, of at least one byte.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

/// A secret has no bytes: it would let everyone in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is empty")]
pub struct EmptySecret;

impl Secret {
    /// A secret from what stands in a file: white space at the end is no part of it, since editors
    /// and `echo` add a newline.
    ///
    /// # Errors
    /// When nothing is left.
    pub fn from_file(content: &[u8]) -> Result<Self, EmptySecret> {
        let content = content.trim_ascii_end();
        if content.is_empty() { Err(EmptySecret) } else { Ok(Self(content.into())) }
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
