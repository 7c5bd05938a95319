//! Somebody who calls: Chromium in the clients' network.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use cluster::Cluster;
use serde_json::{Value, json};

use crate::fleet;

/// What a call carries in these tests: enough to be more than one message.
const BYTES: u64 = 64 << 10;

/// A browser on the host `client`.
pub(crate) struct Caller<'a> {
    cluster: &'a Cluster,
    /// The SHA-256 of the key of the certificate that it trusts, in base64.
    trusted: String,
}

/// How it gathers.
#[derive(Debug)]
pub(crate) struct Gathering {
    /// None: it has not ended within the limit.
    pub(crate) took: Option<Duration>,
    /// How many relayed candidates it has found.
    pub(crate) candidates: usize,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(cluster: &'a Cluster, trusted: String) -> Self {
        Self { cluster, trusted }
    }

    /// Asks the API what it needs, as a page does.
    pub(crate) fn asks(&self, api: &str) -> Result<Value> {
        let url = fleet::ice_servers(api);
        let answer = self.call("askWithKey", &json!([url, fleet::CALLER.1]))?;
        ensure!(answer["status"] == 200, "{answer:#}");
        Ok(answer["body"].clone())
    }

    /// Gathers relayed candidates.
    pub(crate) fn gathers(&self, ice_servers: &Value, limit: Duration) -> Result<Gathering> {
        let limit = u64::try_from(limit.as_millis())?;
        let gathered = self.call("gatherEach", &json!([[ice_servers], limit]))?;
        let gathered = &gathered[0];
        let candidates = gathered["candidates"].as_array().context("no candidates")?.len();
        let took = gathered["milliseconds"].as_f64();
        Ok(Gathering { took: took.map(|took| Duration::from_secs_f64(took / 1e3)), candidates })
    }

    /// Calls itself through two relayed candidates, and carries something.
    ///
    /// # Errors
    /// When the call fails.
    pub(crate) fn calls(&self, ice_servers: &Value) -> Result<()> {
        let carried = self.call("carryFile", &json!([ice_servers, BYTES]))?;
        ensure!(carried["sent"].is_string(), "no digest in {carried}");
        ensure!(carried["sent"] == carried["received"], "something else has arrived: {carried}");
        Ok(())
    }

    fn call(&self, function: &str, arguments: &Value) -> Result<Value> {
        let program = cluster::program("browser")?;
        let program = program.to_str().context("a path")?;
        let mut command = self.cluster.client_host("client")?.command(program);
        command.args([function, &self.trusted]).env("RUST_BACKTRACE", "0");
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn()?;
        child.stdin.take().context("no input")?.write_all(arguments.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{said}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// The `iceServers` with these URLs that `turnctl credentials` mints from what it finds in the cluster.
pub(crate) fn mint(cluster: &Cluster, urls: &[String]) -> Result<Value> {
    let mut command = Command::new(cluster::program("turnctl")?);
    command.env("KUBECONFIG", cluster.kubeconfig());
    command.args(["credentials", fleet::EDGE, "--namespace", fleet::MEDIA, "--output", "json"]);
    let printed = cluster::output(command.args(urls.iter().flat_map(|url| ["--url", url])))?;
    Ok(serde_json::from_str(&printed)?)
}
