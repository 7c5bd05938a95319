//! Bad input is refused or reported, by name, and stops nothing else.

use anyhow::{Context, Result, ensure};
use cluster::{Cluster, deadline};
use libtest_mimic::Trial;

use crate::{
    API, NODES,
    fleet::{self, CONVERGE_LIMIT, EDGE, MEDIA, text},
    on_cluster,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        on_cluster("refusals::the_api_server_says_what_is_wrong", API, the_api_server_says_why),
        on_cluster("refusals::a_secret_without_its_key", API, a_secret_without_its_key),
        on_cluster("refusals::a_port_that_is_taken", NODES, a_port_that_is_taken),
    ]
}

/// Lines of a spec, and what the API server's message must say about them.
const REFUSED: &[(&str, &str)] = &[
    ("relayPorts: {from: 30000, to: 31000}", "30000"),
    ("relayPorts: {from: 62000, to: 61000}", "from"),
    ("listeners: [{name: a, protocol: UDP, port: 1}, {name: a, protocol: TCP, port: 2}]", "name"),
    ("listeners: [{name: a, protocol: SCTP, port: 1}]", "SCTP"),
    ("realms: example.com", "realms"),
    ("peers: {allow: [10.0.0.0/99]}", "peers"),
    ("features: {tcpRelaying: true}\n  relayPorts: {from: 9000, to: 9999}", "without admin.port"),
];

fn the_api_server_says_why(cluster: &Cluster) -> Result<()> {
    fleet::operator(cluster)?;
    fleet::namespace(cluster, MEDIA)?;
    for (spec, reason) in REFUSED {
        let Err(refusal) = apply(cluster, "refused", spec) else {
            let _ = delete(cluster, "refused");
            anyhow::bail!("the API server took {spec}");
        };
        let message = format!("{refusal:#}");
        ensure!(message.contains(reason), "of {spec} it says, without {reason}: {message}");
    }
    Ok(())
}

fn a_secret_without_its_key(cluster: &Cluster) -> Result<()> {
    fleet::edge(cluster)?;
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: keyless, namespace: {MEDIA}}}\n\
         stringData: {{other: value}}\n"
    ))?;
    apply(
        cluster,
        "keyless",
        "auth: {secretRef: {name: keyless, keys: [wanted]}}\n  \
         listeners: [{name: udp, protocol: UDP, port: 3500}]\n  \
         relayPorts: {from: 50000, to: 50100}\n  admin: {port: 9500}",
    )?;
    let reported = fleet::wait_until(cluster, "keyless", "without credentials", |server| {
        server.is("CredentialsReady", "False") && server.is("Ready", "False")
    })
    .and_then(|server| {
        let (_, _, message) = server.condition("CredentialsReady").unwrap_or_default();
        ensure!(
            message.contains("keyless") && message.contains("wanted"),
            "the message names neither Secret nor key: {message}"
        );
        Ok(())
    });
    delete(cluster, "keyless")?;
    cluster.kubectl(&["delete", "secret", "keyless", "--namespace", MEDIA])?;
    reported?;
    fleet::wait_ready(cluster, EDGE).map(drop)
}

/// A process of the node itself has a relay's port: the relay cannot start there.
fn a_port_that_is_taken(cluster: &Cluster) -> Result<()> {
    fleet::edge(cluster)?;
    let node = cluster.node(0)?;
    let address = node.address().to_string();
    let squatter =
        node.start_program("squatter", "turnutils_peer", &["-L", &address, "-p", "3501"])?;
    apply(
        cluster,
        "squatted",
        "regions: [{name: east, nodeSelector: {topology.kubernetes.io/region: east}}]\n  \
         listeners: [{name: udp, protocol: UDP, port: 3501}]\n  \
         relayPorts: {from: 50000, to: 50100}\n  replicas: 1\n  admin: {port: 9501}",
    )?;
    let reported = fleet::wait_until(cluster, "squatted", "not available", |server| {
        server.is("Available", "False")
            && server.condition("Available").is_some_and(|condition| condition.2.contains("3501"))
    })
    .and_then(|_| event_names_the_port(cluster));
    drop(squatter);
    delete(cluster, "squatted")?;
    reported?;
    fleet::wait_ready(cluster, EDGE).map(drop)
}

fn event_names_the_port(cluster: &Cluster) -> Result<()> {
    deadline::until("an event that names the port", CONVERGE_LIMIT, || {
        let events = fleet::list(cluster, "events")?;
        let seen: Vec<_> = events
            .iter()
            .filter(|event| text(event, "/involvedObject/name") == "squatted")
            .map(|event| text(event, "/message"))
            .collect();
        ensure!(seen.iter().any(|message| message.contains("3501")), "events: {seen:?}");
        Ok(Some(()))
    })
}

fn apply(cluster: &Cluster, name: &str, spec: &str) -> Result<()> {
    let manifest = format!(
        "apiVersion: turnpike.dev/v1alpha1\nkind: TurnServer\n\
         metadata: {{name: {name}, namespace: {MEDIA}}}\nspec:\n  {spec}\n"
    );
    cluster.apply(&manifest).map(drop)
}

fn delete(cluster: &Cluster, name: &str) -> Result<()> {
    let delete = ["delete", "turnserver", name, "--namespace", MEDIA, "--wait"];
    cluster.kubectl(&delete).map(drop).with_context(|| format!("delete TurnServer {name}"))
}
