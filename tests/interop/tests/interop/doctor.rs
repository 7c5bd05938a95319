//! `turnctl doctor` against relays with something wrong, and between two hosts with a firewall.

use std::{
    io::{Write as _, stdout},
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::{
    certificate::Certificate,
    chromium,
    network::{Host, two_hosts},
    ports::free_port,
    relay::{Relay, credentials},
    up::Up,
};

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

/// Long enough for anything that comes at all, on a busy machine.
const TIMEOUT: &str = "4s";

/// What it says of iceServers, and its exit code.
fn doctor(ice_servers: &Value, options: &[&str]) -> anyhow::Result<(Value, Option<i32>)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ice-servers.json");
    std::fs::write(&file, ice_servers.to_string())?;
    let output = Command::new(cluster::program("turnctl")?)
        .args(["doctor", "--output", "json", "--timeout", TIMEOUT, "--ice-servers"])
        .arg(&file)
        .args(options)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = serde_json::from_slice(&output.stdout);
    Ok((printed.with_context(|| format!("no JSON; it said {said}"))?, output.status.code()))
}

/// The reason that it gives for each check, in order; `works` where there is none.
fn reasons(diagnosis: &Value) -> Vec<&str> {
    let checks = diagnosis["checks"].as_array().into_iter().flatten();
    let reason = |check: &Value| check["reason"].as_str().is_none();
    checks
        .map(|check| if reason(check) { &check["result"] } else { &check["reason"] })
        .map(|text| text.as_str().unwrap_or("nothing"))
        .collect()
}

/// How long it says that a browser gathers, in seconds; none for no end.
fn gathering(diagnosis: &Value, browser: &str) -> Option<f64> {
    let all = diagnosis["gathering"].as_array().into_iter().flatten();
    all.filter(|time| time["browser"] == browser).find_map(|time| time["seconds"].as_f64())
}

/// A relay over each transport, with a certificate of an authority that is given.
pub(crate) fn finds_nothing_wrong() -> anyhow::Result<()> {
    let certificate = Certificate::new()?;
    let up = Up::start_secure(&certificate)?;
    let folder = tempfile::tempdir()?;
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, &certificate.certificate)?;
    let authority = authority.to_str().context("a path")?;
    let (diagnosis, code) = doctor(&up.printed, &["--ca-file", authority])?;
    let reasons = reasons(&diagnosis);
    ensure!(reasons.len() >= 4 && code == Some(0), "{diagnosis}");
    ensure!(reasons.iter().all(|reason| *reason == "works"), "{diagnosis}");
    let over = |transport: &str| {
        let checks = diagnosis["checks"].as_array().into_iter().flatten();
        checks.filter(|check| check["transport"] == transport).count()
    };
    ensure!(["UDP", "TCP", "TLS"].into_iter().all(|name| over(name) > 0), "{diagnosis}");
    let chrome = gathering(&diagnosis, "Chrome").context("no time")?;
    ensure!(diagnosis["well"] == true && chrome < 2.0, "{diagnosis}");
    Ok(())
}

