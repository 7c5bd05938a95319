//! Who sent a request: the long-term credential mechanism, judged a second time.

use std::{collections::BTreeMap, net::IpAddr};

use turn_auth::{LongTermKey, PasswordAlgorithm, TimeLimitedCredential, UnixSeconds};
use turn_wire::{
    Message,
    attribute::{self, Nonce, PasswordAlgorithms, Realm, Userhash, Username},
};

use super::promise::Promise;
use crate::rules::{REALM, Rules, secret};

/// How long a nonce is taken, in seconds.
const NONCE_SECONDS: u64 = 3600;

/// Nonces that were given out.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    issued: BTreeMap<Vec<u8>, Issued>,
}

#[derive(Debug)]
struct Issued {
    to: IpAddr,
    at: UnixSeconds,
    generation: u8,
}

impl Nonces {
    pub(crate) fn note(&mut self, nonce: &[u8], to: IpAddr, at: UnixSeconds, rules: &Rules) {
        let generation = rules.generations.first().copied().unwrap_or_default();
        self.issued.insert(nonce.to_vec(), Issued { to, at, generation });
    }

    fn is_good(&self, nonce: &[u8], from: IpAddr, now: UnixSeconds, rules: &Rules) -> bool {
        self.issued.get(nonce).is_some_and(|issued| {
            issued.to == from
                && now.0 - issued.at.0 <= NONCE_SECONDS
                && rules.generations.contains(&issued.generation)
        })
    }
}

/// Who sent a request.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// Nobody known: the error code.
    Nobody(u16),
    Known(Identity),
}

/// Somebody who has proved who he is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) user: String,
    pub(crate) username: Vec<u8>,
    pub(crate) key: LongTermKey,
    /// Whether it is answered with MESSAGE-INTEGRITY-SHA256: it has named an algorithm.
    pub(crate) sha256: bool,
}

/// What the judgement is made on, beside the message.
pub(crate) struct Context<'a> {
    pub(crate) nonces: &'a Nonces,
    pub(crate) rules: &'a Rules,
    /// What is there for the five-tuple.
    pub(crate) promise: Option<&'a Promise>,
    pub(crate) from: IpAddr,
    pub(crate) now: UnixSeconds,
}

/// Judges who sent a request (RFC 8489, section 9.2.4).
pub(crate) fn standing(message: &Message<'_>, context: &Context<'_>) -> Standing {
    judge(message, context).map_or_else(Standing::Nobody, Standing::Known)
}

fn judge(message: &Message<'_>, context: &Context<'_>) -> Result<Identity, u16> {
    let sha256 = message.has_integrity_sha256();
    if !sha256 && !message.has_integrity() {
        return Err(401);
    }
    let name = message.get::<Username<'_>>().map_err(|_| 400_u16)?.map(|name| name.0);
    let hash = message.get::<Userhash>().map_err(|_| 400_u16)?;
    let nonce = message.get::<Nonce<'_>>().map_err(|_| 400_u16)?.ok_or(400_u16)?;
    message.get::<Realm<'_>>().map_err(|_| 400_u16)?.ok_or(400_u16)?;
    if name.is_none() && hash.is_none() {
        return Err(400);
    }
    if !context.nonces.is_good(nonce.0, context.from, context.now, context.rules) {
        return Err(438);
    }
    let algorithm = algorithm(message)?;
    let names_algorithm = message.has::<attribute::PasswordAlgorithm<'_>>();
    // Nobody here has a name that a hash could stand for: all credentials end.
    let name = name.ok_or(401_u16)?;
    let verify = |key: &LongTermKey| {
        if sha256 {
            message.verify_integrity_sha256(key.as_bytes())
        } else {
            message.verify_integrity(key.as_bytes())
        }
    };
    if let Some(promise) = context.promise
        && promise.username == name
        && promise.key.algorithm() == algorithm
        && verify(&promise.key)
    {
        let (user, key) = (promise.user.clone(), promise.key);
        return Ok(Identity { user, username: name.to_vec(), key, sha256: names_algorithm });
    }
    let (user, key) = minted(name, algorithm, context, verify).ok_or(401_u16)?;
    Ok(Identity { user, username: name.to_vec(), key, sha256: names_algorithm })
}

fn algorithm(message: &Message<'_>) -> Result<PasswordAlgorithm, u16> {
    let offered = message.get::<PasswordAlgorithms<'_>>().map_err(|_| 400_u16)?;
    let chosen = message.get::<attribute::PasswordAlgorithm<'_>>().map_err(|_| 400_u16)?;
    match (offered, chosen) {
        (None, None) => Ok(PasswordAlgorithm::Md5),
        (Some(offered), Some(chosen)) if offered == PasswordAlgorithms::default() => {
            PasswordAlgorithm::from_number(chosen.algorithm).ok_or(400)
        }
        _ => Err(400),
    }
}

/// The user of a time-limited name that has not ended, and the key that a secret makes for it.
fn minted(
    name: &[u8],
    algorithm: PasswordAlgorithm,
    context: &Context<'_>,
    verify: impl Fn(&LongTermKey) -> bool,
) -> Option<(String, LongTermKey)> {
    let (expiry, user) = std::str::from_utf8(name).ok()?.split_once(':')?;
    let expiry = UnixSeconds(expiry.parse().ok()?);
    let key = context.rules.generations.iter().find_map(|generation| {
        let minted = TimeLimitedCredential::mint(&secret(*generation), user, expiry);
        let password = minted.password.as_bytes();
        let key = LongTermKey::derive(algorithm, name, REALM.as_bytes(), password);
        (minted.username.as_bytes() == name && verify(&key)).then_some(key)
    })?;
    (context.now < expiry).then(|| (user.to_owned(), key))
}
