//! Reads what the decisions are made of: most of it from the watches' stores, the Secret and the
//! ranges of the Services from the API server. Secrets are read one by one, because the right to
//! watch them would be the right to read every Secret of the cluster at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment},
        core::v1::{ConfigMap, Node, Pod, Secret},
        networking::v1::{NetworkPolicy, ServiceCIDR},
        policy::v1::PodDisruptionBudget,
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    runtime::reflector::{Store, store::WriterDropped},
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Mutex;
use turn_api::{REGION_LABEL, TURN_SERVER_LABEL, TurnServer, Validated, conditions::Reason};

use super::{
    credentials::SecretKeys,
    desired::{ChildKind, TEMPLATE_ANNOTATION},
    names,
    observed::{self, NodeFacts, Observed, WorkloadFacts},
    relay_pod::RelayPod,
    status::Failure,
};
use crate::api_error;

/// How long the ranges of the Services are taken to be what they were.
const SERVICE_RANGES_FOR: Duration = Duration::from_secs(300);

/// What the watches have seen.
#[derive(Debug, Clone)]
pub struct Stores {
    pub(super) turn_servers: Store<TurnServer>,
    pub(super) nodes: Store<Node>,
    pub(super) pods: Store<Pod>,
    pub(super) config_maps: Store<ConfigMap>,
    pub(super) network_policies: Store<NetworkPolicy>,
    pub(super) disruption_budgets: Store<PodDisruptionBudget>,
    pub(super) deployments: Store<Deployment>,
    pub(super) daemon_sets: Store<DaemonSet>,
}

impl Stores {
    /// Waits until every watch has seen all there is: before that, what is not there yet would be
    /// taken for missing.
    ///
    /// # Errors
    /// When a watch has ended.
    pub async fn wait_until_ready(&self) -> Result<(), WriterDropped> {
        self.turn_servers.wait_until_ready().await?;
        self.nodes.wait_until_ready().await?;
        self.pods.wait_until_ready().await?;
        self.config_maps.wait_until_ready().await?;
        self.network_policies.wait_until_ready().await?;
        self.disruption_budgets.wait_until_ready().await?;
        self.deployments.wait_until_ready().await?;
        self.daemon_sets.wait_until_ready().await
    }
}

/// An object that exists, and was made for the `TurnServer` or has the name of one that is.
#[derive(Debug, Clone)]
pub struct ObservedChild {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it was made for the `TurnServer`.
    pub owned: bool,
    /// All of it.
    pub manifest: Value,
}

/// What was read.
#[derive(Debug, Clone)]
pub struct Dereferenced {
    /// What decisions are made of.
    pub observed: Observed,
    /// The objects to compare with.
    pub children: Vec<ObservedChild>,
    /// What could not be read.
    pub failure: Option<Failure>,
}

/// The ranges that Services get their addresses from, as they were read last.
#[derive(Debug, Default)]
pub struct ServiceRanges(Mutex<Option<(Instant, Vec<ipnet::IpNet>)>>);

impl ServiceRanges {
    /// Reads them, unless they were read lately. None where the API server does not tell (before
    /// Kubernetes 1.33, or without the right to read them).
    async fn get(&self, client: &Client) -> Vec<ipnet::IpNet> {
        let mut cached = self.0.lock().await;
        if let Some((since, ranges)) = &*cached
            && since.elapsed() < SERVICE_RANGES_FOR
        {
            return ranges.clone();
        }
        let listed = Api::<ServiceCIDR>::all(client.clone()).list(&ListParams::default()).await;
        let before = cached.take().map(|(_, ranges)| ranges).unwrap_or_default();
        let ranges = match listed {
            Ok(objects) => observed::service_ranges(&objects.items),
            // What was known is better than nothing.
            Err(error) => {
                tracing::debug!(%error, "the ranges of the Services cannot be read");
                before
            }
        };
        *cached = Some((Instant::now(), ranges.clone()));
        ranges
    }
}

/// Reads all that the decisions about `turn_server` need.
pub async fn dereference(
    client: &Client,
    stores: &Stores,
    service_ranges: &ServiceRanges,
    turn_server: &TurnServer,
    now: Timestamp,
) -> Dereferenced {
    let mut observed = Observed {
        nodes: nodes(stores),
        service_ranges: service_ranges.get(client).await,
        others: others(stores, turn_server),
        secret: None,
        tls_secret: None,
        vantages_secret: None,
        pods: pods(stores, turn_server, now),
        workloads: workloads(stores, turn_server),
        reachability: None,
    };
    let failure = read_secrets(client, turn_server, &mut observed).await.err();
    Dereferenced { observed, children: children(stores, turn_server), failure }
}

fn nodes(stores: &Stores) -> Vec<NodeFacts> {
    let mut nodes: Vec<NodeFacts> =
        stores.nodes.state().iter().map(|node| NodeFacts::from(&**node)).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    nodes
}

/// Those that are valid and are not being deleted.
fn others(stores: &Stores, turn_server: &TurnServer) -> Vec<Validated> {
    let uid = turn_server.uid();
    let others = stores.turn_servers.state();
    others
        .iter()
        .filter(|other| other.uid() != uid && other.metadata.deletion_timestamp.is_none())
        .filter_map(|other| Validated::try_from(&**other).ok())
        .collect()
}

