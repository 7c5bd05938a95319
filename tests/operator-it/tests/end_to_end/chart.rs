//! The Helm chart: install, test, upgrade, uninstall.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use cluster::{Cluster, output};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::{
    API,
    fleet::{self, EDGE, MEDIA, OPERATOR, RELEASE, SYSTEM},
    on_cluster,
};

const CRD: &str = "turnservers.turnpike.dev";

pub(crate) fn install_trials() -> Vec<Trial> {
    vec![on_cluster("chart::installs_and_passes_its_test", API, installs_and_passes_its_test)]
}

pub(crate) fn upgrade_trials() -> Vec<Trial> {
    vec![on_cluster("chart::an_upgrade_upgrades_the_resources", API, upgrades_resources)]
}

fn installs_and_passes_its_test(cluster: &Cluster) -> Result<()> {
    fleet::install_chart(cluster, &fleet::chart())?;
    let report = cluster.helm(&["test", RELEASE, "--namespace", SYSTEM, "--timeout", "2m"])?;
    let phases: Vec<_> = report.lines().filter(|line| line.starts_with("Phase:")).collect();
    ensure!(!phases.is_empty(), "helm test ran nothing:\n{report}");
    ensure!(phases.iter().all(|phase| phase.ends_with("Succeeded")), "{report}");
    let get = ["get", "prometheusrule", OPERATOR, "--namespace", SYSTEM, "--output", "json"];
    let rule: Value = serde_json::from_str(&cluster.kubectl(&get)?)?;
    let alerts = rule["spec"]["groups"][0]["rules"].as_array().context("no alerts")?;
    // What is not of the resource's schema the API server takes away.
    let is_whole = |alert: &Value| {
        let has = |field: &str| alert[field].as_str().is_some_and(|text| !text.is_empty());
        ["alert", "expr", "for"].into_iter().all(has) && alert["annotations"]["summary"].is_string()
    };
    ensure!(alerts.len() > 3 && alerts.iter().all(is_whole), "{alerts:#?}");
    Ok(())
}

/// An older chart, whose resource has one printer column more, and then the present one.
fn upgrades_resources(cluster: &Cluster) -> Result<()> {
    fleet::operator(cluster)?;
    let present = columns(cluster)?;
    let folder = tempfile::tempdir()?;
    let older = older_chart(folder.path())?;
    fleet::install_chart(cluster, &older)?;
    let before = columns(cluster)?;
    ensure!(before.contains(&OLD_COLUMN.to_owned()), "the older chart has columns {before:?}");
    fleet::install_chart(cluster, &fleet::chart())?;
    let after = columns(cluster)?;
    ensure!(after == present, "after the upgrade the columns are {after:?}");
    Ok(())
}

/// A column that only the older chart has.
const OLD_COLUMN: &str = "Former";

fn older_chart(folder: &Path) -> Result<String> {
    let chart = folder.join("turnpike");
    // Links are followed: the chart's definitions may be one into the folder of the generated.
    output(Command::new("cp").args(["--recursive", "--dereference", &fleet::chart()]).arg(&chart))?;
    let file = chart.join("files").join(format!("{CRD}.yaml"));
    let definitions = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let key = "additionalPrinterColumns:\n";
    let (before, after) = definitions.split_once(key).context("the resource's columns")?;
    let indent: String = after.chars().take_while(|letter| *letter == ' ').collect();
    let column = format!(
        "{indent}- name: {OLD_COLUMN}\n{indent}  type: string\n{indent}  jsonPath: .spec.realm\n"
    );
    fs::write(&file, format!("{before}{key}{column}{after}"))?;
    Ok(chart.to_string_lossy().into_owned())
}

fn columns(cluster: &Cluster) -> Result<Vec<String>> {
    let crd: Value =
        serde_json::from_str(&cluster.kubectl(&["get", "crd", CRD, "--output", "json"])?)?;
    let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array();
    let name = |column: &Value| column["name"].as_str().map(str::to_owned);
    Ok(columns.into_iter().flatten().filter_map(name).collect())
}

/// Without the operator the resource, each `TurnServer` and its relays stay as they are; and a new
/// installation takes them over.
pub(crate) fn uninstall(cluster: &Cluster) -> Result<()> {
    let before = fleet::edge(cluster)?;
    cluster.helm(&["uninstall", RELEASE, "--namespace", SYSTEM, "--wait"])?;
    cluster.kubectl(&["get", "crd", CRD])?;
    let kept = fleet::TurnServer::get(cluster, EDGE)?;
    ensure!(kept.object["spec"] == before.object["spec"], "the TurnServer has changed");
    let pods = fleet::list(cluster, "pods")?;
    for relay in before.relays() {
        let there = pods.iter().any(|pod| fleet::text(pod, "/metadata/name") == relay.pod);
        ensure!(there, "relay {} has gone with the operator", relay.pod);
    }
    fleet::operator(cluster)?;
    ensure!(fleet::wait_ready(cluster, EDGE)?.relays() == before.relays(), "relays were replaced");
    cluster.kubectl(&["delete", "turnserver", EDGE, "--namespace", MEDIA, "--wait"])?;
    cluster.helm(&["uninstall", RELEASE, "--namespace", SYSTEM, "--wait"]).map(drop)
}
