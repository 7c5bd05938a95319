//! What stands in the log, and what never does.

use std::{
    collections::BTreeMap,
    io::Write,
    net::{TcpStream, UdpSocket},
    time::Instant,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use turn_auth::{LongTermKey, PasswordAlgorithm, Secret, TimeLimitedCredential, UnixSeconds};
use turn_probe::Transport;

use crate::{
    certificates::Certificate,
    relay::{BOB, Relay, free_port, listener},
};

/// The lines of a log so far: each is a JSON object.
fn lines(log: &str) -> impl Iterator<Item = Value> + '_ {
    let (whole, _last) = log.rsplit_once('\n').expect("a line");
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}")))
}

#[test]
fn what_strangers_send_stands_in_the_log_in_one_escaped_line_if_at_all() {
    let mut relay = Relay::start("logLevel: trace\n");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let lie = b"\x1b[31m\nERROR {\"level\":\"ERROR\"}\r\n";
    for first in [0, 0x16, 0x40, 0x1b] {
        let bytes = [&[first], &lie[..]].concat();
        socket.send_to(&bytes, relay.server()).expect("sent");
        let mut stream = TcpStream::connect(relay.server()).expect("connected");
        let _reset_by_the_relay = stream.write_all(&bytes);
    }
    assert!(relay.echo(Transport::Udp, "north\n\u{1b}[31m").is_err());
    assert!(relay.echo(Transport::Udp, "north").is_ok());
    relay.until("logged", |relay| relay.log().contains("relayed address ended"));
    let log = relay.log();
    let (whole, _last) = log.rsplit_once('\n').expect("a line");
    for line in whole.lines() {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok_and(|parsed| parsed.is_object()), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

/// A relay that logs at a level, with a listener of each protocol; and the ports of TLS and DTLS.
fn relay_that_logs(level: &str) -> (Relay, [u16; 2]) {
    let ports = [free_port(), free_port()];
    let relay = Relay::start_with(|files| {
        files.listeners.push(listener("TLS", ports[0]));
        files.listeners.push(listener("DTLS", ports[1]));
        files.more =
            format!("logLevel: {level}\nlimits: {{pendingConnectionsPerPrefix: 100000}}\n");
    });
    (relay, ports)
}

#[test]
fn what_strangers_cause_is_logged_once_a_second_at_most() {
    const FAILURES: u64 = 300;
    let start = Instant::now();
    let (mut relay, [tls, dtls]) = relay_that_logs("debug");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for _ in 0..FAILURES {
        for port in [tls, relay.server().port()] {
            let mut stream = TcpStream::connect(relay.at(port)).expect("connected");
            let _reset_by_the_relay = stream.write_all(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0xFF]);
        }
        for server in [relay.at(dtls), relay.server()] {
            socket.send_to(&[22, 0xFE, 0xFD, 0, 0], server).expect("sent");
        }
    }
    let failed = "turn_handshakes_failed_total{reason=\"malformed\"}";
    relay.until("counted", |relay| relay.metric(failed) >= FAILURES);
    let log = relay.log();
    let seconds = start.elapsed().as_secs() + 2;
    let mut counts = BTreeMap::<_, u64>::new();
    for line in lines(&log) {
        let message = line["fields"]["message"].as_str().expect("a message").to_owned();
        *counts.entry(message).or_default() += 1;
    }
    assert!(counts.contains_key("TLS handshake failed"), "{log}");
    // The listeners, and the relay's trials of itself.
    counts.retain(|message, _| {
        !["listening", "relayed address"].iter().any(|ours| message.starts_with(ours))
    });
    for (message, count) in counts {
        assert!(count <= seconds, "{count} times {message:?} in {seconds} s:\n{log}");
    }
}

/// How a log might show bytes.
fn spellings(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let listed = format!("{secret:?}");
    let text = str::from_utf8(secret).map(str::to_owned).ok();
    let mut spellings = vec![
        hex.to_uppercase(),
        hex,
        STANDARD.encode(secret).trim_end_matches('=').to_owned(),
        listed.trim_matches(['[', ']']).to_owned(),
    ];
    spellings.extend(text);
    spellings
}

/// The passwords of a user under a secret, and the keys that are made of them.
fn keys(name: &str, password: &str) -> Vec<Vec<u8>> {
    let derive = |algorithm| {
        let [name, realm, password] = [name, "example.org", password].map(str::as_bytes);
        LongTermKey::derive(algorithm, name, realm, password).as_bytes().to_vec()
    };
    let keys = [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256].map(derive);
    [password.as_bytes().to_vec()].into_iter().chain(keys).collect()
}

#[test]
fn no_secret_password_or_key_stands_in_the_log_or_on_a_page() {
    let (mut relay, [tls, dtls]) = relay_that_logs("trace");
    let mut secrets = keys(BOB.0, BOB.1);
    for (rotations, secret) in (0..).zip(["north", "south"]) {
        if rotations > 0 {
            relay.write_secret(&format!("{secret}\n"));
            relay.until_applied(rotations);
        }
        let minted = Secret::from_file(secret.as_bytes()).expect("a secret");
        let minted = TimeLimitedCredential::mint(&minted, "alice", UnixSeconds(4_000_000_000));
        for who in [(minted.username.as_str(), minted.password.as_str()), BOB] {
            for (port, transport) in [
                (relay.server().port(), Transport::Udp),
                (relay.server().port(), Transport::Tcp),
                (tls, Transport::Tls),
                (dtls, Transport::Dtls),
            ] {
                assert!(relay.echo_as(relay.at(port), transport, who).is_ok(), "{transport:?}");
            }
            let wrong = (who.0, "guessed-by-somebody");
            assert!(relay.echo_as(relay.server(), Transport::Udp, wrong).is_err());
        }
        secrets.push(secret.as_bytes().to_vec());
        secrets.extend(keys(&minted.username, &minted.password));
    }
    // What is refused is not shown either.
    let spoiled = "bm90IGEga2V5LCBidXQgc2VjcmV0";
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{spoiled}\n-----END PRIVATE KEY-----\n");
    relay.write_files_of(&Certificate { key: pem, ..Certificate::new() });
    relay.until_refused("certificate", 1);
    secrets.extend([spoiled, "guessed-by-somebody"].map(|text| text.as_bytes().to_vec()));
    let pages = ["/metrics", "/status", "/readyz"].map(|path| relay.get(path).1);
    let log = relay.log();
    assert!(log.contains("relayed address opened") && log.contains("\"TRACE\""), "{log}");
    let private = relay.certificate().key.clone();
    let lines = private.lines().filter(|line| !line.starts_with('-')).map(str::to_owned);
    let spelled = secrets.iter().flat_map(|secret| spellings(secret));
    for secret in spelled.chain(lines) {
        for text in pages.iter().chain([&log]) {
            assert!(!text.contains(&secret), "{secret:?} stands in {text}");
        }
    }
}