/// The objects of `store` that carry the label of `turn_server`, by name.
fn labelled<K>(store: &Store<K>, turn_server: &TurnServer) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let label = names::label_value(&turn_server.name_any());
    let namespace = turn_server.namespace();
    let mut found = store.state_filter(|object| {
        object.namespace() == namespace && object.labels().get(TURN_SERVER_LABEL) == Some(&label)
    });
    found.sort_by_key(|object| object.name_any());
    found
}

fn pods(stores: &Stores, turn_server: &TurnServer, now: Timestamp) -> Vec<RelayPod> {
    labelled(&stores.pods, turn_server).iter().map(|pod| RelayPod::new(pod, now)).collect()
}

fn workloads(stores: &Stores, turn_server: &TurnServer) -> Vec<WorkloadFacts> {
    let deployments = labelled(&stores.deployments, turn_server);
    let daemon_sets = labelled(&stores.daemon_sets, turn_server);
    let deployments = deployments.iter().map(|one| of_deployment(one));
    deployments.chain(daemon_sets.iter().map(|one| of_daemon_set(one))).collect()
}

/// What every workload has: its region, its name, and the pods that it was given.
fn of_workload(workload: &impl ResourceExt) -> WorkloadFacts {
    WorkloadFacts {
        region: workload.labels().get(REGION_LABEL).cloned().unwrap_or_default(),
        name: workload.name_any(),
        template_digest: workload
            .annotations()
            .get(TEMPLATE_ANNOTATION)
            .cloned()
            .unwrap_or_default(),
        ..WorkloadFacts::default()
    }
}

pub(super) fn of_deployment(deployment: &Deployment) -> WorkloadFacts {
    let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let seen = status.observed_generation == deployment.metadata.generation;
    let updated = status.updated_replicas.unwrap_or(0);
    let all = status.replicas.unwrap_or(0);
    let settled = seen && updated == desired && all == desired;
    WorkloadFacts { desired, settled, ..of_workload(deployment) }
}

pub(super) fn of_daemon_set(daemon_set: &DaemonSet) -> WorkloadFacts {
    let status = daemon_set.status.clone().unwrap_or_default();
    let seen = status.observed_generation == daemon_set.metadata.generation;
    let desired = status.desired_number_scheduled;
    let updated = status.updated_number_scheduled.unwrap_or(0);
    let settled = seen && updated == desired;
    WorkloadFacts { desired, settled, ..of_workload(daemon_set) }
}

/// Reads the Secrets that the spec needs. One that does not exist is no failure; when the spec is
/// invalid none is read.
async fn read_secrets(
    client: &Client,
    turn_server: &TurnServer,
    observed: &mut Observed,
) -> Result<(), Failure> {
    let Ok(validated) = Validated::try_from(turn_server) else { return Ok(()) };
    let api: Api<Secret> = Api::namespaced(client.clone(), validated.namespace());
    let reason = Reason::ReadFailed;
    let message =
        |error: kube::Error| format!("the Secret cannot be read: {}", api_error::message(&error));
    let credentials = api.get_opt(&SecretKeys::of(&validated).secret_name).await;
    observed.secret =
        credentials.map_err(|error| Failure::Credentials { reason, message: message(error) })?;
    if let Some(name) = validated.tls_secret_name() {
        let secret = api.get_opt(name).await;
        observed.tls_secret =
            secret.map_err(|error| Failure::Certificate { reason, message: message(error) })?;
    }
    if let Some(vantages) = &validated.reachability().vantages {
        // Without it nobody probes from outside, and everything else goes on.
        observed.vantages_secret = match api.get_opt(&vantages.secret_ref.name).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error = message(error), "the tokens of the vantages are not known");
                None
            }
        };
    }
    Ok(())
}

fn children(stores: &Stores, turn_server: &TurnServer) -> Vec<ObservedChild> {
    let mut all = Vec::new();
    collect(ChildKind::ConfigMap, &stores.config_maps, turn_server, &mut all);
    collect(ChildKind::NetworkPolicy, &stores.network_policies, turn_server, &mut all);
    collect(ChildKind::PodDisruptionBudget, &stores.disruption_budgets, turn_server, &mut all);
    collect(ChildKind::Deployment, &stores.deployments, turn_server, &mut all);
    collect(ChildKind::DaemonSet, &stores.daemon_sets, turn_server, &mut all);
    all
}

fn collect<K>(
    kind: ChildKind,
    store: &Store<K>,
    turn_server: &TurnServer,
    all: &mut Vec<ObservedChild>,
) where
    K: Resource<DynamicType = ()> + Serialize + Clone + 'static,
{
    let uid = turn_server.uid().unwrap_or_default();
    for object in labelled(store, turn_server) {
        let manifest = serde_json::to_value(&*object).unwrap_or_default();
        all.push(ObservedChild::new(kind, object.meta(), manifest, &uid));
    }
}

impl ObservedChild {
    /// Describes an object, as seen from the `TurnServer` with this uid.
    #[must_use]
    pub fn new(
        kind: ChildKind,
        metadata: &kube::api::ObjectMeta,
        manifest: Value,
        uid: &str,
    ) -> Self {
        Self {
            kind,
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            owned: names::is_owned_by(metadata, uid),
            manifest,
        }
    }
}
