//! Leader election by a Lease: at most one operator reconciles.
//!
//! The lease manager takes and renews the Lease, and says when another holds it. It does not say
//! when it could not renew it any more; so the Lease is read beside it, and who cannot see that
//! the Lease is its own and runs still is no leader any more.

use std::{future::Future, time::Duration};

use k8s_openapi::{
    api::coordination::v1::Lease,
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, Client};
use kube_lease_manager::{LeaseManagerBuilder, LeaseManagerError};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// How long a Lease is valid, in seconds.
const DURATION_SECONDS: u64 = 15;
/// How long before its end it is renewed, in seconds.
const GRACE_SECONDS: u64 = 7;
/// How often a leader looks whether it is one.
const LOOK: Duration = Duration::from_secs(3);
/// How long before its end a Lease is no longer relied on: a write that is on its way has to arrive.
const MARGIN: Duration = Duration::from_secs(2);

/// The Lease and who wants it.
#[derive(Debug, Clone)]
pub struct Election {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub lease: String,
    /// The name of this operator: no other one has it.
    pub identity: String,
}

/// Runs what `lead` makes whenever this operator is the leader, and drops it when it is no longer;
/// gives the Lease back when `stop` is done.
///
/// # Errors
/// When the Lease can be neither read nor created.
pub async fn run<F>(
    client: Client,
    election: Election,
    stop: impl Future<Output = ()>,
    mut lead: impl FnMut() -> F,
    mut tell: impl FnMut(bool),
) -> Result<(), LeaseManagerError>
where
    F: Future<Output = ()>,
{
    let manager = LeaseManagerBuilder::new(client.clone(), &election.lease)
        .with_namespace(&election.namespace)
        .with_identity(&election.identity)
        .with_field_manager(format!("turnpike-operator-{}", election.identity))
        .with_duration(DURATION_SECONDS)
        .with_grace(GRACE_SECONDS)
        .build()
        .await?;
    let leases: Api<Lease> = Api::namespaced(client, &election.namespace);
    let (mut holds, task) = manager.watch().await;
    tell(false);
    let elected = async {
        loop {
            until(&mut holds, true).await;
            if !is_held(&leases, &election).await {
                sleep(LOOK).await;
                continue;
            }
            let mut still_holds = holds.clone();
            tracing::info!(identity = election.identity, "leading");
            tell(true);
            tokio::select! {
                () = lead() => tracing::warn!("the controller has ended"),
                () = until(&mut still_holds, false) => tracing::warn!("another one leads"),
                () = expired(&leases, &election) => tracing::warn!("the Lease has run out"),
            }
            tell(false);
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = elected => {}
        () = stop => tracing::info!("stopping"),
    }
    // Closing the channel makes the manager give the Lease back.
    drop(holds);
    match timeout(LOOK, task).await {
        Ok(Ok(Err(error))) => tracing::warn!(%error, "the Lease could not be given back"),
        Err(_) => tracing::warn!("the Lease could not be given back in time"),
        Ok(Ok(Ok(_)) | Err(_)) => {}
    }
    Ok(())
}

async fn until(holds: &mut watch::Receiver<bool>, wanted: bool) {
    if holds.wait_for(|holds| *holds == wanted).await.is_err() {
        // The manager has ended: there will be no other state.
        if wanted {
            std::future::pending::<()>().await;
        }
    }
}

/// Whether the Lease is this operator's now, as the API server has it.
async fn is_held(leases: &Api<Lease>, election: &Election) -> bool {
    let read = timeout(LOOK, leases.get_opt(&election.lease)).await;
    let Ok(Ok(lease)) = read else { return false };
    valid_until(lease.as_ref(), &election.identity)
        .is_some_and(|until| !left(until, Timestamp::now()).is_zero())
}

/// Ends when the Lease, as it was seen last, is not this operator's or is about to run out.
async fn expired(leases: &Api<Lease>, election: &Election) {
    let mut last = None;
    let mut wait = LOOK;
    loop {
        let read = timeout(wait, leases.get_opt(&election.lease)).await;
        if let Ok(Ok(lease)) = read {
            last = valid_until(lease.as_ref(), &election.identity);
        }
        let left = last.map_or(Duration::ZERO, |until| left(until, Timestamp::now()));
        if left.is_zero() {
            return;
        }
        sleep(left.min(LOOK)).await;
        wait = last.map_or(LOOK, |until| self::left(until, Timestamp::now())).min(LOOK);
    }
}

/// When the Lease runs out. None when `identity` does not hold it.
fn valid_until(lease: Option<&Lease>, identity: &str) -> Option<Timestamp> {
    let spec = lease?.spec.as_ref()?;
    if spec.holder_identity.as_deref() != Some(identity) {
        return None;
    }
    let renewed = spec.renew_time.as_ref()?.0;
    let seconds = spec.lease_duration_seconds.unwrap_or(0);
    renewed.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

/// How long the Lease may still be relied on.
fn left(until: Timestamp, now: Timestamp) -> Duration {
    let left = until.duration_since(now);
    Duration::try_from(left).unwrap_or_default().saturating_sub(MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lease_of_ones_own_counts() {
        let lease: Lease = serde_saphyr::from_str(
            "spec: {holderIdentity: a, renewTime: '2030-01-01T00:00:00.000000Z', leaseDurationSeconds: 15}",
        )
        .expect("a Lease");
        let until = "2030-01-01T00:00:15Z".parse().expect("a time");
        assert_eq!(valid_until(Some(&lease), "a"), Some(until));
        assert_eq!(valid_until(Some(&lease), "b"), None);
        assert_eq!(valid_until(None, "a"), None);
        let at = |text: &str| text.parse().expect("a time");
        assert_eq!(left(until, at("2030-01-01T00:00:05Z")), Duration::from_secs(8));
        assert_eq!(left(until, at("2030-01-01T00:00:14Z")), Duration::ZERO);
        assert_eq!(left(until, at("2030-01-01T00:01:00Z")), Duration::ZERO);
    }
}
