//! Debian's Chromium: two peers of one page, which may use relayed candidates only.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::{certificate::Certificate, up::Up};

/// The size of the file: thousands of messages, and over in some seconds.
const FILE_BYTES: usize = 4 << 20;

/// A file gets through two relayed candidates unchanged, with the relay reached over `transport`
/// (`udp`, `tcp` or `tls`).
pub(crate) fn carries_a_file(transport: &str) -> anyhow::Result<()> {
    let certificate = Certificate::new()?;
    let up = Up::start_secure(&certificate)?;
    let arguments = [up.ice_servers(transport)?, json!(FILE_BYTES)];
    let carried = browser::call("carryFile", arguments, &certificate.fingerprint)?;
    ensure!(carried["sent"].is_string(), "no digest in {carried}");
    ensure!(carried["sent"] == carried["received"], "another file has arrived: {carried}");
    for pair in carried["pairs"].as_array().context("no pairs")? {
        for end in ["local", "remote"] {
            ensure!(pair[end]["candidateType"] == "relay", "{end} is not relayed: {pair}");
        }
        ensure!(pair["local"]["relayProtocol"] == *transport, "not over {transport}: {pair}");
    }
    Ok(())
}

/// What a browser makes of each list of iceServers: how long it gathers, which candidates it has, and
/// which errors it tells of. `milliseconds` is null where it has not ended within the limit.
pub(crate) fn gathers(lists: &[Value], limit: Duration) -> anyhow::Result<Vec<Value>> {
    let limit = u64::try_from(limit.as_millis())?;
    let gathered = browser::call("gatherEach", [json!(lists), json!(limit)], "")?;
    gathered.as_array().cloned().with_context(|| format!("no list, but {gathered}"))
}
