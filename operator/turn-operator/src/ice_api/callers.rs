//! Who may ask: callers with a token of Kubernetes who may `get` `turnservers/iceservers`, and those
//! with an API key from the Secret that the `TurnServer` names.
//!
//! An API key comes in a header of its own, so that none is ever shown to the API server, and a token
//! never compared with keys.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::Secret as SecretObject,
};
use kube::{Api, Client, api::PostParams};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use turn_api::Validated;
use turn_auth::Secret;

use super::{Place, fleets::Fleet, kept::Kept};
use crate::refusal::Refusal;
use crate::turnserver::credentials::SecretKeys;

/// Where an API key stands.
const API_KEY: &str = "x-api-key";
/// For how long an answer about a token is good, and one that refuses it.
const ALLOWED_FOR: Duration = Duration::from_secs(60);
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// How many of them are kept.
const MOST_REVIEWS: usize = 4096;
/// How many tokens are asked about at once: whoever comes with random ones must not flood the API
/// server. How long a caller waits for its turn.
const REVIEWS_AT_ONCE: usize = 8;
const REVIEW_LIMIT: Duration = Duration::from_secs(3);
/// For how long a Secret is good; and one that could not be read, which the former stands for then.
const SECRET_FOR: Duration = Duration::from_secs(20);
const FAILED_FOR: Duration = Duration::from_secs(2);
/// How many Secrets are kept.
const MOST_SECRETS: usize = 1024;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// Who has the API key of this name.
    Key(String),
    /// A user of Kubernetes.
    User(String),
}

/// What is known of a token and a `TurnServer`.
#[derive(Debug, Clone)]
enum Review {
    Allowed(String),
    Forbidden(String),
    Unknown,
    /// The API server was not asked, or gave no answer.
    Failed,
}

/// Who may ask, and the Secrets that are needed for an answer.
pub(super) struct Callers {
    client: Client,
    /// By the hash of token, namespace and name.
    reviews: Kept<[u8; 32], Review>,
    at_once: Semaphore,
    /// By namespace and name. None: there is none, or it cannot be read.
    secrets: Kept<Place, Option<Arc<SecretObject>>>,
}

