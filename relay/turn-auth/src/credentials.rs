//! The credentials that are active at a moment.

use std::{borrow::Cow, fmt};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    CredentialHash, FreshNonce, LongTermKey, Nonces, Offers, PasswordAlgorithm, Secret,
    UnixSeconds,
    key::userhash,
    opaque::prepared,
    time_limited::{is_probe_user, password, probe_password, split},
};

/// All that a relay accepts: secrets of time-limited credentials, and static users.
#[derive(Clone)]
pub struct Credentials {
    realm: String,
    secrets: Vec<Secret>,
    hashes: Vec<CredentialHash>,
    users: Users,
    nonces: Nonces,
}

/// Users with passwords that do not end.
#[derive(Clone, Default)]
struct Users {
    // The keys are the operator's, not an attacker's, so a fixed state is no way in.
    keys: HashMap<String, Keys, FixedState>,
    /// Their names, by what stands for them in USERHASH.
    by_hash: HashMap<[u8; 32], String, FixedState>,
}

/// The keys of one user, one for each way to make them.
#[derive(Clone, PartialEq, Eq)]
struct Keys {
    md5: LongTermKey,
    sha256: LongTermKey,
}

impl Keys {
    const fn get(&self, algorithm: PasswordAlgorithm) -> &LongTermKey {
        match algorithm {
            PasswordAlgorithm::Md5 => &self.md5,
            PasswordAlgorithm::Sha256 => &self.sha256,
        }
    }
}

impl Users {
    /// Users of a realm, with their passwords.
    fn new<'a>(realm: &str, users: impl IntoIterator<Item = (&'a str, &'a Secret)>) -> Self {
        let mut found = Self::default();
        for (name, password) in users {
            let name = prepared(name);
            let password = str::from_utf8(password.expose()).map_or_else(
                |_| Cow::Borrowed(password.expose()),
                |text| match prepared(text) {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                },
            );
            let derive = |algorithm| {
                LongTermKey::derive(algorithm, name.as_bytes(), realm.as_bytes(), &password)
            };
            let keys = Keys {
                md5: derive(PasswordAlgorithm::Md5),
                sha256: derive(PasswordAlgorithm::Sha256),
            };
            let hash = userhash(name.as_bytes(), realm.as_bytes());
            found.by_hash.insert(hash, name.clone().into_owned());
            found.keys.insert(name.into_owned(), keys);
        }
        found
    }
}

/// How a client names itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity<'a> {
    /// USERNAME.
    Name(&'a str),
    /// USERHASH.
    Hash(&'a [u8; 32]),
}

/// Where a user's key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A time-limited credential. What is allocated with it may go on after it ends, and after its
    /// secret was rotated away: clients cannot change the credential of an allocation.
    TimeLimited,
    /// A prober's time-limited credential: what is allocated with it relays to the prober alone, and
    /// ends with it. A probe is over in seconds, and begins anew with a credential of its own.
    Probe,
    /// A static user: goes on only as long as the user is there with the same password.
    Static,
}

/// A client that has proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// Whom quotas are charged to: the name of a static user, or what follows the expiry in a
    /// time-limited name.
    pub user: String,
    /// What the client is called in USERNAME.
    pub username: String,
    /// The key that the client signs with.
    pub key: LongTermKey,
    /// Where the key comes from.
    pub origin: Origin,
}

