//! The incident that Turnpike exists for: a port of one relay is closed to those outside, and nothing
//! says so. Here it is said, within the time that is promised, and nobody is sent there.

use std::{
    collections::BTreeSet,
    io::{Write as _, stdout},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cluster::{Cluster, Node, Running, deadline};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::{
    CALLERS, NODES,
    caller::{self, Caller},
    cut::Cut,
    fleet::{self, EDGE, Relay, TurnServer, text},
    on_cluster,
};

/// From the fault to the condition, and from its end to all being back.
const FOUND_WITHIN: Duration = Duration::from_secs(30);
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// The condition of a relay's pod.
const REACHABLE: &str = "turnpike.dev/Reachable";

/// The relay ports unless the resource names others.
const RANGE: &str = "61000-65535";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        on_cluster(
            "incident::what_is_closed_is_named_and_not_advertised",
            CALLERS,
            named_and_not_advertised,
        ),
        on_cluster("incident::a_cut_of_everything_leaves_the_fleet_ready", NODES, fails_open),
    ]
}

/// What is dropped on one node, and what is to be said of it.
struct Fault {
    drops: &'static str,
    reasons: &'static [&'static str],
    /// What the message must hold: the rule that would mend it, but for its address.
    remedy: String,
    /// What a caller suffers who is given all URLs in spite of it.
    suffers: Option<Suffers>,
}

impl Fault {
    fn name(&self) -> &str {
        if self.drops.is_empty() { "everything" } else { self.drops }
    }
}

/// What a caller suffers.
#[derive(Debug, Clone, Copy)]
enum Suffers {
    /// It gathers for so many seconds.
    Waits(f64),
    /// It has not gathered after 90 seconds.
    NoEnd,
    /// It gathers, and the call fails.
    FailedCall,
}

/// How long a caller may gather who is given what is advertised.
const GATHERS_WITHIN: Duration = Duration::from_secs(2);
/// Longer than any browser gathers that ends at all.
const LONGEST_GATHERING: Duration = Duration::from_secs(90);

fn faults() -> Vec<Fault> {
    let open = |what: &str| format!("{what} accept");
    let range = || open(&format!("udp dport {RANGE}"));
    vec![
        Fault {
            drops: "udp dport 3478",
            reasons: &["ListenerPortBlocked"],
            remedy: open("udp dport 3478"),
            suffers: Some(Suffers::Waits(39.75)),
        },
        Fault {
            drops: "udp dport 61000-65535",
            reasons: &["RelayRangeBlocked"],
            remedy: range(),
            suffers: Some(Suffers::FailedCall),
        },
        Fault {
            drops: "udp dport 61000-63267",
            reasons: &["RelayRangePartiallyBlocked", "RelayRangeBlocked"],
            remedy: range(),
            suffers: None,
        },
        Fault {
            drops: "tcp dport 5349",
            reasons: &["ListenerPortBlocked"],
            remedy: open("tcp dport 5349"),
            suffers: Some(Suffers::NoEnd),
        },
        Fault {
            drops: "",
            reasons: &["ListenerPortBlocked"],
            remedy: open("dport 3478"),
            suffers: None,
        },
        Fault {
            drops: "meta length > 1228",
            reasons: &["PathMTUTooSmall"],
            remedy: "packets of 1,280 bytes".to_owned(),
            suffers: None,
        },
    ]
}

fn named_and_not_advertised(cluster: &Cluster) -> Result<()> {
    let incident = Incident::prepare(cluster)?;
    for fault in faults() {
        incident.replay(&fault).with_context(|| format!("dropped: {}", fault.name()))?;
    }
    Ok(())
}

/// Two relays that are reached, and which of them is to be closed.
struct Incident<'a> {
    cluster: &'a Cluster,
    node: &'a Node,
    closed: Relay,
    other: Relay,
    /// From where packets are dropped: all that are not the node's own, and not the control plane.
    sources: String,
    caller: Caller<'a>,
    /// Where the API is.
    api: String,
    _agent: Running,
}

impl<'a> Incident<'a> {
    fn prepare(cluster: &'a Cluster) -> Result<Self> {
        fleet::edge_outside(cluster)?;
        let server = wait_whole(cluster)?;
        // Whoever probes from the closed node would be cut off itself.
        let leader = fleet::leaders_node(cluster)?;
        let [first, second] = <[Relay; 2]>::try_from(server.relays())
            .map_err(|relays| anyhow::anyhow!("not two relays: {relays:?}"))?;
        let (closed, other) = if first.node == leader { (second, first) } else { (first, second) };
        let node = cluster.nodes().iter().find(|node| node.name() == closed.node);
        let client = cluster.client_host("client")?;
        let sources = format!("{{ {}, {} }}", client.address(), other.address);
        let api = fleet::api(cluster, &leader)?;
        Ok(Self {
            cluster,
            node: node.context("no such node")?,
            closed,
            other,
            sources,
            caller: Caller::new(cluster, fleet::certificate(cluster)?.fingerprint.clone()),
            _agent: fleet::agent(cluster, &client, &api, EDGE)?,
            api,
        })
    }