/// Everything that can be wrong on one machine, in one list; and what of it is said to a person.
pub(crate) fn names_what_is_wrong() -> anyhow::Result<()> {
    let relay = Relay::start(&json!({"limits": {"allocationsPerUser": 2}}))?;
    let (username, credential) = credentials()?;
    let silent = UdpSocket::bind("127.0.0.1:0")?;
    let silent = silent.local_addr()?.port();
    let (port, secure, closed) = (relay.port, relay.secure_port, free_port()?);
    let good =
        |urls: &[String]| json!({"urls": urls, "username": username, "credential": credential});
    let wrong = json!({
        "urls": format!("turn:127.0.0.1:{port}?transport=udp"),
        "username": "1600000000:alice",
        "credential": "guessed",
    });
    let ice_servers = json!({"iceServers": [
        good(&[
            format!("turn:127.0.0.1:{port}?transport=udp"),
            format!("turn:127.0.0.1:{port}?transport=tcp"),
            format!("turn:127.0.0.1:{silent}?transport=udp"),
            format!("turn:127.0.0.1:{closed}?transport=tcp"),
            format!("turns:127.0.0.1:{secure}?transport=tcp"),
            format!("turns:127.0.0.1:{port}?transport=tcp"),
            format!("turn://127.0.0.1:{port}"),
        ]),
        wrong,
        {
            "urls": [
                format!("turn:127.0.0.1:{port}?transport=tcp"),
                format!("turn:alice:hidden@127.0.0.1:{port}"),
            ],
            "username": username,
            "credential": "hidden",
        },
        {"urls": format!("stun:127.0.0.1:{port}")},
        {"urls": format!("turn:127.0.0.1:{port}")},
    ]});
    let (diagnosis, code) = doctor(&ice_servers, &[])?;
    let expected = [
        // The user may have two allocations, so these get theirs one after the other.
        "works",
        "works",
        "ListenerPortBlocked",
        "ConnectionRefused",
        "CertificateInvalid",
        "TLSInterceptedOrMisconfigured",
        "InvalidUrl",
        "CredentialExpired",
        "CredentialsRejected",
        "InvalidUrl",
        "works",
        "InvalidUrl",
    ];
    ensure!(reasons(&diagnosis) == expected && code == Some(1), "{diagnosis:#}");
    let checks = diagnosis["checks"].as_array().context("no checks")?;
    let complete = |check: &&Value| {
        check["result"] != "failed"
            || (check["observation"].is_string() && check["remedy"].is_string())
    };
    ensure!(checks.iter().all(|check| complete(&check)), "{diagnosis:#}");
    let (chrome, firefox) = (gathering(&diagnosis, "Chrome"), gathering(&diagnosis, "Firefox"));
    ensure!((chrome, firefox) == (Some(39.75), Some(11.1)), "{diagnosis:#}");
    for secret in [credential.as_str(), "hidden", "guessed"] {
        ensure!(!diagnosis.to_string().contains(secret), "a credential is printed: {diagnosis:#}");
    }
    Ok(())
}

/// Input that makes no sense is exit code 2, and says what would.
pub(crate) fn refuses_bad_input() -> anyhow::Result<()> {
    let path = cluster::program("turnctl")?;
    for (arguments, input, expected) in [
        (&["--ice-servers", "-"][..], "{\"iceServers\": [{\"urls\": 7}]}", "iceServers[0].urls: 7"),
        (&["--ice-servers", "-"], "{\"iceServers\": []}", "empty"),
        (&["--ice-servers", "-"], "turn:a", "no JSON"),
        (&["turn:a", "--timeout", "0s"], "", "--timeout"),
        (&["turn:a", "--ca-file", "-"], "no certificate", "no certificates in PEM"),
    ] {
        let said = refusal(&path, arguments, input)?;
        ensure!(said.contains(expected), "{arguments:?}: {said}");
    }
    Ok(())
}

fn refusal(path: &Path, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let mut child = Command::new(path)
        .arg("doctor")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // It may have refused before it reads.
    let _closed = child.stdin.take().context("no input")?.write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(2), "exit code {:?}: {said}", output.status);
    Ok(said)
}

/// A relay behind a firewall that silently drops one thing after the other.
pub(crate) fn names_what_a_firewall_drops() -> anyhow::Result<()> {
    let [server, outside] = hosts()?;
    let relay = server.run(|| {
        Relay::start(&json!({
            "addresses": [SERVER],
            "peers": {"allow": ["192.168.77.0/24"]},
            "relayPorts": {"from": 61000, "to": 61999},
        }))
    })?;
    let (username, credential) = credentials()?;
    let (port, secure) = (relay.port, relay.secure_port);
    let urls = [
        format!("turn:{SERVER}:{port}?transport=udp"),
        format!("turn:{SERVER}:{port}?transport=tcp"),
        format!("turns:{SERVER}:{secure}?transport=tcp"),
    ];
    let ice_servers = json!({"urls": urls, "username": username, "credential": credential});
    let see = || outside.run(|| Ok(doctor(&ice_servers, &[])?.0));
    // Nobody believes its certificate; whether the port is open shows all the same.
    let (works, distrusted) = ("works", "CertificateInvalid");
    let partly = "RelayRangePartiallyBlocked";
    let cases = [
        (String::new(), [works, works, distrusted]),
        (format!("udp dport {port} drop"), ["UDPBlocked", works, distrusted]),
        ("udp dport 61500-61999 drop".to_owned(), [partly, partly, distrusted]),
        (
            "udp dport 61000-61999 drop".to_owned(),
            ["RelayRangeBlocked", "RelayRangeBlocked", distrusted],
        ),
        (format!("tcp dport {secure} drop"), [works, works, "ListenerPortBlocked"]),
        (format!("tcp dport {{ {port}, {secure} }} drop"), [works, "TCPBlocked", "TCPBlocked"]),
        ("meta length > 1228 drop".to_owned(), ["PathMTUTooSmall", "PathMTUTooSmall", distrusted]),
        ("ip saddr 192.168.77.2 drop".to_owned(), ["ListenerPortBlocked"; 3]),
        (String::new(), [works, works, distrusted]),
    ];
    for (rule, expected) in cases {
        firewall(&server, &rule)?;
        let diagnosis = see()?;
        ensure!(reasons(&diagnosis) == expected, "{rule:?}: {diagnosis:#}");
    }
    Ok(())
}

