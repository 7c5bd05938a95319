//! Whether the Secret holds what relays sign and verify with.

use k8s_openapi::api::core::v1::Secret;
use turn_api::{CredentialsSource, SecretRef, Validated, conditions::Reason};
use turn_auth::{CredentialHash, Secret as SharedSecret};

use super::names;

/// Where the shared secrets of a `TurnServer` are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretKeys {
    /// The name of the Secret.
    pub secret_name: String,
    /// The keys that hold one shared secret each, newest first; at least one.
    pub keys: Vec<String>,
}

impl SecretKeys {
    /// Where the shared secrets of `validated` are, or will be.
    #[must_use]
    pub fn of(validated: &Validated) -> Self {
        match validated.credentials() {
            CredentialsSource::Generated => Self {
                secret_name: names::credentials(validated.name()),
                keys: vec![SecretRef::DEFAULT_KEY.to_owned()],
            },
            CredentialsSource::Referenced { name, keys } => {
                Self { secret_name: name.clone(), keys: keys.clone() }
            }
        }
    }

    /// The key whose value signs new credentials.
    #[must_use]
    pub fn active_key(&self) -> &str {
        self.keys.first().map_or(SecretRef::DEFAULT_KEY, String::as_str)
    }

    /// The secret that signs new credentials; none where the Secret does not hold it.
    #[must_use]
    pub fn active(&self, object: &Secret) -> Option<SharedSecret> {
        let value = object.data.as_ref()?.get(self.active_key())?;
        SharedSecret::from_file(&value.0).ok()
    }
}

/// The better one of the hashes that the relays take: what new credentials are made with. Clients do
/// not see the difference.
#[must_use]
pub fn best_hash(hashes: &[turn_api::CredentialHash]) -> CredentialHash {
    match hashes.iter().max() {
        Some(turn_api::CredentialHash::Sha256) => CredentialHash::Sha256,
        Some(turn_api::CredentialHash::Sha1) | None => CredentialHash::Sha1,
    }
}

/// What is to be done about the Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialsState {
    /// It is there and good.
    Ready,
    /// It is to be generated.
    Missing,
    /// It cannot be used.
    Problem {
        /// The reason of the condition.
        reason: Reason,
        /// Names Secret and key, and says what would be right.
        message: String,
    },
}

/// Looks at the Secret.
#[must_use]
pub fn state(validated: &Validated, secret: Option<&Secret>) -> CredentialsState {
    let SecretKeys { secret_name, keys } = SecretKeys::of(validated);
    let place = format!("Secret {}/{secret_name}", validated.namespace());
    let generated = *validated.credentials() == CredentialsSource::Generated;
    let Some(secret) = secret else {
        return if generated {
            CredentialsState::Missing
        } else {
            problem(Reason::SecretNotFound, format!("{place} does not exist: create it"))
        };
    };
    if generated && !names::is_owned_by(&secret.metadata, validated.uid()) {
        let message = format!(
            "{place} exists and was not made for this TurnServer: name it in spec.auth.secretRef \
             to use it, or remove it"
        );
        return problem(Reason::NotOwned, message);
    }
    let remedy = if generated { "; delete the Secret to have another one generated" } else { "" };
    keys.iter()
        .find_map(|key| key_problem(secret, key, &place, remedy))
        .unwrap_or(CredentialsState::Ready)
}

fn key_problem(secret: &Secret, key: &str, place: &str, remedy: &str) -> Option<CredentialsState> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    match value {
        None => Some(problem(
            Reason::SecretKeyMissing,
            format!("{place} has no key {key:?}: add it{remedy}"),
        )),
        // White space at the end is no part of a secret.
        Some(value) if value.0.trim_ascii_end().is_empty() => Some(problem(
            Reason::SecretKeyEmpty,
            format!("{place}: the value of key {key:?} is empty{remedy}"),
        )),
        Some(_) => None,
    }
}

fn problem(reason: Reason, message: String) -> CredentialsState {
    CredentialsState::Problem { reason, message }
}
