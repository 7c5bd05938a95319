//! The credentials that are active at a moment.

use std::fmt;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    LongTermKey, Nonces, Secret, UnixSeconds,
    time_limited::{password, split},
};

/// All that a relay accepts: secrets of time-limited credentials, and static users.
#[derive(Clone)]
pub struct Credentials {
    realm: String,
    secrets: Vec<Secret>,
    // The keys are the operator's, not an attacker's, so a fixed state is no way in.
    users: HashMap<String, LongTermKey, FixedState>,
    nonces: Nonces,
}

/// Where a user's key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A time-limited credential. What is allocated with it may go on after it ends, and after its
    /// secret was rotated away: clients cannot change the credential of an allocation.
    TimeLimited,
    /// A static user: goes on only as long as the user is there with the same password.
    Static,
}

/// A client that has proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// Whom quotas are charged to: the name of a static user, or what follows the expiry in a
    /// time-limited name.
    pub user: String,
    /// The key that the client signs with.
    pub key: LongTermKey,
    /// Where the key comes from.
    pub origin: Origin,
}

impl Credentials {
    /// The credentials of a realm: secrets newest first, static users with their passwords.
    pub fn new<'a>(
        realm: &str,
        secrets: Vec<Secret>,
        users: impl IntoIterator<Item = (&'a str, &'a Secret)>,
    ) -> Self {
        let users: HashMap<_, _, FixedState> = users
            .into_iter()
            .map(|(name, password)| {
                let key = LongTermKey::derive(name.as_bytes(), realm.as_bytes(), password.expose());
                (name.to_owned(), key)
            })
            .collect();
        let nonces = nonces(&secrets, &users);
        Self { realm: realm.to_owned(), secrets, users, nonces }
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The nonces that go with these credentials.
    #[must_use]
    pub const fn nonces(&self) -> &Nonces {
        &self.nonces
    }

    /// Finds the user whose key `verify` accepts. `None` for an unknown user as for a wrong password
    /// or an ended credential; each name is tried against at least one key, so that the time it
    /// takes does not tell which.
    pub fn authenticate(
        &self,
        username: &str,
        now: UnixSeconds,
        mut verify: impl FnMut(&LongTermKey) -> bool,
    ) -> Option<Authenticated> {
        if let Some(key) = self.users.get(username) {
            let user = username.to_owned();
            return verify(key).then_some(Authenticated {
                user,
                key: *key,
                origin: Origin::Static,
            });
        }
        let Some((expiry, user)) = split(username).filter(|_| !self.secrets.is_empty()) else {
            let nobody = LongTermKey::derive(username.as_bytes(), self.realm.as_bytes(), b"");
            let _always_refused = verify(&nobody);
            return None;
        };
        let key = self.secrets.iter().map(|secret| self.key(secret, username)).find(&mut verify)?;
        (now < expiry).then(|| Authenticated {
            user: user.to_owned(),
            key,
            origin: Origin::TimeLimited,
        })
    }

    /// Whether a static user of this name still has this key.
    #[must_use]
    pub fn still_has(&self, username: &str, key: &LongTermKey) -> bool {
        self.users.get(username) == Some(key)
    }

    fn key(&self, secret: &Secret, username: &str) -> LongTermKey {
        let password = password(secret, username.as_bytes());
        LongTermKey::derive(username.as_bytes(), self.realm.as_bytes(), password.as_bytes())
    }
}

/// The nonces are keyed by the shared secrets; where there is none, by all the users' keys, in the
/// order of their names.
fn nonces(secrets: &[Secret], users: &HashMap<String, LongTermKey, FixedState>) -> Nonces {
    if !secrets.is_empty() {
        return Nonces::new(secrets.iter().map(Secret::expose));
    }
    let mut sorted: Vec<_> = users.iter().collect();
    sorted.sort_by_key(|(name, _)| name.as_str());
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(b"turnpike users").expect("any key");
    for (_, key) in sorted {
        mac.update(key.as_bytes());
    }
    Nonces::new([&mac.finalize().into_bytes()[..]])
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("realm", &self.realm)
            .field("secrets", &self.secrets.len())
            .field("users", &self.users.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TimeLimitedCredential;

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

    fn secret(text: &str) -> Secret {
        Secret::from_file(text.as_bytes()).expect("not empty")
    }

    fn credentials() -> Credentials {
        let password = secret("pass");
        Credentials::new("realm", vec![secret("new"), secret("old")], [("bob", &password)])
    }

    /// Authenticates a client that signs with `password`.
    fn check(username: &str, password: &str) -> Option<(String, Origin)> {
        let key = LongTermKey::derive(username.as_bytes(), b"realm", password.as_bytes());
        credentials()
            .authenticate(username, NOW, |candidate| *candidate == key)
            .map(|found| (found.user, found.origin))
    }

    #[test]
    fn every_active_secret_lets_in_and_no_other() {
        for (name, expected) in [("new", true), ("old", true), ("gone", false)] {
            let minted =
                TimeLimitedCredential::mint(&secret(name), "alice", UnixSeconds(NOW.0 + 1));
            let found = check(&minted.username, &minted.password);
            let alice = Some(("alice".to_owned(), Origin::TimeLimited));
            assert_eq!(found, alice.filter(|_| expected), "{name}");
        }
    }

    #[test]
    fn a_credential_ends_at_its_expiry() {
        let minted = TimeLimitedCredential::mint(&secret("new"), "alice", NOW);
        assert_eq!(check(&minted.username, &minted.password), None);
    }

    #[test]
    fn a_static_user_needs_its_own_password() {
        assert_eq!(check("bob", "pass"), Some(("bob".to_owned(), Origin::Static)));
        assert_eq!(check("bob", "other"), None);
        assert_eq!(check("eve", "pass"), None);
        assert_eq!(check("eve", ""), None, "not even with what unknown users are tried against");
    }

    #[test]
    fn nothing_secret_is_printed() {
        let text = format!("{:?} {:?}", credentials(), secret("sesame"));
        assert!(!text.contains("sesame") && !text.contains("pass") && !text.contains("old"));
    }
}
