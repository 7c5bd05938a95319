//! Cookies: what shows that a client receives at its address, with nothing kept of it.
//!
//! The cookie is how much padding the hello had, and a MAC over the client's address and the hello. The
//! crate that speaks DTLS makes and
//! checks a cookie of its own, with a key that it keeps for each association: too late for us. So it
//! is given the first hello anew once the client has brought its cookie back, and where it asks for
//! the MAC over the client's random number, it gets the cookie that was checked here.

use std::{
    cell::Cell,
    net::SocketAddr,
    time::{Duration, Instant},
};

use dimpl::{
    CryptoError, HashAlgorithm,
    crypto::{HmacProvider, aws_lc_rs::default_provider},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::hello::{ClientHello, Version};

/// A cookie is good in the epoch that it is given in, and in the next one.
const EPOCH: Duration = Duration::from_secs(30);

/// Stands in a cookie for a hello without padding: more than a datagram holds.
const NO_PADDING: u16 = u16::MAX;

/// What cookies are made with, and checked.
pub(crate) struct Cookies {
    keyed: Hmac<Sha256>,
    start: Instant,
}

impl Cookies {
    pub(crate) fn new(key: [u8; 32], start: Instant) -> Self {
        // A block of HMAC-SHA256 is twice as long as the key; zeros fill it up.
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(&key);
        Self { keyed: Hmac::new(&block.into()), start }
    }

    /// The cookie for a client that has sent a hello.
    pub(crate) fn issue(
        &self,
        now: Instant,
        client: SocketAddr,
        hello: &ClientHello<'_>,
    ) -> [u8; 32] {
        self.cookie(self.epoch(now), client, hello, hello.padding)
    }

    /// The cookie that a hello brings, if it is one that its client was given.
    pub(crate) fn verify(
        &self,
        now: Instant,
        client: SocketAddr,
        hello: &ClientHello<'_>,
    ) -> Option<[u8; 32]> {
        let cookie: [u8; 32] = hello.cookie?.try_into().ok()?;
        let padding = padding(&cookie);
        if padding.is_some_and(|len| usize::from(len) > hello.len()) {
            // The first hello was no longer than this one.
            return None;
        }
        let epoch = self.epoch(now);
        let is_good = |epoch| {
            let expected = self.cookie(epoch, client, hello, padding);
            bool::from(expected.ct_eq(&cookie))
        };
        (is_good(epoch) || epoch.checked_sub(1).is_some_and(is_good)).then_some(cookie)
    }

    fn cookie(
        &self,
        epoch: u64,
        client: SocketAddr,
        hello: &ClientHello<'_>,
        padding: Option<u16>,
    ) -> [u8; 32] {
        #[expect(clippy::disallowed_methods, reason = "it is sent, and compared by ct_eq")]
        let mut cookie: [u8; 32] =
            self.mac(epoch, client, hello, padding).finalize().into_bytes().into();
        cookie[..2].copy_from_slice(&padding.unwrap_or(NO_PADDING).to_be_bytes());
        cookie
    }

    fn epoch(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / EPOCH.as_secs()
    }

    fn mac(
        &self,
        epoch: u64,
        client: SocketAddr,
        hello: &ClientHello<'_>,
        padding: Option<u16>,
    ) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        mac.update(&epoch.to_be_bytes());
        match client.ip() {
            std::net::IpAddr::V4(v4) => mac.update(&v4.octets()),
            std::net::IpAddr::V6(v6) => mac.update(&v6.octets()),
        }
        mac.update(&client.port().to_be_bytes());
        match hello.version {
            // Of the first hello nothing else is needed later.
            Version::V12 => mac.update(&hello.random),
            // The first hello goes into the handshake's hash: it is made from the second one.
            Version::V13 { suite } => {
                mac.update(&suite.to_be_bytes());
                mac.update(&hello.body_without_cookie(padding));
            }
        }
        mac
    }
}

/// How much padding the first hello had, as its cookie says.
pub(crate) fn padding(cookie: &[u8; 32]) -> Option<u16> {
    let len = u16::from_be_bytes([cookie[0], cookie[1]]);
    (len != NO_PADDING).then_some(len)
}

thread_local! {
    /// A client's random number, and the cookie that stands for the MAC over it.
    static VERIFIED: Cell<Option<([u8; 32], [u8; 32])>> = const { Cell::new(None) };
}

/// Does something during which the MAC over `random` is `cookie`.
pub(crate) fn while_verified<T>(
    random: [u8; 32],
    cookie: [u8; 32],
    action: impl FnOnce() -> T,
) -> T {
    VERIFIED.set(Some((random, cookie)));
    let result = action();
    VERIFIED.set(None);
    result
}

/// HMAC as everybody has it, but for the cookies that have been verified already.
#[derive(Debug)]
pub(crate) struct CookieMac;

pub(crate) static COOKIE_MAC: CookieMac = CookieMac;

impl HmacProvider for CookieMac {
    fn hmac(
        &self,
        hash: HashAlgorithm,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        match (VERIFIED.get(), out.first_chunk_mut()) {
            (Some((random, cookie)), Some(place)) if data == random => {
                *place = cookie;
                Ok(cookie.len())
            }
            _ => default_provider().hmac_provider.hmac(hash, key, data, out),
        }
    }
}