    fn replay(&self, fault: &Fault) -> Result<()> {
        let other_before = self.condition(&self.other)?;
        let cut = Cut::new(self.node, &format!("ip saddr {} {} drop", self.sources, fault.drops))?;
        let begun = Instant::now();
        deadline::until("the relay to be found out", FOUND_WITHIN, || {
            self.is_told(fault).map(Some)
        })?;
        let told = begun.elapsed();
        self.somebody_calls(fault.suffers)?;
        self.is_told(fault).context("while it is closed still")?;
        let other_now = self.condition(&self.other)?;
        ensure!(other_now == other_before, "the other relay: {other_now:#}");
        cut.end()?;
        let mended = Instant::now();
        deadline::until("all to be back", BACK_WITHIN, || {
            ensure!(text(&self.condition(&self.closed)?, "/status") == "True", "not yet");
            whole(&TurnServer::get(self.cluster, EDGE)?)?;
            let leads_to = self.dns()?;
            ensure!(leads_to.len() == 2, "the name leads to {leads_to:?}");
            Ok(Some(()))
        })?;
        let other_now = self.condition(&self.other)?;
        ensure!(other_now == other_before, "the other relay: {other_now:#}");
        tell(&format!(
            "{:<22} dropped: named after {:>4.1} s, back after {:>4.1} s",
            fault.name(),
            told.as_secs_f64(),
            mended.elapsed().as_secs_f64()
        ))
    }

    /// Somebody calls meanwhile: with what the API gives all goes well, and with the URLs of the closed
    /// relay it suffers what the fault does to it.
    fn somebody_calls(&self, suffers: Option<Suffers>) -> Result<()> {
        let given = self.caller.asks(&self.api)?;
        let urls = given["iceServers"][0]["urls"].as_array().context("no URLs")?;
        let urls: Vec<_> = urls.iter().filter_map(Value::as_str).collect();
        let others = self.other.address.to_string();
        let is_well = urls.len() == 3 && urls.iter().all(|url| url.contains(&others));
        ensure!(is_well, "the API gives {given:#}");
        let gathering = self.caller.gathers(&given["iceServers"], LONGEST_GATHERING)?;
        let is_quick = gathering.took.is_some_and(|took| took < GATHERS_WITHIN);
        ensure!(is_quick && gathering.candidates > 0, "with what the API gives: {gathering:?}");
        self.caller.calls(&given["iceServers"]).context("a call with what the API gives")?;
        let Some(suffers) = suffers else { return Ok(()) };
        let of_closed =
            urls.iter().map(|url| url.replace(&others, &self.closed.address.to_string()));
        let all = caller::mint(self.cluster, &of_closed.collect::<Vec<_>>())?;
        let gathering = self.caller.gathers(&all["iceServers"], LONGEST_GATHERING)?;
        tell(&format!("  sent to that relay: {gathering:?}"))?;
        match (suffers, gathering.took.map(|took| took.as_secs_f64())) {
            (Suffers::Waits(expected), Some(took)) if (took - expected).abs() < 5.0 => Ok(()),
            (Suffers::NoEnd, None) => Ok(()),
            (Suffers::FailedCall, Some(_)) => {
                // Who is called has what the API gives.
                let ends = json!({"caller": all["iceServers"], "callee": given["iceServers"]});
                let call = self.caller.calls(&ends);
                tell(&format!("  and calls somebody on the other: {}", shown(&call)))?;
                ensure!(call.is_err(), "the call does not fail");
                Ok(())
            }
            _ => anyhow::bail!("expected {suffers:?}: {gathering:?}"),
        }
    }

    fn is_told(&self, fault: &Fault) -> Result<()> {
        let condition = self.condition(&self.closed)?;
        ensure!(text(&condition, "/status") == "False", "{condition:#}");
        let (reason, message) = (text(&condition, "/reason"), text(&condition, "/message"));
        ensure!(fault.reasons.contains(&reason), "another reason: {condition:#}");
        ensure!(message.contains(&fault.remedy), "no {:?}: {condition:#}", fault.remedy);
        let server = TurnServer::get(self.cluster, EDGE)?;
        let reachable = server.condition("Reachable").context("no condition Reachable")?;
        ensure!(reachable.0 == "False" && reachable.1 == reason, "{reachable:?}");
        ensure!(server.is("Ready", "False"), "Ready in spite of it");
        ensure!(server.is("Degraded", "False"), "Degraded: {:?}", server.condition("Degraded"));
        // A relay that is not Ready gets no clients at all.
        let urls = urls(&server);
        let of = |relay: &Relay| {
            let address = relay.address.to_string();
            urls.iter().filter(|url| url.contains(&format!(":{address}:"))).count()
        };
        ensure!((of(&self.closed), of(&self.other)) == (0, 3), "advertised: {urls:?}");
        let leads_to = self.dns()?;
        ensure!(leads_to == [self.other.address.to_string()], "the name leads to {leads_to:?}");
        Ok(())
    }