/// Chromium in the client's network gathers as long as the doctor says that it does: at once, for 40
/// seconds, or without an end. Prints both.
pub(crate) fn knows_how_long_chromium_gathers() -> anyhow::Result<()> {
    let [server, outside] = hosts()?;
    // A browser looks for the network that leads out.
    outside.ip(&format!("route add default via {SERVER}"))?;
    let relay = server.run(|| Relay::start(&json!({"addresses": [SERVER]})))?;
    let (username, credential) = credentials()?;
    let port = relay.port;
    let list = |transport: &str| {
        let url = format!("turn:{SERVER}:{port}?transport={transport}");
        json!([{"urls": url, "username": username, "credential": credential}])
    };
    let lists = [list("udp"), list("tcp")];
    for (rule, expected) in [
        (String::new(), [Some(0.0), Some(0.0)]),
        (format!("meta l4proto {{ udp, tcp }} th dport {port} drop"), [Some(39.75), None]),
    ] {
        firewall(&server, &rule)?;
        let gathered = outside.run(|| chromium::gathers(&lists, LONGEST_GATHERING))?;
        for ((list, gathered), expected) in lists.iter().zip(gathered).zip(expected) {
            let (diagnosis, _) = outside.run(|| doctor(&json!({"iceServers": list}), &[]))?;
            let told = gathering(&diagnosis, "Chrome");
            let took = gathered["milliseconds"].as_f64().map(|millis| millis / 1e3);
            let url = &list[0]["urls"];
            let (told_as, took_as) = (shown(told), shown(took));
            let mut out = stdout();
            writeln!(out, "{url}, {rule:?}: told {told_as}, measured {took_as}")?;
            ensure!(is_about(took, expected), "Chromium: {gathered}");
            ensure!(is_about(told, expected), "{diagnosis:#}");
        }
    }
    Ok(())
}

/// Longer than any browser gathers that ends at all.
const LONGEST_GATHERING: Duration = Duration::from_secs(60);

fn shown(time: Option<f64>) -> String {
    time.map_or("no end".to_owned(), |seconds| format!("{seconds:.1} s"))
}

/// Whether two times in seconds mean the same to somebody who waits; none is no end.
fn is_about(time: Option<f64>, expected: Option<f64>) -> bool {
    match (time, expected) {
        (Some(time), Some(expected)) => (time - expected).abs() < 5.0,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The relay's host and the client's.
pub(crate) fn hosts() -> anyhow::Result<[Host; 2]> {
    let [server, outside] = two_hosts()?;
    server.ip(&format!("address add {SERVER}/24 dev cable"))?;
    outside.ip(&format!("address add {CLIENT}/24 dev cable"))?;
    Ok([server, outside])
}

/// Puts one rule in place of all others, for what comes from outside.
pub(crate) fn firewall(host: &Host, rule: &str) -> anyhow::Result<()> {
    let rule = if rule.is_empty() { String::new() } else { format!("iifname \"cable\" {rule};") };
    let rules = format!(
        "flush ruleset; table inet incident {{ chain input {{ \
         type filter hook input priority 0; policy accept; {rule} }}; }}"
    );
    host.run(|| {
        let output = Command::new("nft").arg(&rules).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft {rules}: {said}");
        Ok(())
    })
}
