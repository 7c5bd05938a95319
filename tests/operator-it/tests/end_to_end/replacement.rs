//! A relay that is not reached for long, and is replaced on another node.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster::{Cluster, deadline};
use libtest_mimic::Trial;

use crate::{
    NODES,
    cut::Cut,
    fleet::{self, MEDIA, TurnServer},
    on_cluster,
};

/// One relay, on ports that nobody else has.
const SPARE: &str = "spare";
const PORT: u16 = 3578;
/// The shortest time that the resource allows.
const REPLACED_AFTER_SECONDS: u64 = 60;
/// To be found out, to be replaced, and for the other one to start and be reached.
const REPLACED_WITHIN: Duration = Duration::from_secs(30 + REPLACED_AFTER_SECONDS + 90);

pub(crate) fn trials() -> Vec<Trial> {
    let name = "replacement::a_relay_that_is_not_reached_for_long_is_replaced_on_another_node";
    vec![on_cluster(name, NODES, replaced_on_another_node)]
}

fn replaced_on_another_node(cluster: &Cluster) -> Result<()> {
    fleet::operator(cluster)?;
    fleet::namespace(cluster, MEDIA)?;
    cluster.apply(&manifest(cluster)?)?;
    let client = cluster.client_host("client")?;
    let api = fleet::api(cluster, &fleet::leaders_node(cluster)?)?;
    let agent = fleet::agent(cluster, &client, &api, SPARE)?;
    let checked = replaces(cluster, &client.address().to_string());
    drop(agent);
    let delete = ["delete", "turnserver", SPARE, "--namespace", MEDIA, "--wait"];
    cluster.kubectl(&delete)?;
    checked
}

fn manifest(cluster: &Cluster) -> Result<String> {
    let client = cluster.client_host("client")?.address();
    let (peers, agents) = (fleet::allowed_peers(cluster)?, fleet::agents(cluster)?);
    Ok(format!(
        "apiVersion: turnpike.dev/v1alpha1
kind: TurnServer
metadata: {{name: {SPARE}, namespace: {MEDIA}}}
spec:
  replicas: 1
  listeners: [{{name: udp, protocol: UDP, port: {PORT}}}]
  relayPorts: {{from: 40000, to: 40999}}
  admin: {{port: 9580}}
  peers: {{allow: [{peers}, {client}/32]}}
  drain: {{timeoutSeconds: 5}}
  reachability:
    # One relay is all of them.
    failOpen: false
    replaceAfterSeconds: {REPLACED_AFTER_SECONDS}
    vantages: {{secretRef: {{name: {agents}}}}}
"
    ))
}

fn replaces(cluster: &Cluster, client: &str) -> Result<()> {
    let before = fleet::wait_until(cluster, SPARE, "reached by the agent too", |server| {
        server.is("Ready", "True") && server.is_settled()
    })?;
    let first = before.relays().pop().context("no relay")?;
    let node = cluster.nodes().iter().find(|node| node.name() == first.node);
    let rule = format!("ip saddr {client} udp dport {PORT} drop");
    let cut = Cut::new(node.context("no such node")?, &rule)?;
    deadline::until("another relay to serve in its place", REPLACED_WITHIN, || {
        let server = TurnServer::get(cluster, SPARE)?;
        let degraded = server.condition("Degraded").context("no condition Degraded")?;
        ensure!(degraded.0 == "True" && degraded.1 == "ListenerPortBlocked", "{degraded:?}");
        ensure!(degraded.2.contains("others serve in their place"), "{degraded:?}");
        ensure!(server.is("Ready", "True"), "not Ready: {:?}", server.condition("Ready"));
        let relays = server.relays();
        let [other] = relays.iter().filter(|relay| relay.ready).collect::<Vec<_>>()[..] else {
            anyhow::bail!("not one relay is ready: {relays:?}");
        };
        ensure!(other.node != first.node && relays.len() == 2, "{relays:?}");
        let urls = &server.object["status"]["urls"];
        let expected = format!("turn:{}:{PORT}?transport=udp", other.address);
        ensure!(*urls == serde_json::json!([expected]), "advertised: {urls}");
        Ok(Some(()))
    })?;
    cut.end()?;
    let after = fleet::wait_until(cluster, SPARE, "of its size again", |server| {
        server.relays().len() == 1 && server.is("Ready", "True") && server.is("Degraded", "False")
    })?;
    ensure!(after.relays()[0].ready, "{:?}", after.relays());
    Ok(())
}