    /// What external-dns is told that the fleet's name leads to.
    fn dns(&self) -> Result<Vec<String>> {
        let object = fleet::get(self.cluster, "dnsendpoint", &format!("{EDGE}-relay"))?;
        let record = &object["spec"]["endpoints"][0];
        ensure!(record["dnsName"] == fleet::DNS_NAME && record["recordType"] == "A", "{object:#}");
        Ok(serde_json::from_value(record["targets"].clone())?)
    }

    fn condition(&self, relay: &Relay) -> Result<Value> {
        let pod = fleet::get(self.cluster, "pod", &relay.pod)?;
        let conditions = pod["status"]["conditions"].as_array().context("no conditions")?;
        let found = conditions.iter().find(|condition| condition["type"] == REACHABLE);
        found.cloned().with_context(|| format!("pod {} has no such condition", relay.pod))
    }
}

/// Nobody reaches anybody: then it is not the relays that are taken for broken.
fn fails_open(cluster: &Cluster) -> Result<()> {
    fleet::edge_outside(cluster)?;
    let before = urls(&wait_whole(cluster)?);
    // From the other nodes, their pods and hosts: what the kubelets and the control plane need stays.
    let addresses: Vec<_> = cluster.nodes().iter().map(|node| node.address().to_string()).collect();
    let mut cuts = Vec::new();
    for node in cluster.nodes() {
        let sources = addresses.iter().filter(|address| **address != node.address().to_string());
        let sources: Vec<_> = sources.map(String::as_str).collect();
        // The operator's pod is on one of the nodes, and goes to that one's relay through no link.
        let ports = "udp dport { 3478, 61000-65535 } drop; tcp dport { 3478, 5349 } drop";
        let mut rules = Vec::new();
        for rule in ports.split("; ") {
            rules.push(format!("ip saddr {{ {} }} {rule}", sources.join(", ")));
            rules.push(format!("ip saddr 10.0.0.0/8 iifname != {{ eth0, lo }} {rule}"));
        }
        cuts.push(Cut::new(node, &rules.join("\n"))?);
    }
    let limit = FOUND_WITHIN + FOUND_WITHIN;
    deadline::until("the vantages to be suspected", limit, || {
        let server = TurnServer::get(cluster, EDGE)?;
        let degraded = server.condition("Degraded").context("no condition Degraded")?;
        ensure!(degraded.0 == "True" && degraded.1 == "VantageBroken", "{degraded:?}");
        ensure!(server.is("Ready", "True"), "not Ready: {:?}", server.condition("Ready"));
        ensure!(urls(&server) == before, "other URLs: {:?}", urls(&server));
        Ok(Some(()))
    })?;
    cuts.into_iter().try_for_each(Cut::end)?;
    wait_whole(cluster).map(drop)
}

fn shown(call: &Result<()>) -> String {
    call.as_ref().map_or_else(|error| format!("{error:#}"), |()| "connected".to_owned())
}

/// What was measured, for who reads the test's output.
fn tell(line: &str) -> Result<()> {
    Ok(writeln!(stdout(), "{line}")?)
}

/// Waits until every relay is reached, and everything is advertised.
fn wait_whole(cluster: &Cluster) -> Result<TurnServer> {
    deadline::until("every relay to be reached", fleet::CONVERGE_LIMIT, || {
        let server = TurnServer::get(cluster, EDGE)?;
        whole(&server)?;
        Ok(Some(server))
    })
}

fn whole(server: &TurnServer) -> Result<()> {
    for (kind, status) in [("Ready", "True"), ("Reachable", "True"), ("Degraded", "False")] {
        ensure!(server.is(kind, status), "{kind}: {:?}", server.condition(kind));
    }
    ensure!(urls(server).len() == 6, "advertised: {:?}", urls(server));
    Ok(())
}

/// What clients are told.
fn urls(server: &TurnServer) -> BTreeSet<String> {
    let urls = server.object["status"]["urls"].as_array().into_iter().flatten();
    urls.filter_map(|url| Some(url.as_str()?.to_owned())).collect()
}
