//! When nothing changes, nothing is written.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Result, ensure};
use cluster::{Cluster, requirement::Requirement};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::{
    fleet::{self, OPERATOR, SYSTEM, text},
    on_cluster,
};

/// How long is watched.
const WATCHED: Duration = Duration::from_secs(60);

/// How long the fleet is left alone before, for what comes after readiness.
const SETTLE: Duration = Duration::from_secs(5);

/// The one thing that is written all the time: the leader renews its Lease.
const LEASE: &str = "leases";

pub(crate) fn trials() -> Vec<Trial> {
    let needs = &[Requirement::OwnCluster, Requirement::Images];
    vec![on_cluster("steady_state::nothing_is_written", needs, nothing_is_written)]
}

fn nothing_is_written(cluster: &Cluster) -> Result<()> {
    fleet::edge(cluster)?;
    std::thread::sleep(SETTLE);
    let before = writes(cluster)?.len();
    std::thread::sleep(WATCHED);
    let written = writes(cluster)?.split_off(before);

    let account = format!("system:serviceaccount:{SYSTEM}:{OPERATOR}");
    let (mut leases, mut by_operator) = (0_u32, BTreeMap::new());
    for write in written.iter().filter(|write| text(write, "/user/username") == account) {
        let [verb, resource, name] =
            ["/verb", "/objectRef/resource", "/objectRef/name"].map(|field| text(write, field));
        if resource == LEASE {
            leases += 1;
        } else {
            *by_operator.entry(format!("{verb} {resource} {name}")).or_insert(0_u32) += 1;
        }
    }
    ensure!(leases > 0, "the leader did not renew its Lease: was it the operator that we watched?");
    ensure!(by_operator.is_empty(), "beside {leases} renewals it wrote {by_operator:?}");

    let others: Vec<_> = written
        .iter()
        .filter(|write| text(write, "/objectRef/apiGroup") == "turnpike.dev")
        .collect();
    ensure!(others.is_empty(), "somebody wrote a TurnServer: {others:?}");
    Ok(())
}

/// The writes that the API server has answered, in the order of its audit log.
fn writes(cluster: &Cluster) -> Result<Vec<Value>> {
    let log = fs::read_to_string(cluster.audit_log()?)?;
    // The last line may be half written.
    Ok(log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}