impl Credentials {
    /// The credentials of a realm: secrets newest first, static users with their passwords. Names
    /// and passwords are prepared as RFC 8265 says (OpaqueString), as clients have to.
    pub fn new<'a>(
        realm: &str,
        secrets: Vec<Secret>,
        users: impl IntoIterator<Item = (&'a str, &'a Secret)>,
    ) -> Self {
        let realm = prepared(realm).into_owned();
        let users = Users::new(&realm, users);
        let nonces = nonces(&secrets, &users);
        Self { realm, secrets, hashes: vec![CredentialHash::Sha1], users, nonces }
    }

    /// Takes time-limited credentials under each of these hashes, in place of SHA-1 alone.
    #[must_use]
    pub fn with_hashes(self, hashes: Vec<CredentialHash>) -> Self {
        Self { hashes, ..self }
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
    ///
    /// A hash names a static user only: which time-limited names there are, nobody knows.
    ///
    /// Who has not shown a fresh nonce can learn nothing from it, since it cannot be asked:
    ///
    /// ```compile_fail,E0423
    /// let forged = turn_auth::FreshNonce(());
    /// ```
    pub fn authenticate(
        &self,
        _fresh: FreshNonce,
        identity: Identity<'_>,
        algorithm: PasswordAlgorithm,
        now: UnixSeconds,
        mut verify: impl FnMut(&LongTermKey) -> bool,
    ) -> Option<Authenticated> {
        let username = match identity {
            Identity::Name(name) => name,
            Identity::Hash(hash) => self.users.by_hash.get(hash).map_or("", String::as_str),
        };
        let named = split(username);
        let is_reserved = named.is_some_and(|(_, user)| is_probe_user(user));
        if let Some(keys) = self.users.keys.get(username).filter(|_| !is_reserved) {
            let key = *keys.get(algorithm);
            return verify(&key).then(|| Authenticated {
                user: username.to_owned(),
                username: username.to_owned(),
                key,
                origin: Origin::Static,
            });
        }
        let Some((expiry, user)) = named.filter(|_| !self.secrets.is_empty()) else {
            let nobody = self.key(algorithm, username, "");
            let _always_refused = verify(&nobody);
            return None;
        };
        let (key, origin) = if is_reserved {
            (self.probe_keys(algorithm, username).find(&mut verify)?, Origin::Probe)
        } else {
            (self.time_limited_keys(algorithm, username).find(&mut verify)?, Origin::TimeLimited)
        };
        (now < expiry).then(|| Authenticated {
            user: user.to_owned(),
            username: username.to_owned(),
            key,
            origin,
        })
    }

    /// Whether a static user of this name still has this key.
    #[must_use]
    pub fn still_has(&self, username: &str, key: &LongTermKey) -> bool {
        self.users.keys.get(username).is_some_and(|keys| keys.get(key.algorithm()) == key)
    }

    /// Whether a hash stands for a name, in this realm.
    #[must_use]
    pub fn is_hash_of(&self, hash: &[u8; 32], username: &str) -> bool {
        userhash(username.as_bytes(), self.realm.as_bytes()) == *hash
    }

    /// The keys that a time-limited name may have: one for each secret and hash.
    fn time_limited_keys(
        &self,
        algorithm: PasswordAlgorithm,
        username: &str,
    ) -> impl Iterator<Item = LongTermKey> {
        let pairs = self.secrets.iter().flat_map(move |secret| {
            self.hashes.iter().map(move |hash| password(*hash, secret, username.as_bytes()))
        });
        pairs.map(move |password| self.key(algorithm, username, &password))
    }

    /// The keys that a prober's name may have: one for each secret, whatever hashes are taken.
    fn probe_keys(
        &self,
        algorithm: PasswordAlgorithm,
        username: &str,
    ) -> impl Iterator<Item = LongTermKey> {
        let passwords =
            self.secrets.iter().map(|secret| probe_password(secret, username.as_bytes()));
        passwords.map(move |password| self.key(algorithm, username, &password))
    }

    fn key(&self, algorithm: PasswordAlgorithm, username: &str, password: &str) -> LongTermKey {
        let (name, realm) = (username.as_bytes(), self.realm.as_bytes());
        LongTermKey::derive(algorithm, name, realm, password.as_bytes())
    }
}

