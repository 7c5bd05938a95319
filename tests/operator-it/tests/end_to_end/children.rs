//! What a `TurnServer` owns comes back when it is deleted, and goes with it.

use anyhow::{Context, Result, ensure};
use cluster::{Cluster, deadline};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::{
    API,
    fleet::{self, CONVERGE_LIMIT, EDGE, MEDIA, text},
    on_cluster,
};

/// Everything that may be made for a `TurnServer`.
const KINDS: &str = "deployments,daemonsets,replicasets,pods,configmaps,secrets,services,\
                     poddisruptionbudgets,networkpolicies";

/// The kinds that it owns itself, and that are to come back.
const OWNED: [&str; 5] =
    ["Deployment", "ConfigMap", "Secret", "PodDisruptionBudget", "NetworkPolicy"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![on_cluster("children::a_deleted_child_comes_back", API, a_deleted_child_comes_back)]
}

/// The last of all: they leave nothing for the others.
pub(crate) fn removal_trials() -> Vec<Trial> {
    vec![
        on_cluster("children::go_with_their_owner", API, they_go_with_their_owner),
        on_cluster("chart::uninstalling_keeps_the_resources", API, crate::chart::uninstall),
    ]
}

/// The objects that name [`EDGE`] as their controller.
fn owned(cluster: &Cluster) -> Result<Vec<Value>> {
    let is_owner = |owner: &Value| owner["kind"] == "TurnServer" && owner["name"] == EDGE;
    let mut all = fleet::list(cluster, KINDS)?;
    all.retain(|object| {
        let owners = object["metadata"]["ownerReferences"].as_array();
        owners.is_some_and(|owners| owners.iter().any(is_owner))
    });
    Ok(all)
}

fn a_deleted_child_comes_back(cluster: &Cluster) -> Result<()> {
    fleet::edge(cluster)?;
    let children = owned(cluster)?;
    for kind in OWNED {
        let child = children
            .iter()
            .find(|child| child["kind"] == kind)
            .with_context(|| format!("the TurnServer owns no {kind}"))?;
        comes_back(cluster, kind, text(child, "/metadata/name"), text(child, "/metadata/uid"))?;
    }
    fleet::wait_ready(cluster, EDGE).map(drop)
}

fn comes_back(cluster: &Cluster, kind: &str, name: &str, uid: &str) -> Result<()> {
    cluster.kubectl(&["delete", kind, name, "--namespace", MEDIA, "--wait=false"])?;
    deadline::until_true(&format!("{kind} {name} to come back"), CONVERGE_LIMIT, || {
        let now = fleet::get(cluster, kind, name)?;
        Ok(text(&now, "/metadata/uid") != uid)
    })
}

fn they_go_with_their_owner(cluster: &Cluster) -> Result<()> {
    fleet::edge(cluster)?;
    ensure!(!owned(cluster)?.is_empty(), "the TurnServer owns something");
    cluster.kubectl(&["delete", "turnserver", EDGE, "--namespace", MEDIA, "--wait"])?;
    deadline::until("everything of the TurnServer to go", CONVERGE_LIMIT, || {
        // The certificate of the cluster is in each namespace.
        let left: Vec<_> = fleet::list(cluster, KINDS)?
            .iter()
            .map(|object| format!("{} {}", text(object, "/kind"), text(object, "/metadata/name")))
            .filter(|object| object != "ConfigMap kube-root-ca.crt")
            .filter(|object| !object.starts_with(&format!("Secret {}", fleet::OURS)))
            .collect();
        ensure!(left.is_empty(), "left: {}", left.join(", "));
        Ok(Some(()))
    })
}
