//! A client relays through what `kubectl apply` has made.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use cluster::Cluster;
use libtest_mimic::Trial;

use crate::{
    NODES, fleet, on_cluster,
    turnutils::{Client, Peer, Way},
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        on_cluster("relaying::a_relay_in_each_region", NODES, a_relay_in_each_region),
        on_cluster("relaying::a_change_of_peers_restarts_nothing", NODES, peers_at_run_time),
    ]
}

fn a_relay_in_each_region(cluster: &Cluster) -> Result<()> {
    let server = fleet::edge(cluster)?;
    let relays = server.relays();
    let places: BTreeSet<_> =
        relays.iter().map(|relay| (relay.region.as_str(), relay.node.as_str())).collect();
    ensure!(places == [("east", "node1"), ("west", "node2")].into(), "relays: {relays:?}");
    for (index, node) in cluster.nodes().iter().enumerate() {
        let seen = relays.iter().any(|relay| relay.address == node.address());
        ensure!(seen, "no relay on the address of node {index}: {relays:?}");
    }
    let (peer, secret) = (Peer::start(cluster)?, server.secret(cluster)?);
    for relay in &relays {
        for way in Way::ALL {
            let outcome = Client::short(relay.address, &secret, way).run(cluster, &peer)?;
            outcome.nothing_lost().with_context(|| format!("{way:?} through {}", relay.node))?;
        }
    }
    Ok(())
}

/// Peers are a setting that a relay takes while it runs: a client that was refused is served, by
/// the same pods.
fn peers_at_run_time(cluster: &Cluster) -> Result<()> {
    let server = fleet::edge(cluster)?;
    let (peer, secret) = (Peer::start(cluster)?, server.secret(cluster)?);
    let relay = server.relays().into_iter().next().context("a relay")?;
    let client = Client::short(relay.address, &secret, Way::Channels);

    cluster.apply(&fleet::edge_manifest("", ""))?;
    let refused = || Ok(client.run(cluster, &peer).is_err().then_some(()));
    cluster::deadline::until("the peer to be denied", fleet::CONVERGE_LIMIT, refused)?;

    cluster.apply(&fleet::edge_manifest(&fleet::allowed_peers(cluster)?, ""))?;
    let served = || client.run(cluster, &peer)?.nothing_lost().map(Some);
    cluster::deadline::until("the peer to be allowed", fleet::CONVERGE_LIMIT, served)?;

    let now = fleet::wait_ready(cluster, fleet::EDGE)?;
    ensure!(now.relays() == server.relays(), "a pod was replaced: {:?}", now.relays());
    let restarts: Vec<_> = fleet::list(cluster, "pods")?
        .iter()
        .filter_map(|pod| pod.pointer("/status/containerStatuses/0/restartCount")?.as_u64())
        .collect();
    ensure!(restarts.iter().all(|count| *count == 0), "a relay was restarted: {restarts:?}");
    Ok(())
}
