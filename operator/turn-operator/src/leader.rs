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
use tokio::{sync::watch, time::sleep};

/// How long a Lease is valid, in seconds.
const DURATION_SECONDS: u64 = 15;
/// How long before its end it is renewed, in seconds.
const GRACE_SECONDS: u64 = 7;
/// How often a leader looks whether it is one.
const LOOK: Duration = Duration::from_secs(3);

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
    if let Ok(Err(error)) = task.await {
        tracing::warn!(%error, "the Lease could not be given back");
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

/// Ends when the Lease, as it was seen last, is not this operator's or has run out.
async fn expired(leases: &Api<Lease>, election: &Election) {
    let mut last = None;
    loop {
        let read = tokio::time::timeout(LOOK, leases.get_opt(&election.lease)).await;
        if let Ok(Ok(lease)) = read {
            last = valid_until(lease.as_ref(), &election.identity);
        }
        if last.is_none_or(|until| Timestamp::now() >= until) {
            return;
        }
        sleep(LOOK).await;
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
    }
}
