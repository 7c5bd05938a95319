//! Nonces without state (RFC 8489, section 9.2.1).
//!
//! A nonce starts with the cookie of RFC 8489, section 9.2, and the bits that say what the server
//! offers. Then come the time at which it was made and a MAC over all that and the client's IP address:
//! somebody between who takes an offer out of the nonce makes it a stale one.
//!
//! Two clients never get the same nonce (RFC 8489, section 9.2.4), so the client's port stands in it;
//! but it is not compared when the nonce comes back: a client behind a NAT that gives it a new port
//! keeps its nonce. It is accepted for an hour, since clients take a stale nonce on Allocate for a
//! failure (turn clients retry a 401 once, and a 438 on Allocate not at all). Nine bytes of MAC are
//! enough: a forged nonce has to be tried against a relay, and lets nobody in, since the credentials
//! are judged after it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::UnixSeconds;

/// Four bytes of time, two of the client's port.
const STAMP_LEN: usize = 6;
const MAC_LEN: usize = 9;
const RAW_LEN: usize = STAMP_LEN + MAC_LEN;

/// How each nonce starts that says what the server offers (RFC 8489, section 9.2).
const COOKIE: &[u8; 9] = b"obMatJos2";

/// Bytes of offers, and characters that they become.
const OFFERS_LEN: usize = 3;
const OFFERS_TEXT_LEN: usize = 4;

/// Where the time and the MAC start.
const RAW_AT: usize = COOKIE.len() + OFFERS_TEXT_LEN;

/// The length of a nonce, in bytes: short, since it goes to clients that have proved nothing yet.
pub const NONCE_LEN: usize = RAW_AT + RAW_LEN.div_ceil(3) * 4;

/// What a server offers beyond RFC 5389 (RFC 8489, section 18.1). Other ways than MD5 to make a key
/// are always offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// That users name themselves by a hash. A server can only tell whom it means if it has a list
    /// of its users.
    pub username_anonymity: bool,
}

impl Offers {
    /// Bit 0, "password algorithms", is the leftmost one.
    const PASSWORD_ALGORITHMS: u8 = 0x80;
    const USERNAME_ANONYMITY: u8 = 0x40;

    const fn to_bytes(self) -> [u8; OFFERS_LEN] {
        let anonymity = if self.username_anonymity { Self::USERNAME_ANONYMITY } else { 0 };
        [Self::PASSWORD_ALGORITHMS | anonymity, 0, 0]
    }
}

/// How long a nonce is accepted, in seconds.
const VALID_SECONDS: u64 = 3600;

/// How much the clock of the relay that made the nonce may be ahead, in seconds.
const SKEW_SECONDS: u64 = 300;

/// The nonce is too old, was made for another address, or by nobody who has the key: 438.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the nonce is stale")]
pub struct StaleNonce;

/// A client has received at the address that it sends from: a nonce of this fleet's came back. Only
/// [`Nonces::verify`] makes one, and nobody is looked up without ([`crate::Credentials::authenticate`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshNonce(());

/// Makes and checks nonces. The first key makes them, each key's are accepted.
#[derive(Clone)]
pub struct Nonces {
    keys: Vec<Hmac<Sha256>>,
    offers: Offers,
}

impl Nonces {
    /// Nonces under keys that are made of pieces of secret material, the newest first.
    pub(crate) fn new<'a>(material: impl IntoIterator<Item = &'a [u8]>, offers: Offers) -> Self {
        let keys = material.into_iter().map(|secret| {
            // The secret signs credentials too: what is handed out must not be a MAC under it.
            let mut key = keyed(secret);
            key.update(b"turnpike nonce key");
            #[expect(clippy::disallowed_methods, reason = "a key is made of it")]
            keyed(&key.finalize().into_bytes())
        });
        Self { keys: keys.collect(), offers }
    }

    /// Makes a nonce for a client: ASCII.
    #[must_use]
    pub fn issue(&self, client: SocketAddr, now: UnixSeconds) -> [u8; NONCE_LEN] {
        let offers = self.offers.to_bytes();
        let [a, b, c, d] = wire_time(now).to_be_bytes();
        let [e, f] = client.port().to_be_bytes();
        let stamp = [a, b, c, d, e, f];
        let mut raw = [0; RAW_LEN];
        raw[..STAMP_LEN].copy_from_slice(&stamp);
        if let Some(key) = self.keys.first() {
            #[expect(clippy::disallowed_methods, reason = "it is handed out")]
            let mac = over(key, offers, stamp, client.ip()).finalize().into_bytes();
            raw[STAMP_LEN..].copy_from_slice(&mac[..MAC_LEN]);
        }
        let mut text = [0; NONCE_LEN];
        text[..COOKIE.len()].copy_from_slice(COOKIE);
        // 3 bytes are exactly 4 characters and 15 bytes 20, so neither can fail.
        let _written = STANDARD_NO_PAD.encode_slice(offers, &mut text[COOKIE.len()..RAW_AT]);
        let _written = STANDARD_NO_PAD.encode_slice(raw, &mut text[RAW_AT..]);
        text
    }

    /// Checks a nonce that a client sent back.
    ///
    /// # Errors
    /// When it is too old, or not one of this fleet's for that address.
    pub fn verify(
        &self,
        nonce: &[u8],
        client: IpAddr,
        now: UnixSeconds,
    ) -> Result<FreshNonce, StaleNonce> {
        let (offers, raw) = decode(nonce)?;
        let (stamp, mac) = raw.split_first_chunk::<STAMP_LEN>().ok_or(StaleNonce)?;
        let [a, b, c, d, _, _] = *stamp;
        let issued = UnixSeconds(u32::from_be_bytes([a, b, c, d]).into());
        let young = issued.0 <= now.0.saturating_add(SKEW_SECONDS)
            && now.0.saturating_sub(issued.0) <= VALID_SECONDS;
        let ours = self
            .keys
            .iter()
            .any(|key| over(key, offers, *stamp, client).verify_truncated_left(mac).is_ok());
        if young && ours { Ok(FreshNonce(())) } else { Err(StaleNonce) }
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonces({} keys)", self.keys.len())
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
    <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("any key")
}

