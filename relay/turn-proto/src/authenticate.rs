//! The long-term credential mechanism of a server (RFC 8489, section 9.2.4).

use std::sync::Arc;

use turn_auth::{Authenticated, Credentials, Identity, LongTermKey, Origin, UnixSeconds};
use turn_wire::{
    Message,
    attribute::{Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, Userhash, Username},
};

use crate::{FiveTuple, Refusal, reply::Signature};

/// A client that has proved who it is, for one request.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) client: Arc<Authenticated>,
    /// What its answer is signed with.
    pub(crate) signature: Signature,
}

/// Judges who sent a request. Nothing is looked up by name before the nonce has shown that the
/// client receives at the address that it sends from. `kept` is who made what the request is about.
pub(crate) fn authenticate(
    credentials: &Credentials,
    message: &Message<'_>,
    from: &FiveTuple,
    kept: Option<&Arc<Authenticated>>,
    now: UnixSeconds,
) -> Result<Proof, Refusal> {
    // Who signs both ways is judged by the better one (RFC 8489, section 9.2.4).
    let signature = match (message.has_integrity_sha256(), message.has_integrity()) {
        (true, _) => Signature::Sha256,
        (false, true) => Signature::Sha1,
        (false, false) => return Err(Refusal::Unauthenticated),
    };
    let claim = Claim::of(message)?;
    let fresh = credentials
        .nonces()
        .verify(claim.nonce, from.client.0.ip(), now)
        .map_err(|_stale| Refusal::StaleNonce)?;
    let (algorithm, is_named) = password_algorithm(message)?;
    // SHA-256 is for whom that means something: who names an algorithm (RFC 8489, section 9.2.4), and
    // has shown that it can sign so. Others could not check the answer.
    let answered = if is_named { signature } else { Signature::Sha1 };
    let identity = claim.identity()?;
    let verify = |key: &LongTermKey| match signature {
        Signature::Sha1 => message.verify_integrity(key.as_bytes()),
        Signature::Sha256 => message.verify_integrity_sha256(key.as_bytes()),
    };
    if let Some(kept) = kept
        && let Some(key) = kept_key(credentials, kept, identity)
        && key.algorithm() == algorithm
        && verify(&key)
    {
        return Ok(Proof { client: Arc::clone(kept), signature: answered });
    }
    let client = credentials
        .authenticate(fresh, identity, algorithm, now, verify)
        .ok_or(Refusal::Unauthenticated)?;
    Ok(Proof { client: Arc::new(client), signature: answered })
}

/// Who a request says it is from.
struct Claim<'a> {
    /// USERNAME.
    name: Option<&'a [u8]>,
    /// USERHASH.
    hash: Option<[u8; 32]>,
    nonce: &'a [u8],
}

impl<'a> Claim<'a> {
    /// What is signed but lacks one of these, or the realm, is a bad request.
    fn of(message: &Message<'a>) -> Result<Self, Refusal> {
        let bad = Refusal::BadRequest;
        let name = message.get::<Username<'_>>().map_err(|_| bad)?.map(|name| name.0);
        let hash = message.get::<Userhash>().map_err(|_| bad)?.map(|hash| hash.0);
        let nonce = message.get::<Nonce<'_>>().map_err(|_| bad)?.ok_or(bad)?.0;
        message.get::<Realm<'_>>().map_err(|_| bad)?.ok_or(bad)?;
        if name.is_none() && hash.is_none() {
            return Err(bad);
        }
        Ok(Self { name, hash, nonce })
    }

    /// A name that is not UTF-8 is nobody's.
    fn identity(&self) -> Result<Identity<'_>, Refusal> {
        let nobody = Refusal::Unauthenticated;
        match (self.name, &self.hash) {
            (Some(name), _) => str::from_utf8(name).map(Identity::Name).map_err(|_| nobody),
            (None, Some(hash)) => Ok(Identity::Hash(hash)),
            (None, None) => Err(nobody),
        }
    }
}

/// How the client made its key, and whether it says so (RFC 8489, section 9.2.4). Each of our nonces
/// offers a choice, so a client that says which it took says also what it was offered: were the offer
/// changed on its way, it shows here.
fn password_algorithm(
    message: &Message<'_>,
) -> Result<(turn_auth::PasswordAlgorithm, bool), Refusal> {
    let bad = Refusal::BadRequest;
    let offered = message.get::<PasswordAlgorithms<'_>>().map_err(|_| bad)?;
    let chosen = message.get::<PasswordAlgorithm<'_>>().map_err(|_| bad)?;
    match (offered, chosen) {
        (None, None) => Ok((turn_auth::PasswordAlgorithm::Md5, false)),
        (Some(offered), Some(chosen)) if offered == PasswordAlgorithms::default() => {
            let chosen = turn_auth::PasswordAlgorithm::from_number(chosen.algorithm);
            Ok((chosen.ok_or(bad)?, true))
        }
        _ => Err(bad),
    }
}

/// The key that the allocation was made with. A client cannot change the credential of an
/// allocation, so a time-limited one goes on after its end, a prober's excepted, which has a new one
/// for each probe; a static user has to be there still.
fn kept_key(
    credentials: &Credentials,
    kept: &Authenticated,
    identity: Identity<'_>,
) -> Option<LongTermKey> {
    let username = &kept.username;
    let goes_on = match kept.origin {
        Origin::TimeLimited => true,
        Origin::Probe => false,
        Origin::Static => credentials.still_has(username, &kept.key),
    };
    let same = match identity {
        Identity::Name(name) => name == username,
        Identity::Hash(hash) => credentials.is_hash_of(hash, username),
    };
    (goes_on && same).then_some(kept.key)
}
