//! When a `TurnServer` is visited, and what a visit is.

mod triggers;
mod watches;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{
        controller::{Action, Config, Controller},
        events::{Recorder, Reporter},
    },
};
use serde_json::json;
use triggers::Trigger;
use turn_api::{TurnServer, TurnServerStatus, conditions::Reason};
use watches::Watches;

use super::{
    apply::Writer,
    certificate::CertificateState,
    credentials::CredentialsState,
    dereference::{Dereferenced, ServiceRanges, Stores, dereference},
    desired::{Settings, generated_secret},
    dns, events, gate,
    names::FIELD_MANAGER,
    observed::Observed,
    plan::{Plan, Refused},
    status::{Failure, Outcome, status},
};
use crate::{
    health::Health,
    metrics::Metrics,
    reachability::{self, Leading, Reachability},
};

/// How often a `TurnServer` is visited when nothing is heard: Secrets are not watched.
const REVISIT: Duration = Duration::from_secs(20);
/// The same, while the Secret is not what it has to be: someone is about to mend it.
const REVISIT_SECRET: Duration = Duration::from_secs(5);
/// How soon after a failure, doubled with each further one up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
const LONGEST_RETRY: Duration = Duration::from_secs(120);
/// Changes within this time are one visit.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Why a visit failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A stage failed; it stands in the conditions too.
    #[error("{0}")]
    Stage(String),
    /// A pod's condition could not be written.
    #[error("the condition of pod {0} cannot be written")]
    Pod(String, #[source] kube::Error),
    /// The status could not be written.
    #[error("the status cannot be written")]
    Status(#[source] kube::Error),
}

/// What is left of earlier visits of one `TurnServer`. All of it may be lost.
#[derive(Debug, Default)]
struct Memory {
    /// The status that was written last: the watch may not have brought it back yet.
    written: Option<TurnServerStatus>,
    /// Failures in a row.
    failures: u32,
}

/// What visits have in common.
struct Context {
    client: Client,
    settings: Settings,
    stores: Stores,
    service_ranges: ServiceRanges,
    metrics: Metrics,
    recorder: Recorder,
    reachability: Reachability,
    /// The node that this operator runs on.
    node: Option<String>,
    memory: Mutex<HashMap<String, Memory>>,
}

/// Who this operator is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its name among its likes.
    pub name: String,
    /// The node that it runs on. None outside of a cluster.
    pub node: Option<String>,
}

impl Context {
    fn memory<T>(&self, turn_server: &TurnServer, with: impl FnOnce(&mut Memory) -> T) -> T {
        let mut all = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        with(all.entry(turn_server.uid().unwrap_or_default()).or_default())
    }

    /// Forgets what no longer exists, once half of what is remembered may be that.
    fn forget(&self) {
        let exist = self.stores.turn_servers.len();
        if self.reachability.count() > exist {
            self.reachability.retain(&self.uids());
        }
        let mut all = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= 2 * exist {
            return;
        }
        let uids = self.uids();
        all.retain(|uid, _| uids.contains(uid));
    }

    fn uids(&self) -> Vec<String> {
        self.stores.turn_servers.state().iter().filter_map(|t| t.uid()).collect()
    }

    /// Has the fleet observed as it is now, and reads what is known of it. What cannot be read or
    /// decided now changes nothing of how it is observed.
    fn observe(
        &self,
        turn_server: &TurnServer,
        plan: &Result<Plan, Refused>,
        read: &mut Dereferenced,
    ) {
        let uid = turn_server.uid().unwrap_or_default();
        if let (Ok(plan), None) = (plan, &read.failure) {
            let facts = reachability::facts(plan, &read.observed, self.node.as_deref());
            self.reachability.follow(&uid, facts);
        }
        read.observed.reachability = self.reachability.verdict(&uid);
    }
}

/// Visits `TurnServer`s until the future is dropped; whatever it was doing then can be done again.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Metrics,
    health: Health,
    identity: Identity,
    leading: Leading,
) {
    let watches = watches::start(&client);
    if watches.stores.wait_until_ready().await.is_err() {
        tracing::error!("a watch has ended before it had seen everything");
        return;
    }
    health.set_synced(true);
    tracing::info!("every watch is up to date");
    let reporter =
        Reporter { controller: "turnpike-operator".to_owned(), instance: Some(identity.name) };
    let sender = watches.sender.clone();
    // Fails only when the controller has ended.
    let look_again = move |uid: &str| _ = sender.unbounded_send(Trigger::Uid(uid.to_owned()));
    let reachability = Reachability::new(metrics.clone(), Arc::new(look_again));
    let _term = leading.begin(reachability.clone());
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        settings,
        stores: watches.stores.clone(),
        service_ranges: ServiceRanges::default(),
        reachability,
        node: identity.node,
        metrics,
        memory: Mutex::default(),
    });
    visit_when_triggered(watches, context).await;
}

