//! MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 and FINGERPRINT (RFC 8489, sections 14.5 to 14.7).
//!
//! Each is computed over the message up to the attribute itself, with a header whose length field
//! already counts that attribute and nothing behind it. So the functions take the bytes in front of
//! the attribute and hash a header of their own.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use crate::header::HEADER_LEN;

pub(crate) const SHA1_LEN: usize = 20;
pub(crate) const SHA256_LEN: usize = 32;
pub(crate) const FINGERPRINT_LEN: usize = 4;

const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// The first four bytes of a message that ends with an attribute of `value_len` bytes behind
/// `before`.
fn head(before: &[u8], value_len: usize) -> [u8; 4] {
    let len = before.len() - HEADER_LEN + 4 + value_len;
    // A message's length field has two bytes; the caller's message has passed that check.
    let [a, b] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    [before[0], before[1], a, b]
}

fn mac<M: Mac + KeyInit>(key: &[u8], before: &[u8], value_len: usize) -> M {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes any key");
    mac.update(&head(before, value_len));
    mac.update(&before[4..]);
    mac
}

#[expect(clippy::disallowed_methods, reason = "it is sent")]
pub(crate) fn sha1(key: &[u8], before: &[u8]) -> [u8; SHA1_LEN] {
    mac::<Hmac<Sha1>>(key, before, SHA1_LEN).finalize().into_bytes().into()
}

#[expect(clippy::disallowed_methods, reason = "it is sent")]
pub(crate) fn sha256(key: &[u8], before: &[u8]) -> [u8; SHA256_LEN] {
    mac::<Hmac<Sha256>>(key, before, SHA256_LEN).finalize().into_bytes().into()
}

pub(crate) fn verify_sha1(key: &[u8], before: &[u8], value: &[u8]) -> bool {
    mac::<Hmac<Sha1>>(key, before, value.len()).verify_slice(value).is_ok()
}

pub(crate) fn verify_sha256(key: &[u8], before: &[u8], value: &[u8]) -> bool {
    mac::<Hmac<Sha256>>(key, before, value.len()).verify_truncated_left(value).is_ok()
}

pub(crate) fn fingerprint(before: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head(before, FINGERPRINT_LEN));
    crc.update(&before[4..]);
    crc.finalize() ^ FINGERPRINT_XOR
}
