//! `turnctl credentials`: a time-limited credential, from a secret in a file or in the cluster.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1;
use kube::{Api, Client};
use serde::Serialize;
use turn_api::TurnServer;
use turn_auth::{CredentialHash, Secret, TimeLimitedCredential, UnixSeconds};
use turn_operator::api_error;
use turn_operator::turnserver::credentials::best_hash;

use crate::input;

/// How long a credential is valid when neither the command line nor a TurnServer says.
const DEFAULT_TTL: SignedDuration = SignedDuration::from_hours(24);
/// The longest USERNAME, in bytes (RFC 8489, section 14.3).
const LONGEST_USERNAME: usize = 508;

/// Whose secret, and for whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The TurnServer whose secret signs the credential, in the cluster of the kubeconfig.
    #[arg(required_unless_present = "secret_file")]
    name: Option<String>,
    /// The namespace of the TurnServer. Absent: that of the kubeconfig.
    #[arg(short, long)]
    namespace: Option<String>,
    /// A file with the secret, or `-` for standard input. White space at its end is no part of it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "namespace"])]
    secret_file: Option<PathBuf>,
    /// The hash that makes the password, with a secret from a file. That of a TurnServer says itself.
    #[arg(long, value_enum, default_value_t = Hash::Sha1, requires = "secret_file")]
    hash: Hash,
    /// The user: quotas and logs know the client by this name.
    #[arg(long, default_value = "turnctl")]
    user: String,
    /// How long the credential is valid, such as 24h or 90m. Absent: what the TurnServer says in
    /// auth.credentialTtlSeconds, or 24h.
    #[arg(long, value_name = "DURATION")]
    ttl: Option<SignedDuration>,
    /// A URL to put into the answer, such as turn:203.0.113.7:3478. May be repeated. Absent: the
    /// URLs in the status of the TurnServer.
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    /// With `iceServers` as an RTCPeerConnection takes them.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Hash {
    /// What other servers know.
    Sha1,
    Sha256,
}

impl From<Hash> for CredentialHash {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Sha1 => Self::Sha1,
            Hash::Sha256 => Self::Sha256,
        }
    }
}

/// What is needed to mint.
struct Source {
    secret: Secret,
    hash: CredentialHash,
    ttl: SignedDuration,
    urls: Vec<String>,
}

/// What is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Minted {
    username: String,
    password: String,
    expires_at: Timestamp,
    ice_servers: Vec<IceServer>,
}

/// An entry of `iceServers`.
#[derive(Debug, Serialize)]
struct IceServer {
    urls: Vec<String>,
    username: String,
    credential: String,
}

