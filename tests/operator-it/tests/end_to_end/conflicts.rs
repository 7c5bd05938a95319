//! Two `TurnServer`s that want the same ports of the same nodes.

use anyhow::{Result, ensure};
use cluster::Cluster;
use libtest_mimic::Trial;

use crate::{
    API,
    fleet::{self, EDGE, MEDIA},
    on_cluster,
};

/// A younger one with every default, and so with the ports of the older.
const RIVAL: &str = "rival";

pub(crate) fn trials() -> Vec<Trial> {
    vec![on_cluster("conflicts::the_older_keeps_its_ports", API, the_older_keeps_its_ports)]
}

fn the_older_keeps_its_ports(cluster: &Cluster) -> Result<()> {
    fleet::edge(cluster)?;
    // Until all who probe it have said so, its status goes on changing.
    let older = fleet::wait_until(cluster, EDGE, "reached by all", fleet::TurnServer::is_settled)?;
    cluster.apply(&format!(
        "apiVersion: turnpike.dev/v1alpha1\nkind: TurnServer\n\
         metadata: {{name: {RIVAL}, namespace: {MEDIA}}}\nspec: {{}}\n"
    ))?;
    let checked = conflict_is_reported(cluster, &older);
    let delete = ["delete", "turnserver", RIVAL, "--namespace", MEDIA, "--wait"];
    cluster.kubectl(&delete)?;
    checked
}

fn conflict_is_reported(cluster: &Cluster, older: &fleet::TurnServer) -> Result<()> {
    let rival = fleet::wait_until(cluster, RIVAL, "without ports", |rival| {
        rival.is("PortsAllocated", "False") && rival.is("Ready", "False")
    })?;
    let (_, _, message) = rival.condition("PortsAllocated").unwrap_or_default();
    ensure!(message.contains(EDGE), "the message names the older one: {message}");
    ensure!(rival.relays().is_empty(), "it has relays: {:?}", rival.relays());

    let now = fleet::TurnServer::get(cluster, EDGE)?;
    ensure!(now.object["status"] == older.object["status"], "the older one's status changed");
    ensure!(now.object["metadata"] == older.object["metadata"], "the older one was written");
    Ok(())
}
