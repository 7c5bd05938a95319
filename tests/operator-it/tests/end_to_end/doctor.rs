//! What `turnctl doctor` says to somebody in the clients' network, while one of two relays is closed
//! to it in one way after the other.

use std::{
    fs,
    io::Write as _,
    net::Ipv4Addr,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use cluster::Cluster;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::{NODES, caller, cut::Cut, fleet, on_cluster};

pub(crate) fn trials() -> Vec<Trial> {
    vec![on_cluster(
        "doctor::it_names_what_is_dropped_on_one_node_and_finds_nothing_wrong_with_the_other",
        NODES,
        names_what_is_dropped,
    )]
}

/// Where the client is told to go: over UDP, over TCP and over TLS.
fn urls(relay: Ipv4Addr) -> [String; 3] {
    [("turn", 3478, "udp"), ("turn", 3478, "tcp"), ("turns", 5349, "tcp")]
        .map(|(scheme, port, transport)| format!("{scheme}:{relay}:{port}?transport={transport}"))
}

fn names_what_is_dropped(cluster: &Cluster) -> Result<()> {
    fleet::edge_outside(cluster)?;
    let client = cluster.client_host("client")?.address();
    let closed = cluster.node(0)?;
    let other = cluster.node(1)?.address();
    let all = [urls(closed.address()), urls(other)].concat();
    let ice_servers = caller::mint(cluster, &all)?.to_string();
    let good = ["works"; 3];
    let is_seen = |expected: [&str; 3]| {
        let expected = [expected, good].concat();
        cluster::deadline::until(&format!("{expected:?}"), fleet::CONVERGE_LIMIT, || {
            let diagnosis = diagnose(cluster, &ice_servers)?;
            let reasons = reasons(&diagnosis);
            ensure!(reasons == expected, "it says {reasons:?}: {diagnosis:#}");
            Ok(Some(()))
        })
    };
    // The new peers are on their way to the relays.
    is_seen(good)?;
    for (rule, expected) in [
        ("udp dport 3478 drop", ["ListenerPortBlocked", "works", "works"]),
        ("udp dport 61000-65535 drop", ["RelayRangeBlocked"; 3]),
        ("udp dport 61000-63267 drop", ["RelayRangePartiallyBlocked"; 3]),
        ("tcp dport 3478 drop", ["works", "ListenerPortBlocked", "works"]),
        ("tcp dport 5349 drop", ["works", "works", "ListenerPortBlocked"]),
        ("drop", ["ListenerPortBlocked"; 3]),
        ("meta length > 1228 drop", ["PathMTUTooSmall"; 3]),
    ] {
        let cut = Cut::new(closed, &format!("ip saddr {client} {rule}"))?;
        let seen = is_seen(expected).with_context(|| rule.to_owned());
        cut.end()?;
        seen?;
    }
    is_seen(good)?;
    // The API gives four of them at most.
    for (diagnosis, count) in [(diagnose_server(cluster)?, all.len()), (diagnose_api(cluster)?, 4)]
    {
        let reasons = reasons(&diagnosis);
        let all_work = reasons.len() == count && reasons.iter().all(|reason| reason == "works");
        ensure!(all_work, "it says {diagnosis:#}");
    }
    Ok(())
}

/// What the doctor says in the client's network of `iceServers`.
fn diagnose(cluster: &Cluster, ice_servers: &str) -> Result<Value> {
    let mut command = doctor(cluster)?;
    command.args(["--ice-servers", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no input")?.write_all(ice_servers.as_bytes())?;
    said(child.wait_with_output()?)
}

/// What it says there of the `TurnServer`: a host of the client's network that may ask the API server.
fn diagnose_server(cluster: &Cluster) -> Result<Value> {
    // From the machine itself another address leads to the API server than from there.
    let template = "go-template={{range .subsets}}{{range .addresses}}{{.ip}}{{end}}:\
                    {{range .ports}}{{.port}}{{end}}{{end}}";
    let endpoint = cluster.kubectl(&["get", "endpoints", "kubernetes", "--output", template])?;
    let kubeconfig = fs::read_to_string(cluster.kubeconfig())?;
    let mut kubeconfig: Value = serde_json::from_str(&kubeconfig)?;
    kubeconfig["clusters"][0]["cluster"]["server"] = format!("https://{endpoint}").into();
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), kubeconfig.to_string())?;
    let mut command = doctor(cluster)?;
    command.env("KUBECONFIG", file.path());
    said(command.args(["--server", fleet::EDGE, "--namespace", fleet::MEDIA]).output()?)
}

/// What it says there of what the API gives to clients.
fn diagnose_api(cluster: &Cluster) -> Result<Value> {
    let api = fleet::api(cluster, &fleet::leaders_node(cluster)?)?;
    let url = fleet::ice_servers(&api);
    let key = fleet::file(cluster, "caller.key", fleet::CALLER.1)?;
    said(doctor(cluster)?.args(["--api", &url, "--api-key-file", &key]).output()?)
}

fn doctor(cluster: &Cluster) -> Result<Command> {
    let program = cluster::program("turnctl")?;
    let mut command = cluster.client_host("client")?.command(program.to_str().context("a path")?);
    let authority = fleet::authority(cluster)?;
    command.args(["doctor", "--output", "json", "--timeout", "4s", "--ca-file", &authority]);
    Ok(command)
}

fn said(output: Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("no JSON, but {}", String::from_utf8_lossy(&output.stderr)))
}

/// The reason that it gives for each URL; `works` where there is none.
fn reasons(diagnosis: &Value) -> Vec<String> {
    let checks = diagnosis["checks"].as_array().into_iter().flatten();
    let reason = |check: &Value| {
        let text = check["reason"].as_str().or(check["result"].as_str());
        text.unwrap_or_default().to_owned()
    };
    checks.map(reason).collect()
}