/// Mints and prints.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Source { secret, hash, ttl, urls } = match &arguments.secret_file {
        Some(path) => Source {
            secret: Secret::from_file(&input::read(path)?)
                .with_context(|| path.display().to_string())?,
            hash: arguments.hash.into(),
            ttl: DEFAULT_TTL,
            urls: Vec::new(),
        },
        None => {
            let name = arguments.name.as_deref().unwrap_or_default();
            from_cluster(name, arguments.namespace.as_deref()).await?
        }
    };
    let ttl = arguments.ttl.unwrap_or(ttl);
    let urls = if arguments.urls.is_empty() { urls } else { arguments.urls.clone() };
    let minted = mint((&secret, hash), &arguments.user, ttl, urls, SystemTime::now())?;
    let text = match arguments.output {
        Output::Text => as_text(&minted),
        Output::Json => serde_json::to_string_pretty(&minted)? + "\n",
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn mint(
    (secret, hash): (&Secret, CredentialHash),
    user: &str,
    ttl: SignedDuration,
    urls: Vec<String>,
    now: SystemTime,
) -> anyhow::Result<Minted> {
    ensure!(!user.is_empty(), "--user: must not be empty");
    ensure!(ttl.is_positive(), "--ttl: {ttl:#}: must be longer than nothing");
    let now = Timestamp::try_from(now)?;
    let expires_at = now.checked_add(ttl).with_context(|| format!("--ttl: {ttl:#}: too long"))?;
    let expires_at = Timestamp::from_second(expires_at.as_second())?;
    let seconds = SystemTime::from(expires_at).duration_since(UNIX_EPOCH)?.as_secs();
    let credential = TimeLimitedCredential::mint_with(hash, secret, user, UnixSeconds(seconds));
    let TimeLimitedCredential { username, password } = credential;
    if username.len() > LONGEST_USERNAME {
        bail!("--user: {user:?}: a username has at most {LONGEST_USERNAME} bytes");
    }
    let ice_servers = if urls.is_empty() {
        Vec::new()
    } else {
        vec![IceServer { urls, username: username.clone(), credential: password.clone() }]
    };
    Ok(Minted { username, password, expires_at, ice_servers })
}

fn as_text(minted: &Minted) -> String {
    let Minted { username, password, expires_at, ice_servers } = minted;
    let mut text = format!("username: {username}\npassword: {password}\nexpires:  {expires_at}\n");
    for url in ice_servers.iter().flat_map(|server| &server.urls) {
        text.push_str(&format!("url:      {url}\n"));
    }
    text
}

/// What clients of a TurnServer are given: the URLs of the relays that are ready, and a credential for
/// a user, as a username and a password.
pub(crate) async fn for_user(
    user: &str,
    (name, namespace): (&str, Option<&str>),
) -> anyhow::Result<(Vec<String>, [String; 2])> {
    let Source { secret, hash, ttl, urls } = from_cluster(name, namespace).await?;
    let minted = mint((&secret, hash), user, ttl, Vec::new(), SystemTime::now())?;
    Ok((urls, [minted.username, minted.password]))
}

/// The secret that signs now, and the URLs of the relays that are ready.
async fn from_cluster(name: &str, namespace: Option<&str>) -> anyhow::Result<Source> {
    let client = Client::try_default().await.context("no API server: is there a kubeconfig?")?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace()).to_owned();
    let turn_server = Api::<TurnServer>::namespaced(client.clone(), &namespace)
        .get(name)
        .await
        .map_err(|error| anyhow!("{}", api_error::message(&error)))
        .with_context(|| format!("cannot read TurnServer {namespace}/{name}"))?;
    let status = turn_server.status.unwrap_or_default();
    let Some(credentials) = status.credentials else {
        bail!("TurnServer {namespace}/{name} has no credentials yet: is the operator running?");
    };
    let place = format!("Secret {namespace}/{}", credentials.secret_name);
    let secret = Api::<v1::Secret>::namespaced(client, &namespace)
        .get(&credentials.secret_name)
        .await
        .map_err(|error| anyhow!("{}", api_error::message(&error)))
        .with_context(|| format!("cannot read {place}"))?;
    let key = &credentials.active_key;
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    let value = value.with_context(|| format!("{place} has no key {key:?}"))?;
    Ok(Source {
        secret: Secret::from_file(&value.0).with_context(|| format!("{place}, key {key:?}"))?,
        hash: best_hash(&turn_server.spec.auth.credential_hashes),
        ttl: SignedDuration::from_secs(turn_server.spec.auth.credential_ttl_seconds.into()),
        urls: status.urls,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn north() -> Secret {
        Secret::from_file(b"north\n").expect("not empty")
    }

    #[test]
    fn a_credential_is_what_other_back_ends_mint() {
        let now = UNIX_EPOCH + Duration::from_secs(1_699_996_400);
        let urls = vec!["turn:192.0.2.1:3478".to_owned()];
        let minted = mint(
            (&north(), CredentialHash::Sha1),
            "alice",
            SignedDuration::from_hours(1),
            urls,
            now,
        );
        let minted = minted.expect("it is minted");
        assert_eq!(
            as_text(&minted),
            "username: 1700000000:alice\npassword: Cd/49soE35ICqcJF/bCTn8Z4OyE=\n\
             expires:  2023-11-14T22:13:20Z\nurl:      turn:192.0.2.1:3478\n"
        );
        let json = serde_json::to_value(&minted).expect("JSON");
        assert_eq!(json["iceServers"][0]["credential"], "Cd/49soE35ICqcJF/bCTn8Z4OyE=");
        assert_eq!(json["expiresAt"], "2023-11-14T22:13:20Z");
    }

    #[test]
    fn what_cannot_be_minted_is_said() {
        let says = |user: &str, ttl| match mint(
            (&north(), CredentialHash::Sha1),
            user,
            ttl,
            Vec::new(),
            UNIX_EPOCH,
        ) {
            Ok(_) => "minted".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(says("", DEFAULT_TTL).contains("--user"));
        assert!(says("a", SignedDuration::ZERO).contains("--ttl"));
        assert!(says("a", SignedDuration::MAX).contains("--ttl"));
        assert!(says(&"a".repeat(600), DEFAULT_TTL).contains("508 bytes"));
    }
}
