//! What is printed.

use std::{
    io::{Write, stdout},
    time::Duration,
};

use serde::Serialize;
use turn_api::TurnServerStatus;
use turn_probe::Report;
use turn_relay::{ListenerStatus, Relay};

/// What `RTCPeerConnection` takes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct IceServer<'a> {
    urls: &'a [String],
    username: &'a str,
    credential: &'a str,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Up<'a> {
    ready: bool,
    ice_servers: [IceServer<'a>; 1],
    status: &'a TurnServerStatus,
}

impl<'a> Up<'a> {
    /// A relay that is ready.
    pub(super) fn new(
        status: &'a TurnServerStatus,
        (username, credential): &'a (String, String),
    ) -> Self {
        let ice_server = IceServer { urls: &status.urls, username, credential };
        Self { ready: true, ice_servers: [ice_server], status }
    }

    pub(super) fn print_json(&self) -> anyhow::Result<()> {
        Ok(writeln!(stdout(), "{}", serde_json::to_string(self)?)?)
    }

    pub(super) fn print_text(&self, relay: &Relay) -> anyhow::Result<()> {
        let mut out = stdout().lock();
        let ports = relay.config().relay_ports;
        writeln!(out, "\nCONDITION           STATUS   MESSAGE")?;
        for condition in &self.status.conditions {
            let (of, holds) = (&condition.type_, &condition.status);
            writeln!(out, "{of:<19} {holds:<8} {}", condition.message)?;
        }
        writeln!(out, "\nrelay ports {}-{} UDP", ports.from, ports.to)?;
        writeln!(out, "status      http://{}/status", relay.config().admin.address)?;
        let ice_servers = serde_json::json!({ "iceServers": self.ice_servers });
        writeln!(out, "\n{}", serde_json::to_string_pretty(&ice_servers)?)?;
        writeln!(out, "\nserving; Ctrl-C ends it")?;
        Ok(())
    }
}

/// Says something that differs from the manifest.
pub(super) fn note(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(stdout(), "note: {text}")?)
}

/// Says that a listener relays.
pub(super) fn relayed(listener: &ListenerStatus, report: &Report) -> anyhow::Result<()> {
    let took: Duration = report.stages.iter().map(|timing| timing.duration).sum();
    let (name, address) = (&listener.name, listener.external_address.to_string());
    let millis = took.as_secs_f64() * 1e3;
    let transport = report.transport;
    Ok(writeln!(stdout(), "{name:<12} {transport} {address:<24} relays ({millis:.1} ms)")?)
}
