//! A relay that is told to end serves its clients to their end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster::{Cluster, deadline, output};
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

/// Of the relays, unless the resource says otherwise.
const ADMIN_PORT: u16 = 9478;

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
    newcomers_are_turned_away(cluster, &peer, &relay, &secret, &mut busy)?;
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

/// While it drains a new client gets no allocation of it: it is sent to another relay, or refused
/// where this one knows of none yet.
fn newcomers_are_turned_away(
    cluster: &Cluster,
    peer: &Peer,
    relay: &Relay,
    secret: &str,
    busy: &mut Busy,
) -> Result<()> {
    let limit = Duration::from_secs(DRAIN_SECONDS / 3);
    let newcomer = Client { messages: 1, ..Client::short(relay.address, secret, Way::Channels) };
    let turned_away = || {
        // What becomes of it elsewhere is not the matter here.
        let _served_elsewhere = newcomer.run(cluster, peer);
        let metrics = metrics(cluster, relay)?;
        let refused = ["try_alternate", "insufficient_capacity"].iter().any(|reason| {
            let name = format!("turn_requests_refused_total{{reason=\"{reason}\"}} ");
            metrics.lines().any(|line| line.strip_prefix(&name).is_some_and(|count| count != "0"))
        });
        Ok(refused.then_some(()))
    };
    deadline::until("a newcomer to be turned away", limit, turned_away)?;
    ensure!(busy.is_running()?, "the client was done before the relay was told to end");
    Ok(())
}

/// The metrics of a relay, as a client's host sees them.
fn metrics(cluster: &Cluster, relay: &Relay) -> Result<String> {
    let ask = format!(
        "exec 3<>/dev/tcp/{}/{ADMIN_PORT} && printf 'GET /metrics HTTP/1.1\\r\\nhost: relay\\r\\n\
         connection: close\\r\\n\\r\\n' >&3 && cat <&3",
        relay.address
    );
    let mut bash = cluster.client_host("client")?.command("timeout");
    output(bash.args(["10", "bash", "-c", &ask]))
}
