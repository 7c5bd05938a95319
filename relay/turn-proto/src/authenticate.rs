//! The long-term credential mechanism of a server (RFC 8489, section 9.2.4).

use turn_auth::{Authenticated, Credentials, LongTermKey, Origin, UnixSeconds};
use turn_wire::{
    Message,
    attribute::{Nonce, Realm, Username},
};

use crate::{FiveTuple, Refusal, allocation::Allocation, reply::Signature};

/// A client that has proved who it is, for one request.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) user: String,
    pub(crate) username: String,
    pub(crate) key: LongTermKey,
    pub(crate) origin: Origin,
    pub(crate) signature: Signature,
}

/// Judges who sent a request. Nothing is looked up by name before the nonce has shown that the
/// client receives at the address that it sends from.
pub(crate) fn authenticate(
    credentials: &Credentials,
    message: &Message<'_>,
    from: &FiveTuple,
    allocation: Option<&Allocation>,
    now: UnixSeconds,
) -> Result<Proof, Refusal> {
    let signature = match (message.has_integrity_sha256(), message.has_integrity()) {
        (true, _) => Signature::Sha256,
        (false, true) => Signature::Sha1,
        (false, false) => return Err(Refusal::Unauthenticated),
    };
    let (username, nonce) = named(message)?;
    credentials
        .nonces()
        .verify(nonce, from.client.0.ip(), now)
        .map_err(|_stale| Refusal::StaleNonce)?;
    let verify = |key: &LongTermKey| match signature {
        Signature::Sha1 => message.verify_integrity(key.as_bytes()),
        Signature::Sha256 => message.verify_integrity_sha256(key.as_bytes()),
    };
    if let Some(allocation) = allocation
        && let Some(key) = kept_key(credentials, allocation, username)
        && verify(&key)
    {
        return Ok(Proof {
            user: allocation.user.clone(),
            username: username.to_owned(),
            key,
            origin: allocation.origin,
            signature,
        });
    }
    let Authenticated { user, key, origin } =
        credentials.authenticate(username, now, verify).ok_or(Refusal::Unauthenticated)?;
    Ok(Proof { user, username: username.to_owned(), key, origin, signature })
}

/// The name and the nonce. What is signed but lacks one of them, or the realm, is a bad request.
fn named<'a>(message: &Message<'a>) -> Result<(&'a str, &'a [u8]), Refusal> {
    let bad = Refusal::BadRequest;
    let username = message.get::<Username<'_>>().map_err(|_| bad)?.ok_or(bad)?;
    let nonce = message.get::<Nonce<'_>>().map_err(|_| bad)?.ok_or(bad)?;
    message.get::<Realm<'_>>().map_err(|_| bad)?.ok_or(bad)?;
    // A name that is not UTF-8 is nobody's.
    let username = std::str::from_utf8(username.0).map_err(|_| Refusal::Unauthenticated)?;
    Ok((username, nonce.0))
}

/// The key that the allocation was made with. A client cannot change the credential of an
/// allocation, so a time-limited one goes on after its end; a static user has to be there still.
fn kept_key(
    credentials: &Credentials,
    allocation: &Allocation,
    username: &str,
) -> Option<LongTermKey> {
    let goes_on = match allocation.origin {
        Origin::TimeLimited => true,
        Origin::Static => credentials.still_has(username, &allocation.key),
    };
    (goes_on && allocation.username == username).then_some(allocation.key)
}