impl Callers {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            reviews: Kept::new(MOST_REVIEWS),
            at_once: Semaphore::new(REVIEWS_AT_ONCE),
            secrets: Kept::new(MOST_SECRETS),
        }
    }

    /// Who it is that asks.
    ///
    /// # Errors
    /// When it may not; and who has proved nothing does not learn which `TurnServer`s there are.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        place: &Place,
        fleet: Option<&Fleet>,
    ) -> Result<Caller, Refusal> {
        if let Some(key) = headers.get(API_KEY) {
            return self.admit_key(key.as_bytes(), place, fleet).await;
        }
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        match bearer.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) => self.admit_token(token, place).await,
            None => Err(unauthorized(
                "no credentials: send a token of Kubernetes as Authorization: Bearer, or an API key \
                 of the TurnServer as X-Api-Key",
            )),
        }
    }

    async fn admit_key(
        &self,
        key: &[u8],
        (namespace, _): &Place,
        fleet: Option<&Fleet>,
    ) -> Result<Caller, Refusal> {
        let refused = || {
            unauthorized(
                "X-Api-Key: not a key of this TurnServer: see spec.iceServers.apiKeys.secretRef",
            )
        };
        let checked = fleet.and_then(|fleet| fleet.checked.as_ref().ok()).ok_or_else(refused)?;
        let keys = checked.ice_servers().api_keys.as_ref().ok_or_else(refused)?;
        let secret = self.secret(namespace, &keys.secret_ref.name).await.ok_or_else(refused)?;
        let values = secret.data.iter().flatten();
        // All are compared, so that the time says nothing of which one it was.
        let matching = values.fold(None, |found, (name, value)| {
            let value = value.0.trim_ascii_end();
            let is_it = !value.is_empty() && bool::from(value.ct_eq(key));
            if is_it { Some(name) } else { found }
        });
        matching.map(|name| Caller::Key(name.clone())).ok_or_else(refused)
    }

    async fn admit_token(&self, token: &str, place: &Place) -> Result<Caller, Refusal> {
        let (namespace, name) = place;
        let key = hash(&[token, namespace, name]);
        match self.reviews.get(&key, |_| self.review(token, place)).await {
            Review::Allowed(user) => Ok(Caller::User(user)),
            Review::Forbidden(user) => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                format!(
                    "{user} may not get turnservers/iceservers of {name} in the namespace \
                     {namespace}: bind a role that allows it"
                ),
            )),
            Review::Unknown => Err(unauthorized("the token is none of this cluster, or has ended")),
            Review::Failed => {
                Err(Refusal::unavailable("who you are cannot be asked of the API server now"))
            }
        }
    }

    async fn review(&self, token: &str, place: &Place) -> (Review, Duration) {
        let reviewed = tokio::time::timeout(REVIEW_LIMIT, async {
            // Never closed.
            let _permit = self.at_once.acquire().await;
            let Some(user) = self.authenticate(token).await? else { return Ok(Review::Unknown) };
            let name = user.username.clone().unwrap_or_default();
            let allowed = self.authorize(user, place).await?;
            Ok::<_, kube::Error>(if allowed {
                Review::Allowed(name)
            } else {
                Review::Forbidden(name)
            })
        });
        match reviewed.await {
            Ok(Ok(Review::Allowed(user))) => (Review::Allowed(user), ALLOWED_FOR),
            Ok(Ok(review)) => (review, REFUSED_FOR),
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "a caller's token cannot be reviewed");
                (Review::Failed, FAILED_FOR)
            }
            Err(_) => (Review::Failed, FAILED_FOR),
        }
    }

    async fn authenticate(&self, token: &str) -> Result<Option<UserInfo>, kube::Error> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let api = Api::<TokenReview>::all(self.client.clone());
        let status = api.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)))
    }

    async fn authorize(
        &self,
        user: UserInfo,
        (namespace, name): &Place,
    ) -> Result<bool, kube::Error> {
        let attributes = ResourceAttributes {
            group: Some("turnpike.dev".to_owned()),
            resource: Some("turnservers".to_owned()),
            subresource: Some("iceservers".to_owned()),
            verb: Some("get".to_owned()),
            namespace: Some(namespace.clone()),
            name: Some(name.clone()),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                user: user.username,
                groups: user.groups,
                uid: user.uid,
                extra: user.extra,
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api = Api::<SubjectAccessReview>::all(self.client.clone());
        let status = api.create(&PostParams::default(), &review).await?.status;
        Ok(status.is_some_and(|status| status.allowed))
    }

    /// The secret that new credentials are signed with.
    ///
    /// # Errors
    /// When it is not there now.
    pub(super) async fn shared_secret(
        &self,
        namespace: &str,
        checked: &Validated,
    ) -> Result<Secret, Refusal> {
        let keys = SecretKeys::of(checked);
        let object = self.secret(namespace, &keys.secret_name).await;
        object.and_then(|object| keys.active(&object)).ok_or_else(|| {
            Refusal::unavailable("the TurnServer's credentials are not ready: see CredentialsReady")
        })
    }

    /// A Secret; the former one while the API server does not answer.
    async fn secret(&self, namespace: &str, name: &str) -> Option<Arc<SecretObject>> {
        let place = (namespace.to_owned(), name.to_owned());
        let api = Api::<SecretObject>::namespaced(self.client.clone(), namespace);
        let read = |former: Option<Option<Arc<SecretObject>>>| async move {
            match tokio::time::timeout(REVIEW_LIMIT, api.get_opt(name)).await {
                Ok(Ok(object)) => (object.map(Arc::new), SECRET_FOR),
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(namespace, name, error, "a Secret cannot be read");
                    (former.flatten(), FAILED_FOR)
                }
                Err(_) => (former.flatten(), FAILED_FOR),
            }
        };
        self.secrets.get(&place, read).await
    }
}

fn unauthorized(message: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, message)
}

/// A hash of texts, each with its length, so that no two lists of them have the same.
fn hash(texts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}