async fn visit_when_triggered(watches: Watches, context: Arc<Context>) {
    let Watches { stores, triggers, tasks, .. } = watches;
    let triggers = triggers.into_stream(stores.turn_servers.clone());
    // The changes of the TurnServers themselves are among the triggers.
    Controller::for_stream(futures::stream::pending(), stores.turn_servers)
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(8))
        .reconcile_on(triggers)
        .run(visit, retry, context)
        .for_each(|visited| async {
            if let Err(error) = visited {
                tracing::debug!(%error, "a visit was not made");
            }
        })
        .await;
    drop(tasks);
}

fn retry(turn_server: Arc<TurnServer>, error: &Error, context: Arc<Context>) -> Action {
    let failures = context.memory(&turn_server, |memory| {
        memory.failures = memory.failures.saturating_add(1);
        memory.failures
    });
    let wait = retry_after(failures);
    tracing::warn!(
        namespace = turn_server.namespace(),
        name = turn_server.name_any(),
        error = error as &dyn std::error::Error,
        retry_seconds = wait.as_secs(),
        "a visit failed"
    );
    Action::requeue(wait)
}

fn retry_after(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    FIRST_RETRY.saturating_mul(doubled).min(LONGEST_RETRY)
}

async fn visit(turn_server: Arc<TurnServer>, context: Arc<Context>) -> Result<Action, Error> {
    if turn_server.metadata.deletion_timestamp.is_some() {
        // What was made for it is removed by the garbage collector.
        context.reachability.follow(&turn_server.uid().unwrap_or_default(), None);
        return Ok(Action::await_change());
    }
    context.forget();
    let start = Instant::now();
    let result = reconcile(&turn_server, &context).await;
    context.metrics.reconciled(result.is_ok(), start.elapsed().as_secs_f64());
    if result.is_ok() {
        context.memory(&turn_server, |memory| memory.failures = 0);
    }
    result
}

/// The pipeline. Whatever happens in it, the status says so.
async fn reconcile(turn_server: &TurnServer, context: &Context) -> Result<Action, Error> {
    let Context { client, stores, service_ranges, settings, .. } = context;
    let now = Timestamp::now();
    let mut read = dereference(client, stores, service_ranges, turn_server, now).await;
    let plan = Plan::new(turn_server, &read.observed, settings);
    context.observe(turn_server, &plan, &mut read);
    let failure = match (&plan, &read.failure) {
        (_, Some(failure)) => Some(failure.clone()),
        (Ok(plan), None) => match apply(plan, &read, context).await {
            Ok(Applied::All) => None,
            Ok(Applied::LookAgain) => return Ok(Action::requeue(FIRST_RETRY)),
            Err(failure) => Some(failure),
        },
        (Err(_), None) => None,
    };
    if let Ok(plan) = &plan {
        admit(plan, &read.observed, context, now).await?;
    }
    let mut outcome = Outcome { plan, failure, dns_failure: None };
    outcome.dns_failure = publish(turn_server, &read.observed, &outcome, context, now).await;
    report(turn_server, &read, &outcome, context, now).await?;
    match outcome.failure {
        Some(
            Failure::Credentials { message, .. }
            | Failure::Certificate { message, .. }
            | Failure::Apply { message, .. },
        ) => Err(Error::Stage(message)),
        None => Ok(Action::requeue(revisit(&outcome.plan))),
    }
}

fn revisit(plan: &Result<Plan, Refused>) -> Duration {
    let waits = plan.as_ref().is_ok_and(|plan| {
        matches!(plan.credentials, CredentialsState::Problem { .. })
            || matches!(plan.certificate, CertificateState::Problem { .. })
    });
    if waits { REVISIT_SECRET } else { REVISIT }
}

enum Applied {
    /// Everything stands as desired, or was left as it is for a reason.
    All,
    /// Something has appeared since it was looked for.
    LookAgain,
}

