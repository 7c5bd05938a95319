//! Changes of the configuration's files, taken while the relay runs.
//!
//! The files are read every few seconds and compared. Kubernetes swaps a mounted ConfigMap or Secret
//! by a symbolic link two directories up, which file watches miss in several ways; some small files
//! cost nothing to read.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use relay_config::{Config, ConfigError};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{Relay, SecretError, relay::Applied};

/// How often the files are read.
const READ_EVERY: Duration = Duration::from_secs(2);

/// How often the files have changed since the start, by what came of it.
#[derive(Debug, Default)]
pub struct ReloadCounts {
    applied: AtomicU64,
    refused: AtomicU64,
}

/// The counts at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reloads {
    /// Taken.
    pub applied: u64,
    /// Refused: the configuration before stays.
    pub refused: u64,
}

impl ReloadCounts {
    /// The counts now.
    #[must_use]
    pub fn get(&self) -> Reloads {
        Reloads {
            applied: self.applied.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file cannot be read.
    #[error("{path:?} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It says something that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A secret cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Reads and checks a configuration file.
///
/// # Errors
/// When it cannot be read, or says something that cannot be.
pub fn read(path: &Path) -> Result<Config, ReloadError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ReloadError::Unreadable { path: path.to_owned(), source })?;
    Ok(Config::from_yaml(&text)?)
}

/// Watches the files of a configuration, and gives the relay what changes, until it is stopped. What
/// cannot be taken leaves the relay as it is.
pub async fn watch(
    path: PathBuf,
    relay: Arc<Relay>,
    counts: Arc<ReloadCounts>,
    stop: CancellationToken,
) {
    let mut seen = fingerprint(&path, relay.config());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(READ_EVERY) => {}
        }
        let config = read(&path);
        let known = config.as_ref().unwrap_or_else(|_| relay.config());
        let now = fingerprint(&path, known);
        if now == seen {
            continue;
        }
        seen = now;
        match config.and_then(|config| Ok(relay.apply(&config)?)) {
            Ok(applied) => {
                counts.applied.fetch_add(1, Ordering::Relaxed);
                match applied {
                    Applied::All => tracing::info!("new configuration applied"),
                    Applied::RestartNeeded => tracing::warn!(
                        "new configuration applied in part: realm, listeners, addresses, relayPorts, \
                         admin and workers need a restart"
                    ),
                }
            }
            Err(error) => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                let error = anyhow::Error::new(error);
                tracing::error!("new configuration refused, the one before stays: {error:#}");
            }
        }
    }
}

/// A digest over the contents of the file and of all the secrets that it names.
fn fingerprint(path: &Path, config: &Config) -> [u8; 32] {
    let mut digest = Sha256::new();
    let secrets = config.auth.shared_secrets.iter();
    let passwords = config.auth.users.iter().map(|user| &user.password_file);
    for path in std::iter::once(path).chain(secrets.chain(passwords).map(PathBuf::as_path)) {
        let content = std::fs::read(path).unwrap_or_default();
        digest.update(content.len().to_le_bytes());
        digest.update(content);
    }
    digest.finalize().into()
}
