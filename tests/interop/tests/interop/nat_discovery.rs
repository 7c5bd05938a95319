//! coturn's client for NAT behaviour discovery (RFC 5780).

use std::process::Command;

use anyhow::ensure;
use serde_json::json;

use crate::{ports::free_port, relay::Relay};

/// The client changes the server's address and port, and gets padding back.
pub(crate) fn learns_that_there_is_no_nat() -> anyhow::Result<()> {
    let (port, alternate) = (free_port()?, free_port()?);
    let listener = |name: &str, port: u16| json!({"name": name, "protocol": "UDP", "port": port});
    let _relay = Relay::start(&json!({
        "addresses": ["127.0.0.1", "127.0.0.2"],
        "listeners": [listener("udp", port), listener("alternate", alternate)],
        "features": {"natDiscovery": true},
    }))?;
    let output = Command::new("turnutils_natdiscovery")
        .args(["-m", "-f", "-P", "-L", "127.0.0.1", "-p", &port.to_string(), "127.0.0.1"])
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    for expected in [
        format!("Response origin: : 127.0.0.2:{alternate}"),
        "No NAT! (Endpoint Independent Mapping)".to_owned(),
        "NAT with Endpoint Independent Filtering!".to_owned(),
    ] {
        ensure!(printed.contains(&expected), "{expected:?} is not in\n{printed}");
    }
    Ok(())
}