async fn apply(plan: &Plan, read: &Dereferenced, context: &Context) -> Result<Applied, Failure> {
    let Context { client, metrics, .. } = context;
    let writer = Writer { client, metrics, validated: &plan.validated };
    if plan.credentials == CredentialsState::Missing {
        let secret = generated_secret(&plan.validated, &entropy()?);
        if !writer.create_secret(&secret).await? {
            return Ok(Applied::LookAgain);
        }
    }
    if plan.may_apply() {
        writer.apply(plan, &read.children).await?;
    }
    Ok(Applied::All)
}

/// Tells the kubelets which relays clients may be sent to.
async fn admit(
    plan: &Plan,
    observed: &Observed,
    context: &Context,
    now: Timestamp,
) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), plan.validated.namespace());
    for change in gate::changes(&plan.validated, observed) {
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Strategic(change.patch(now));
        match api.patch_status(&change.pod, &params, &patch).await {
            Ok(_) => context.metrics.wrote("Pod", "status"),
            // It is gone.
            Err(kube::Error::Api(error)) if error.code == 404 => {}
            Err(error) => return Err(Error::Pod(change.pod, error)),
        }
    }
    Ok(())
}

/// Brings to DNS what clients may be sent to, and says why it could not.
async fn publish(
    turn_server: &TurnServer,
    observed: &Observed,
    outcome: &Outcome,
    context: &Context,
    now: Timestamp,
) -> Option<String> {
    let validated = &outcome.plan.as_ref().ok()?.validated;
    let previous = turn_server.status.as_ref().and_then(|status| status.dns.as_ref());
    if validated.dns().is_none() && previous.is_none() {
        return None;
    }
    let published = status(turn_server, observed, outcome, now).dns;
    let Context { client, metrics, .. } = context;
    let written = dns::publish(client, metrics, validated, previous, published.as_ref()).await;
    let error = written.err()?;
    tracing::warn!(name = turn_server.name_any(), %error, "DNS is not up to date");
    Some(error.to_string())
}

fn entropy() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Credentials {
        reason: Reason::ApplyFailed,
        message: format!("no randomness for the Secret: {error}"),
    })?;
    Ok(bytes)
}

/// Writes the status if it is another one, and tells what has changed.
async fn report(
    turn_server: &TurnServer,
    read: &Dereferenced,
    outcome: &Outcome,
    context: &Context,
    now: Timestamp,
) -> Result<(), Error> {
    let stored = turn_server.status.clone();
    let mut known = turn_server.clone();
    if let Some(written) = context.memory(turn_server, |memory| memory.written.clone()) {
        known.status = Some(written);
    }
    let status = status(&known, &read.observed, outcome, now);
    if stored.as_ref() == Some(&status) {
        context.memory(turn_server, |memory| memory.written = Some(status));
        return Ok(());
    }
    if !write_status(turn_server, &status, context).await? {
        return Ok(());
    }
    let reference = turn_server.object_ref(&());
    for event in events::of_change(known.status.as_ref(), &status) {
        if let Err(error) = context.recorder.publish(&event, &reference).await {
            tracing::warn!(%error, reason = event.reason, "an event cannot be written");
        }
    }
    context.memory(turn_server, |memory| memory.written = Some(status));
    Ok(())
}

/// False when the `TurnServer` is gone.
async fn write_status(
    turn_server: &TurnServer,
    status: &TurnServerStatus,
    context: &Context,
) -> Result<bool, Error> {
    let namespace = turn_server.namespace().unwrap_or_default();
    let api: Api<TurnServer> = Api::namespaced(context.client.clone(), &namespace);
    let name = turn_server.name_any();
    let patch = json!({
        "apiVersion": TurnServer::api_version(&()),
        "kind": TurnServer::kind(&()),
        // With the uid the status cannot become that of another one of the same name.
        "metadata": {"name": name, "uid": turn_server.uid()},
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch_status(&name, &params, &Patch::Apply(&patch)).await {
        Ok(_) => {
            context.metrics.wrote("TurnServer", "status");
            Ok(true)
        }
        Err(kube::Error::Api(error)) if matches!(error.code, 404 | 409) => Ok(false),
        Err(error) => Err(Error::Status(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_retried_later_and_later() {
        assert_eq!(retry_after(1), Duration::from_secs(1));
        assert_eq!(retry_after(2), Duration::from_secs(2));
        assert_eq!(retry_after(5), Duration::from_secs(16));
        assert_eq!(retry_after(u32::MAX), LONGEST_RETRY);
    }
}
