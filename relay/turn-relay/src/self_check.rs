//! Whether the relay relays: the relay as its own client.
//!
//! What a kubelet can ask of a relay is what the relay knows of itself. So it does what its clients
//! do, on each of its listeners: it allocates twice and sends a payload from one relayed address to
//! the other. Whether others reach it is for others to find out.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio_util::sync::CancellationToken;
use turn_auth::UnixSeconds;
use turn_probe::{AnswerFailure, Cause, CredentialsError, Failure, Target, echo};

use crate::{ListenerStatus, Readiness, Relay};

/// How long after a check the next one comes.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// The same, while the relay is not ready.
const CHECK_AGAIN: Duration = Duration::from_secs(1);

/// How long the relay's own credentials are good: for a check and a clock that is set meanwhile.
const CREDENTIAL_SECONDS: u64 = 300;

/// The users that the relay allocates as.
const USERS: [&str; 2] = ["turnpike-self-check-a", "turnpike-self-check-b"];

/// Checks the relay until it is stopped, and says what comes of it.
pub async fn watch(relay: Arc<Relay>, stop: CancellationToken) {
    loop {
        if relay.readiness().draining {
            return;
        }
        let ready = relay.readiness().ready;
        judge(&relay, ready, check(&relay).await);
        let pause = if relay.readiness().ready { CHECK_EVERY } else { CHECK_AGAIN };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Why a check has failed.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("{}", .0.line())]
    NotReached(Failure),
    #[error("no credential for the check: {0}")]
    Credential(#[from] CredentialsError),
}

/// Checks every listener once; the first that fails is the answer.
async fn check(relay: &Relay) -> Result<(), CheckError> {
    for listener in relay.listeners().iter() {
        for target in targets(relay, listener)? {
            echo(&target).await.map_err(CheckError::NotReached)?;
        }
    }
    Ok(())
}

/// A relay that is full refuses its own check as well, and is none the worse for it.
fn judge(relay: &Relay, ready: bool, checked: Result<(), CheckError>) {
    match checked {
        Ok(()) if ready => {}
        Ok(()) => {
            tracing::info!("ready: a datagram was relayed through each listener");
            relay.set_readiness(Readiness::ready());
        }
        Err(CheckError::NotReached(failure)) if ready && is_full(&failure) => {
            tracing::debug!("not checked: the relay is full");
        }
        Err(error) => {
            let reason = error.to_string();
            if relay.readiness().reason != reason {
                tracing::warn!("not ready: {reason}");
                relay.set_readiness(Readiness::not_ready(reason));
            }
        }
    }
}

fn is_full(failure: &Failure) -> bool {
    matches!(&*failure.cause, Cause::Answer(AnswerFailure::Refused { code: 486 | 508, .. }))
}

/// From inside, a relay is reached at its local addresses, and so are its relayed addresses.
fn targets(relay: &Relay, listener: &ListenerStatus) -> Result<Vec<Target>, CredentialsError> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let expires_at = UnixSeconds(unix.as_secs() + CREDENTIAL_SECONDS);
    let local = listener.address;
    let targets = relay.probe_targets(listener, USERS, expires_at, local.ip())?.into_iter();
    let from_inside = |target| Target {
        server: local,
        bind: Some(local.ip()),
        relayed_at: Some(relay.relays_from(local.ip())),
        ..target
    };
    Ok(targets.map(from_inside).collect())
}