fn over(
    key: &Hmac<Sha256>,
    offers: [u8; OFFERS_LEN],
    stamp: [u8; STAMP_LEN],
    client: IpAddr,
) -> Hmac<Sha256> {
    let mut mac = key.clone();
    mac.update(&offers);
    mac.update(&stamp);
    match client.to_canonical() {
        IpAddr::V4(v4) => mac.update(&v4.octets()),
        IpAddr::V6(v6) => mac.update(&v6.octets()),
    }
    mac
}

/// The time on the wire: 32 bits of seconds reach to the year 2106.
fn wire_time(time: UnixSeconds) -> u32 {
    u32::try_from(time.0).unwrap_or(u32::MAX)
}

fn decode(nonce: &[u8]) -> Result<([u8; OFFERS_LEN], [u8; RAW_LEN]), StaleNonce> {
    let rest = nonce.strip_prefix(COOKIE).ok_or(StaleNonce)?;
    let (offers, rest) = rest.split_at_checked(OFFERS_TEXT_LEN).ok_or(StaleNonce)?;
    Ok((decode_exactly(offers)?, decode_exactly(rest)?))
}

fn decode_exactly<const LEN: usize>(text: &[u8]) -> Result<[u8; LEN], StaleNonce> {
    let mut bytes = [0; LEN];
    match STANDARD_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(len) if len == LEN => Ok(bytes),
        _ => Err(StaleNonce),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: Offers = Offers { username_anonymity: false };

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

    fn at(ip: &str, port: u16) -> SocketAddr {
        SocketAddr::new(self::ip(ip), port)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_nonce_is_taken_by_every_relay_that_has_the_secret_and_by_no_other() {
        let old = Nonces::new([&b"old"[..]], NAMED);
        let rotating = Nonces::new([&b"new"[..], b"old"], NAMED);
        let new = Nonces::new([&b"new"[..]], NAMED);
        let nonce = old.issue(at("192.0.2.1", 5000), NOW);
        assert_eq!(old.verify(&nonce, ip("192.0.2.1"), NOW), Ok(FreshNonce(())));
        assert_eq!(rotating.verify(&nonce, ip("192.0.2.1"), NOW), Ok(FreshNonce(())));
        assert_eq!(new.verify(&nonce, ip("192.0.2.1"), NOW), Err(StaleNonce));
        let nonce = rotating.issue(at("192.0.2.1", 5000), NOW);
        assert_eq!(new.verify(&nonce, ip("192.0.2.1"), NOW), Ok(FreshNonce(())));
    }

    #[test]
    fn a_nonce_is_bound_to_the_address_and_an_hour() {
        let nonces = Nonces::new([&b"secret"[..]], NAMED);
        let nonce = nonces.issue(at("192.0.2.1", 5000), NOW);
        let verify = |client, seconds: i64| {
            nonces.verify(&nonce, ip(client), UnixSeconds(NOW.0.saturating_add_signed(seconds)))
        };
        assert_eq!(verify("192.0.2.1", 3600), Ok(FreshNonce(())));
        assert_eq!(verify("192.0.2.1", 3601), Err(StaleNonce));
        assert_eq!(verify("192.0.2.1", -300), Ok(FreshNonce(())), "a clock that is behind");
        assert_eq!(verify("192.0.2.1", -301), Err(StaleNonce));
        assert_eq!(verify("192.0.2.2", 0), Err(StaleNonce));
        assert_eq!(
            verify("::ffff:192.0.2.1", 0),
            Ok(FreshNonce(())),
            "the same address, written otherwise"
        );
    }

    #[test]
    fn two_clients_of_one_address_get_two_nonces() {
        let nonces = Nonces::new([&b"secret"[..]], NAMED);
        let first = nonces.issue(at("192.0.2.1", 5000), NOW);
        let second = nonces.issue(at("192.0.2.1", 5001), NOW);
        assert_ne!(first, second);
        for nonce in [first, second] {
            assert_eq!(
                nonces.verify(&nonce, ip("192.0.2.1"), NOW),
                Ok(FreshNonce(())),
                "whatever the port"
            );
        }
    }

    #[test]
    fn a_changed_nonce_is_stale() {
        let nonces = Nonces::new([&b"secret"[..]], NAMED);
        let nonce = nonces.issue(at("2001:db8::1", 5000), NOW);
        for index in 0..nonce.len() {
            let mut changed = nonce;
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(nonces.verify(&changed, ip("2001:db8::1"), NOW), Err(StaleNonce));
        }
        for text in [&b""[..], b"x", &[0; NONCE_LEN], &nonce[1..]] {
            assert_eq!(nonces.verify(text, ip("2001:db8::1"), NOW), Err(StaleNonce));
        }
    }
}
