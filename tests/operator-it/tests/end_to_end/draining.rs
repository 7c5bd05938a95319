//! A relay that is told to end serves its clients to their end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster::{Cluster, deadline};
use libtest_mimic::Trial;

use crate::{
    NODES,
    fleet::{self, CONVERGE_LIMIT, DRAIN_SECONDS, EDGE, MEDIA, Relay},
    on_cluster,
    turnutils::{Busy, Client, Peer, Way},
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![on_cluster("draining::a_client_loses_nothing", NODES, a_client_loses_nothing)]
}

/// How long the client relays, so that the relay is told to end in the middle of it.
const MESSAGES: u32 = 1000;
const INTERVAL_MILLISECONDS: u32 = 20;

fn a_client_loses_nothing(cluster: &Cluster) -> Result<()> {
    let server = fleet::edge(cluster)?;
    let (peer, secret) = (Peer::start(cluster)?, server.secret(cluster)?);
    let relay = server.relays().into_iter().next().context("a relay")?;
    let client = Client {
        messages: MESSAGES,
        interval_milliseconds: INTERVAL_MILLISECONDS,
        ..Client::short(relay.address, &secret, Way::Channels)
    };
    let mut busy = client.start(cluster, &peer, "draining-client")?;
    deadline::until_true("the client to relay", CONVERGE_LIMIT, || Ok(busy.received()? > 0))?;

    cluster.kubectl(&["delete", "pod", &relay.pod, "--namespace", MEDIA, "--wait=false"])?;
    newcomers_are_refused(cluster, &peer, &relay, &secret, &mut busy)?;
    busy.finish(&client)?.nothing_lost().context("the relay was told to end meanwhile")?;

    let replaced = |server: &fleet::TurnServer| {
        let relays = server.relays();
        let on_node = relays.iter().filter(|other| other.node == relay.node);
        on_node.clone().count() == 1
            && on_node.clone().all(|other| other.pod != relay.pod && other.ready)
    };
    fleet::wait_until(cluster, EDGE, "served by a new pod", replaced)?;
    fleet::wait_ready(cluster, EDGE).map(drop)
}

/// While it drains, the status says so, and a new client gets no allocation.
fn newcomers_are_refused(
    cluster: &Cluster,
    peer: &Peer,
    relay: &Relay,
    secret: &str,
    busy: &mut Busy,
) -> Result<()> {
    let limit = Duration::from_secs(DRAIN_SECONDS / 3);
    let newcomer = Client { messages: 1, ..Client::short(relay.address, secret, Way::Channels) };
    let refused = || Ok(newcomer.run(cluster, peer).is_err().then_some(()));
    deadline::until("a newcomer to be refused", limit, refused)?;
    ensure!(busy.is_running()?, "the client was done before the relay was told to end");
    Ok(())
}
