//! Configurations, good and bad, at the start and later.

use turn_probe::Transport;

use crate::{
    caller::{Caller, Over, PEERS},
    relay::{Relay, free_port, refused},
};

#[test]
fn a_wrong_configuration_is_exit_code_2_and_names_field_and_value() {
    let auth = "auth: {sharedSecrets: [/nowhere]}\n";
    for (text, expected) in [
        ("colour: blue\n", vec!["colour", "line 1"]),
        ("listeners: 7\n", vec!["line 1"]),
        ("realm: a\n", vec!["auth", "open to everyone"]),
        ("relayPorts: {from: 2000, to: 1000}\n", vec!["relayPorts.to", "1000"]),
        (
            "listeners: [{name: a, protocol: UDP, port: 61001}]\n",
            vec!["listeners[0].port", "61001", "relayPorts"],
        ),
        ("listeners: [{name: a, protocol: TCP, port: 9478}]\n", vec!["admin.address", "9478"]),
    ] {
        let text = if text == "realm: a\n" { text.to_owned() } else { format!("{text}{auth}") };
        let output = refused(&text);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for word in expected {
            assert!(said.contains(word), "{text} says {said}, without {word}");
        }
    }
}

#[test]
fn what_cannot_be_opened_is_exit_code_1_and_named() {
    let (port, admin) = (free_port(), free_port());
    let text = |addresses: &str, secret: &str| {
        format!(
            "addresses: [{addresses}]\n\
             listeners: [{{name: edge, protocol: UDP, port: {port}}}]\n\
             auth: {{sharedSecrets: [{secret}]}}\n\
             admin: {{address: \"127.0.0.1:{admin}\"}}\n"
        )
    };
    let taken = std::net::UdpSocket::bind(("127.0.0.1", port)).expect("free");
    for (text, expected) in [
        (text("127.0.0.1", "/nowhere"), vec!["auth.sharedSecrets[0]", "/nowhere"]),
        (text("192.0.2.77", "/proc/version"), vec!["192.0.2.77", "not an address of this machine"]),
        (text("", "/proc/version"), vec!["addresses"]),
        (text("127.0.0.1", "/dev/null"), vec!["/dev/null", "empty"]),
        (text("127.0.0.1", "/proc/version"), vec!["edge", &format!("UDP 127.0.0.1:{port}")]),
    ] {
        let output = refused(&text);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in expected {
            assert!(said.contains(word), "{text}\nsays {said}, without {word}");
        }
    }
    drop(taken);
}

#[test]
fn secrets_and_limits_and_peers_are_taken_while_it_runs() {
    let mut relay = Relay::start("");
    assert!(relay.echo(Transport::Udp, "north").is_ok());
    relay.write_secret("south\n");
    relay.until_applied(1);
    assert!(relay.echo(Transport::Tcp, "south").is_ok());
    assert!(relay.echo(Transport::Udp, "north").is_err(), "rotated away");

    relay.configure("limits: {allocationsPerUser: 1}\n");
    relay.until_applied(2);
    let refused = relay.echo(Transport::Udp, "south").expect_err("a quota of one").line();
    assert!(refused.contains("486"), "{refused}");

    relay.configure("peers: {deny: [127.0.0.0/8]}\n");
    relay.until_applied(3);
    let refused = relay.echo(Transport::Udp, "south").expect_err("a denied peer").line();
    assert!(refused.contains("403"), "{refused}");
}

#[test]
fn a_bad_new_configuration_changes_nothing_and_is_told() {
    let mut relay = Relay::start("");
    relay.configure("colour: blue\n");
    relay.until_refused("invalid", 1);
    assert!(relay.log().contains("colour"), "{}", relay.log());
    assert!(relay.echo(Transport::Udp, "north").is_ok());
    relay.write_secret("");
    relay.configure("");
    relay.until("refused", |relay| {
        relay.metric("turn_config_reload_failures_total{reason=\"secret\"}") >= 1
    });
    assert!(relay.log().contains("is empty"), "{}", relay.log());
    assert!(relay.echo(Transport::Udp, "north").is_ok());
}

#[test]
fn what_needs_a_restart_is_said() {
    let mut relay = Relay::start("");
    relay.configure("workers: 3\nlimits: {allocationsPerUser: 1}\n");
    relay.until("reloaded", |relay| relay.log().contains("need a restart"));
    let refused = relay.echo(Transport::Udp, "north").expect_err("a quota of one").line();
    assert!(refused.contains("486"), "the rest holds: {refused}");
}

#[test]
fn the_realm_is_taken_while_it_runs_and_allocations_go_on() {
    let mut relay = Relay::start(PEERS);
    let mut caller = Caller::allocate(&relay, Over::Udp(relay.server()), "alice");
    caller.echo();
    relay.change(|files| "example.net".clone_into(&mut files.realm));
    relay.until_applied(1);
    assert!(relay.get("/status").1.contains("example.net"));
    caller.echo();
    caller.refresh();
    let mut another = Caller::allocate(&relay, Over::Udp(relay.server()), "bob");
    assert!(another.has_seen("example.net"));
    another.echo();
    assert_eq!(relay.metric("turn_allocations"), 2);
}

#[test]
fn the_log_level_is_taken_while_it_runs() {
    let mut relay = Relay::start("");
    assert!(relay.echo(Transport::Udp, "north").is_ok());
    assert!(!relay.log().contains("relayed address opened"), "{}", relay.log());
    relay.configure("logLevel: debug\n");
    relay.until_applied(1);
    assert!(relay.echo(Transport::Udp, "north").is_ok());
    relay.until("logged", |relay| relay.log().contains("relayed address opened"));
}