/// The nonces are keyed by the shared secrets; where there is none, by all the users' keys, in the
/// order of their names. Where all users are known, they may name themselves by a hash.
fn nonces(secrets: &[Secret], users: &Users) -> Nonces {
    let offers = Offers { username_anonymity: secrets.is_empty() };
    if !secrets.is_empty() {
        return Nonces::new(secrets.iter().map(Secret::expose), offers);
    }
    let mut sorted: Vec<_> = users.keys.iter().collect();
    sorted.sort_by_key(|(name, _)| name.as_str());
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(b"turnpike users").expect("any key");
    for (_, keys) in sorted {
        mac.update(keys.md5.as_bytes());
    }
    #[expect(clippy::disallowed_methods, reason = "a key is made of it")]
    let material = mac.finalize().into_bytes();
    Nonces::new([&material[..]], offers)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("realm", &self.realm)
            .field("secrets", &self.secrets.len())
            .field("users", &self.users.keys.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

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
        check_with(
            &credentials(),
            Identity::Name(username),
            PasswordAlgorithm::Md5,
            username,
            password,
        )
    }

    fn check_with(
        credentials: &Credentials,
        identity: Identity<'_>,
        algorithm: PasswordAlgorithm,
        username: &str,
        password: &str,
    ) -> Option<(String, Origin)> {
        let (name, password) = (username.as_bytes(), password.as_bytes());
        let key = LongTermKey::derive(algorithm, name, b"realm", password);
        let from = SocketAddr::from(([192, 0, 2, 1], 5000));
        let nonce = credentials.nonces().issue(from, NOW);
        let fresh = credentials.nonces().verify(&nonce, from.ip(), NOW).expect("fresh");
        credentials
            .authenticate(fresh, identity, algorithm, NOW, |candidate| *candidate == key)
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
    fn a_reserved_name_is_let_in_with_the_password_of_a_probe_alone() {
        let expires_at = UnixSeconds(NOW.0 + 1);
        let probe = Some(("turnpike-probe:node-1".to_owned(), Origin::Probe));
        for (name, expected) in [("new", true), ("old", true), ("gone", false)] {
            let minted = TimeLimitedCredential::mint_for_probe(&secret(name), "node-1", expires_at);
            let found = check(&minted.username, &minted.password);
            assert_eq!(found, probe.clone().filter(|_| expected), "{name}");
        }
        let over = TimeLimitedCredential::mint_for_probe(&secret("new"), "node-1", NOW);
        assert_eq!(check(&over.username, &over.password), None);
        let both = vec![CredentialHash::Sha1, CredentialHash::Sha256];
        let credentials = credentials().with_hashes(both.clone());
        for hash in both {
            let user = "turnpike-probe:node-1";
            let minted = TimeLimitedCredential::mint_with(hash, &secret("new"), user, expires_at);
            let (name, password) = (&minted.username, &minted.password);
            let identity = Identity::Name(name);
            let algorithm = PasswordAlgorithm::Md5;
            assert_eq!(check_with(&credentials, identity, algorithm, name, password), None);
        }
    }

    #[test]
    fn the_password_of_a_probe_is_good_for_no_other_name() {
        let minted =
            TimeLimitedCredential::mint_for_probe(&secret("new"), "a", UnixSeconds(NOW.0 + 1));
        let expiry = NOW.0 + 1;
        for name in [format!("{expiry}:turnpike-probe:b"), format!("{expiry}:alice")] {
            assert_eq!(check(&name, &minted.password), None, "{name}");
        }
    }

    #[test]
    fn where_there_is_no_secret_a_reserved_name_is_nobodys() {
        let (name, password) = ("1700000001:turnpike-probe:a", secret("pass"));
        let credentials = Credentials::new("realm", Vec::new(), [(name, &password)]);
        let identity = Identity::Name(name);
        let found = check_with(&credentials, identity, PasswordAlgorithm::Md5, name, "pass");
        assert_eq!(found, None);
    }

    #[test]
    fn a_static_user_needs_its_own_password() {
        assert_eq!(check("bob", "pass"), Some(("bob".to_owned(), Origin::Static)));
        assert_eq!(check("bob", "other"), None);
        assert_eq!(check("eve", "pass"), None);
        assert_eq!(check("eve", ""), None, "not even with what unknown users are tried against");
    }

    #[test]
    fn a_key_of_sha_256_lets_in_as_one_of_md5_does() {
        let check = |name, password| {
            let identity = Identity::Name(name);
            check_with(&credentials(), identity, PasswordAlgorithm::Sha256, name, password)
        };
        assert_eq!(check("bob", "pass"), Some(("bob".to_owned(), Origin::Static)));
        assert_eq!(check("bob", "other"), None);
        let minted = TimeLimitedCredential::mint(&secret("old"), "alice", UnixSeconds(NOW.0 + 1));
        let alice = Some(("alice".to_owned(), Origin::TimeLimited));
        assert_eq!(check(&minted.username, &minted.password), alice);
    }

    #[test]
    fn a_hash_names_a_static_user() {
        let check = |hashed: &str, password| {
            let hash = userhash(hashed.as_bytes(), b"realm");
            let identity = Identity::Hash(&hash);
            check_with(&credentials(), identity, PasswordAlgorithm::Sha256, "bob", password)
        };
        assert_eq!(check("bob", "pass"), Some(("bob".to_owned(), Origin::Static)));
        assert_eq!(check("bob", "other"), None);
        assert_eq!(check("eve", "pass"), None);
    }

    #[test]
    fn a_password_under_sha_256_is_taken_when_asked_for_and_only_then() {
        let expires_at = UnixSeconds(NOW.0 + 1);
        let (hash, north) = (CredentialHash::Sha256, secret("new"));
        let minted = TimeLimitedCredential::mint_with(hash, &north, "alice", expires_at);
        let check = |credentials: &Credentials| {
            let (name, password) = (&minted.username, &minted.password);
            let identity = Identity::Name(name);
            check_with(credentials, identity, PasswordAlgorithm::Md5, name, password).is_some()
        };
        assert!(!check(&credentials()));
        let both = vec![CredentialHash::Sha1, CredentialHash::Sha256];
        assert!(check(&credentials().with_hashes(both)));
    }

    #[test]
    fn names_and_passwords_are_compared_as_opaque_strings() {
        let (decomposed, password) = ("rene\u{301}", secret("a\u{a0}b"));
        let credentials = Credentials::new("realm", Vec::new(), [(decomposed, &password)]);
        let name = "ren\u{e9}";
        let identity = Identity::Name(name);
        let found = check_with(&credentials, identity, PasswordAlgorithm::Md5, name, "a b");
        assert_eq!(found, Some((name.to_owned(), Origin::Static)));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let text = format!("{:?} {:?}", credentials(), secret("sesame"));
        assert!(!text.contains("sesame") && !text.contains("pass") && !text.contains("old"));
    }
}
