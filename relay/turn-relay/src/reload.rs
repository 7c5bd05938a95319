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

use crate::{ApplyError, Relay, log::Log, relay::Applied};

/// How often the files are read.
const READ_EVERY: Duration = Duration::from_secs(2);

/// What a running relay is told by.
#[derive(Debug)]
pub struct Watched {
    /// The configuration file. So are the files that it names.
    pub path: PathBuf,
    /// The log, which it says the level of.
    pub log: Log,
}

/// Why a configuration was not taken, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadFailure {
    /// The file cannot be read.
    Unreadable,
    /// It says something that cannot be.
    Invalid,
    /// A secret cannot be had.
    Secret,
    /// The certificate cannot be had.
    Certificate,
    /// A new listener cannot be opened.
    Listener,
}

impl ReloadFailure {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Unreadable, Self::Invalid, Self::Secret, Self::Certificate, Self::Listener];

    /// The label in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Invalid => "invalid",
            Self::Secret => "secret",
            Self::Certificate => "certificate",
            Self::Listener => "listener",
        }
    }
}

/// How often the files have changed since the start, by what came of it.
#[derive(Debug, Default)]
pub struct ReloadCounts {
    applied: AtomicU64,
    failures: [AtomicU64; ReloadFailure::ALL.len()],
}

/// The counts at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reloads {
    /// Taken.
    pub applied: u64,
    /// Refused, so that the configuration before stays, by [`ReloadFailure`].
    pub failures: [u64; ReloadFailure::ALL.len()],
}

impl Reloads {
    /// Refused, for whatever reason.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.failures.iter().sum()
    }
}

impl ReloadCounts {
    /// The counts now.
    #[must_use]
    pub fn get(&self) -> Reloads {
        Reloads {
            applied: self.applied.load(Ordering::Relaxed),
            failures: std::array::from_fn(|index| self.failures[index].load(Ordering::Relaxed)),
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
    /// A file that it names, or a port, is not to be had.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl ReloadError {
    /// Its kind.
    #[must_use]
    pub const fn failure(&self) -> ReloadFailure {
        match self {
            Self::Unreadable { .. } => ReloadFailure::Unreadable,
            Self::Config(_) => ReloadFailure::Invalid,
            Self::Apply(ApplyError::Secret(_)) => ReloadFailure::Secret,
            Self::Apply(ApplyError::Certificate(_)) => ReloadFailure::Certificate,
            Self::Apply(ApplyError::Bind(_)) => ReloadFailure::Listener,
        }
    }
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
    watched: Watched,
    relay: Arc<Relay>,
    counts: Arc<ReloadCounts>,
    stop: CancellationToken,
) {
    let Watched { path, log } = watched;
    let mut seen = fingerprint(&path, &relay.config());
    // A port that another program has may be given up by it.
    let mut waits_for_a_port = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(READ_EVERY) => {}
        }
        let config = read(&path);
        let now = match &config {
            Ok(config) => fingerprint(&path, config),
            Err(_) => fingerprint(&path, &relay.config()),
        };
        let is_new = now != seen;
        if !is_new && !waits_for_a_port {
            continue;
        }
        seen = now;
        let applied = config.and_then(|config| take(&relay, &log, &config));
        let failure = applied.as_ref().err().map(ReloadError::failure);
        waits_for_a_port = failure == Some(ReloadFailure::Listener);
        if is_new || !waits_for_a_port {
            tell(&counts, applied);
        }
    }
}

fn take(relay: &Relay, log: &Log, config: &Config) -> Result<Applied, ReloadError> {
    let applied = relay.apply(config)?;
    log.set(config.log_level);
    Ok(applied)
}

/// Counts and logs what has come of new files.
fn tell(counts: &ReloadCounts, applied: Result<Applied, ReloadError>) {
    match applied {
        Ok(applied) => {
            counts.applied.fetch_add(1, Ordering::Relaxed);
            match applied {
                Applied::All => tracing::info!("new configuration applied"),
                Applied::RestartNeeded => tracing::warn!(
                    "new configuration applied in part: addresses, relayPorts, admin and workers \
                     need a restart"
                ),
            }
        }
        Err(error) => {
            counts.failures[error.failure() as usize].fetch_add(1, Ordering::Relaxed);
            let error = anyhow::Error::new(error);
            tracing::error!("new configuration refused, the one before stays: {error:#}");
        }
    }
}

/// A digest over the contents of the file and of all the files that it names.
fn fingerprint(path: &Path, config: &Config) -> [u8; 32] {
    let mut digest = Sha256::new();
    let secrets = config.auth.shared_secrets.iter();
    let passwords = config.auth.users.iter().map(|user| &user.password_file);
    let tls = config.tls.iter().flat_map(|tls| [&tls.certificate_file, &tls.private_key_file]);
    let named = secrets.chain(passwords).chain(tls).map(PathBuf::as_path);
    for path in std::iter::once(path).chain(named) {
        let content = std::fs::read(path).unwrap_or_default();
        digest.update(content.len().to_le_bytes());
        digest.update(content);
    }
    digest.finalize().into()
}
