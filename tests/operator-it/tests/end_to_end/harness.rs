//! The harness itself: what every other test takes for granted of the cluster.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster::{Cluster, SANDBOX_IMAGE, deadline, output, requirement::Requirement};
use libtest_mimic::Trial;

use crate::on_cluster;

/// How long a pod may take until it runs.
const POD_LIMIT: Duration = Duration::from_secs(60);

/// One pod on each node that answers with its name, and a Service in front of them.
const SERVERS: &str = include_str!("harness/servers.yaml");

/// The tests of the harness.
pub(crate) fn trials() -> Vec<Trial> {
    let needs = &[Requirement::OwnCluster];
    vec![
        on_cluster("harness::nodes_are_ready", needs, nodes_are_ready_in_their_regions),
        on_cluster("harness::services_work", needs, a_service_is_reached_from_nodes),
        on_cluster("harness::firewalls_work", needs, a_nodes_firewall_is_its_own),
    ]
}

fn nodes_are_ready_in_their_regions(cluster: &Cluster) -> Result<()> {
    let columns = "jsonpath={range .items[*]}{.metadata.name} \
                   {.metadata.labels.topology\\.kubernetes\\.io/region} \
                   {.status.addresses[?(@.type==\"InternalIP\")].address}{\"\\n\"}{end}";
    let seen = cluster.kubectl(&["get", "nodes", "--output", columns])?;
    let expected: String = cluster
        .nodes()
        .iter()
        .map(|node| format!("{} {} {}\n", node.name(), node.placement().region, node.address()))
        .collect();
    ensure!(seen == expected, "the API server has\n{seen}and we made\n{expected}");
    let regions: Vec<_> = cluster.nodes().iter().map(|node| &node.placement().region).collect();
    ensure!(regions == ["east", "west"], "{regions:?}");
    Ok(())
}

fn a_service_is_reached_from_nodes(cluster: &Cluster) -> Result<()> {
    cluster.apply(&SERVERS.replace("SANDBOX_IMAGE", SANDBOX_IMAGE))?;
    let rollout = ["rollout", "status", "daemonset/servers", "--timeout=60s"];
    cluster.kubectl(&rollout)?;
    let jsonpath = "jsonpath={.spec.clusterIP}";
    let service = cluster.kubectl(&["get", "service", "servers", "--output", jsonpath])?;
    for index in 0..cluster.nodes().len() {
        answers_of_each_pod(cluster, index, &service)
            .with_context(|| format!("from node {index}"))?;
    }
    cluster.kubectl(&["delete", "daemonset,service", "servers", "--wait"]).map(drop)
}

/// Asks the Service from a node until a pod of each node has answered: the kernel spreads the
/// connections at random.
fn answers_of_each_pod(cluster: &Cluster, node: usize, service: &str) -> Result<()> {
    let mut names = std::collections::BTreeSet::new();
    let request = format!(
        "exec 3<>/dev/tcp/{service}/80 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
    );
    deadline::until_true("an answer of each pod", POD_LIMIT, || {
        let mut command = cluster.node(node)?.command("timeout");
        let answer = output(command.args(["2", "bash", "-c", &request]))?;
        names.extend(answer.lines().last().map(str::to_owned));
        Ok(names.len() == cluster.nodes().len())
    })
}

fn a_nodes_firewall_is_its_own(cluster: &Cluster) -> Result<()> {
    let client = cluster.client_host("client")?;
    let reaches = |index: usize| -> Result<bool> {
        let kubelet = format!("exec 3<>/dev/tcp/{}/10250", cluster.node(index)?.address());
        let mut connect = client.command("timeout");
        Ok(output(connect.args(["1", "bash", "-c", &kubelet])).is_ok())
    };
    ensure!(reaches(0)? && reaches(1)?, "the client reaches both nodes");
    cluster.node(0)?.nft(
        "table ip closed {\nchain input {\ntype filter hook input priority filter\n\
         tcp dport 10250 drop\n}\n}",
    )?;
    let closed = (reaches(0)?, reaches(1)?);
    cluster.node(0)?.nft("delete table ip closed")?;
    ensure!(closed == (false, true), "with node 1 closed the client reaches: {closed:?}");
    ensure!(reaches(0)?, "the firewall is open again");
    Ok(())
}
