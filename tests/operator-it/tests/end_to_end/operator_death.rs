//! The operator dies in the middle of a roll-out, and the next one ends it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster::{Cluster, deadline, output, requirement::Requirement};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::{
    fleet::{self, CONVERGE_LIMIT, EDGE, OPERATOR, SYSTEM, text},
    on_cluster,
};

/// How often the operator is killed, and within which time after a change.
const DEATHS: u32 = 4;
const LATEST: Duration = Duration::from_secs(4);

/// A line of a spec that relays cannot take while they run, and one that they need not be told.
const ROLLS: &str = "  relayPorts: {from: 61500, to: 64000}\n";
const PLAIN: &str = "";

pub(crate) fn trials() -> Vec<Trial> {
    let needs = &[Requirement::OwnCluster, Requirement::Images];
    vec![on_cluster("operator_death::ends_in_the_same_state", needs, ends_in_the_same_state)]
}

fn ends_in_the_same_state(cluster: &Cluster) -> Result<()> {
    fleet::edge(cluster)?;
    let undisturbed = [PLAIN, ROLLS].map(|spec| roll_out(cluster, spec, None));
    let [plain, rolled] = undisturbed;
    let (plain, rolled) = (plain?, rolled?);
    ensure!(plain != rolled, "the change changes nothing");
    for (spec, expected) in [(PLAIN, &plain), (ROLLS, &rolled)].iter().cycle().take(DEATHS as usize)
    {
        let after = random_duration(LATEST)?;
        let state = roll_out(cluster, spec, Some(after))?;
        ensure!(
            state == **expected,
            "killed {after:?} after the change it ended in\n{state:#}\nand not in\n{expected:#}"
        );
    }
    Ok(())
}

/// Changes the spec, kills the operator after a while, and returns the state in the end.
fn roll_out(cluster: &Cluster, spec: &str, kill_after: Option<Duration>) -> Result<Value> {
    cluster.apply(&fleet::edge_manifest(&fleet::allowed_peers(cluster)?, spec))?;
    if let Some(after) = kill_after {
        std::thread::sleep(after);
        kill_operator(cluster).context("kill the operator")?;
    }
    fleet::wait_ready(cluster, EDGE)?;
    // Ready may be of the moment before the last step: the state is final when it stays.
    let mut before = state(cluster)?;
    deadline::until("the state to stay", CONVERGE_LIMIT, || {
        std::thread::sleep(Duration::from_secs(3));
        let now = state(cluster)?;
        let stays = now == before && fleet::TurnServer::get(cluster, EDGE)?.is("Ready", "True");
        before = now;
        Ok(stays.then(|| before.clone()))
    })
}

/// Kills the operator's process as the kernel would when memory is short. The pod is removed, too:
/// the kubelet would start it again only after a pause that grows.
fn kill_operator(cluster: &Cluster) -> Result<()> {
    let selector = ["get", "pods", "--namespace", SYSTEM, "--output", "json"];
    let pods: Value = serde_json::from_str(&cluster.kubectl(&selector)?)?;
    let pod = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|pod| text(pod, "/metadata/name").starts_with(OPERATOR))
        .context("the operator's pod")?;
    let container = text(pod, "/status/containerStatuses/0/containerID");
    let container = container.strip_prefix("containerd://").context("the container's id")?;
    let node = cluster
        .nodes()
        .iter()
        .find(|node| node.name() == text(pod, "/spec/nodeName"))
        .context("the pod's node")?;
    output(node.ctr().args(["tasks", "kill", "--signal", "SIGKILL", container]))?;
    let name = text(pod, "/metadata/name");
    let delete = ["delete", "pod", name, "--namespace", SYSTEM, "--grace-period=0", "--force"];
    cluster.kubectl(&delete).map(drop)
}

/// What the operator has made, without what differs between two roll-outs in any case.
fn state(cluster: &Cluster) -> Result<Value> {
    let kinds = "turnservers,deployments,configmaps,poddisruptionbudgets,networkpolicies";
    let mut objects = fleet::list(cluster, kinds)?;
    for object in &mut objects {
        strip(object);
    }
    let relays = fleet::TurnServer::get(cluster, EDGE)?.relays();
    let relays: Vec<_> =
        relays.iter().map(|relay| json!([relay.region, relay.node, relay.ready])).collect();
    Ok(json!({"objects": objects, "relays": relays}))
}

fn strip(object: &mut Value) {
    let metadata = object["metadata"].take();
    let kept = json!({
        "name": metadata["name"],
        "labels": metadata["labels"],
        "ownerReferences": metadata["ownerReferences"],
    });
    object["metadata"] = kept;
    let conditions: Vec<_> = object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|_| object["kind"] == "TurnServer")
        .map(|condition| json!([condition["type"], condition["status"], condition["reason"]]))
        .collect();
    object["status"] = json!(conditions);
}

fn random_duration(below: Duration) -> Result<Duration> {
    let milliseconds = u32::try_from(below.as_millis())?;
    Ok(Duration::from_millis((getrandom::u32()? % milliseconds).into()))
}
