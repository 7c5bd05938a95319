//! The configuration once it is checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Deref,
};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::raw::{Drain, Limits, Listener, PortRange, RawConfig};

/// Why a configuration is refused. The message names the field, its value, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not YAML, or not of the configuration's shape.
    #[error("{0}")]
    Syntax(String),
    /// A field has a value that cannot be.
    #[error("{field}: {value:?} {wanted}")]
    Value {
        /// The path of the field.
        field: String,
        /// The value that was found there.
        value: String,
        /// What would be right.
        wanted: String,
    },
}

fn refuse<T>(
    field: impl Into<String>,
    value: impl ToString,
    wanted: impl Into<String>,
) -> Result<T, ConfigError> {
    Err(ConfigError::Value { field: field.into(), value: value.to_string(), wanted: wanted.into() })
}

/// A configuration that has been checked. Reads like the [`RawConfig`] that it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config(RawConfig);

impl Deref for Config {
    type Target = RawConfig;

    fn deref(&self) -> &RawConfig {
        &self.0
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, ConfigError> {
        check_realm(&raw.realm)?;
        check_relay_ports(raw.relay_ports)?;
        check_listeners(&raw.listeners, raw.relay_ports)?;
        check_tls(&raw)?;
        check_admin(&raw)?;
        check_addresses(&raw)?;
        check_auth(&raw)?;
        check_limits(&raw.limits)?;
        check_drain(&raw.drain)?;
        check_discovery(&raw)?;
        check_tcp_relaying(&raw)?;
        if raw.workers.is_some_and(|workers| !(1..=256).contains(&workers)) {
            return refuse("workers", raw.workers.unwrap_or(0), "is not between 1 and 256");
        }
        Ok(Self(raw))
    }
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// When `text` is not YAML of the right shape (an unknown field included), or a value cannot be.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        let raw: RawConfig =
            serde_saphyr::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        Self::try_from(raw)
    }

    /// The public address of a local one.
    #[must_use]
    pub fn external_address(&self, local: IpAddr) -> IpAddr {
        self.external_addresses.get(&local).copied().unwrap_or(local)
    }

    /// A digest of the fields that a running relay cannot take: when it changes, the relay has to
    /// be started anew. All other fields are applied while the relay runs.
    #[must_use]
    pub fn restart_digest(&self) -> String {
        #[derive(Serialize)]
        struct NeedsRestart<'a> {
            addresses: &'a [IpAddr],
            relay_ports: PortRange,
            admin: &'a crate::raw::Admin,
            workers: Option<u16>,
        }
        let fields = NeedsRestart {
            addresses: &self.addresses,
            relay_ports: self.relay_ports,
            admin: &self.admin,
            workers: self.workers,
        };
        let text = serde_saphyr::to_string(&fields).unwrap_or_default();
        Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl RawConfig {
    /// The configuration as YAML, as the relay reads it.
    ///
    /// # Errors
    /// When a value cannot be written as YAML.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        serde_saphyr::to_string(self).map_err(|error| ConfigError::Syntax(error.to_string()))
    }
}

fn check_realm(realm: &str) -> Result<(), ConfigError> {
    // RFC 8489, section 14.9: fewer than 128 characters. Quotes and controls would break the
    // digest text that the key is made of.
    if realm.is_empty() || realm.chars().count() > 127 {
        return refuse("realm", realm, "must have between 1 and 127 characters");
    }
    if realm.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        return refuse("realm", realm, "must have no control character, quote or backslash");
    }
    Ok(())
}

fn check_relay_ports(range: PortRange) -> Result<(), ConfigError> {
    if range.from < 1024 {
        return refuse("relayPorts.from", range.from, "must be 1024 or more");
    }
    if range.from > range.to {
        return refuse(
            "relayPorts.to",
            range.to,
            format!("must not be below relayPorts.from, {}", range.from),
        );
    }
    Ok(())
}

fn check_listeners(listeners: &[Listener], relay_ports: PortRange) -> Result<(), ConfigError> {
    if listeners.is_empty() {
        return refuse("listeners", "[]", "must name at least one listener");
    }
    let mut names = BTreeSet::new();
    let mut ports = BTreeMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        let Listener { name, protocol, port, proxy_protocol } = listener;
        let field = |of: &str| format!("listeners[{index}].{of}");
        if name.is_empty() || name.len() > 63 {
            return refuse(field("name"), name, "must have between 1 and 63 characters");
        }
        if !names.insert(name) {
            return refuse(field("name"), name, "is the name of another listener too");
        }
        if *port == 0 {
            return refuse(field("port"), port, "must be between 1 and 65535");
        }
        // TCP's ports and UDP's are two sets.
        if let Some(other) = ports.insert((protocol.is_stream(), *port), listener) {
            let wanted = match other.protocol {
                same if same == *protocol => "with the same protocol".to_owned(),
                other => format!("whose protocol, {other}, shares its ports with {protocol}"),
            };
            let wanted = format!("is the port of listener {:?} too, {wanted}", other.name);
            return refuse(field("port"), port, wanted);
        }
        if !protocol.is_stream() && relay_ports.contains(*port) {
            return refuse(
                field("port"),
                port,
                format!("lies within relayPorts, {}-{}", relay_ports.from, relay_ports.to),
            );
        }
        if !protocol.is_stream() && !proxy_protocol.is_empty() {
            return refuse(
                field("proxyProtocol"),
                format!("{proxy_protocol:?}"),
                format!("is for TCP, TLS and Auto: no header comes before datagrams of {protocol}"),
            );
        }
    }
    Ok(())
}

fn check_tls(raw: &RawConfig) -> Result<(), ConfigError> {
    let secure = raw.listeners.iter().find(|listener| listener.protocol.is_secure());
    let Some(tls) = &raw.tls else {
        return match secure {
            Some(Listener { name, protocol, .. }) => refuse(
                "tls",
                "null",
                format!(
                    "must name certificateFile and privateKeyFile: listener {name:?} is {protocol}"
                ),
            ),
            None => Ok(()),
        };
    };
    let files =
        [("certificateFile", &tls.certificate_file), ("privateKeyFile", &tls.private_key_file)];
    match files.into_iter().find(|(_, path)| path.as_os_str().is_empty()) {
        Some((field, _)) => refuse(format!("tls.{field}"), "", "must name a PEM file"),
        None => Ok(()),
    }
}

fn check_admin(raw: &RawConfig) -> Result<(), ConfigError> {
    let port = raw.admin.address.port();
    let taken = raw.listeners.iter().find(|l| l.protocol.is_stream() && l.port == port);
    match taken {
        Some(listener) => refuse(
            "admin.address",
            raw.admin.address,
            format!("has the port of {} listener {:?}", listener.protocol, listener.name),
        ),
        None => Ok(()),
    }
}

fn check_addresses(raw: &RawConfig) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    for (index, address) in raw.addresses.iter().enumerate() {
        if address.is_unspecified() || address.is_multicast() {
            return refuse(
                format!("addresses[{index}]"),
                address,
                "must be an address of this machine, not a wildcard or a group",
            );
        }
        if !seen.insert(address) {
            return refuse(format!("addresses[{index}]"), address, "stands in the list twice");
        }
    }
    for (local, external) in &raw.external_addresses {
        if local.is_ipv4() != external.is_ipv4() {
            return refuse(
                format!("externalAddresses[{local}]"),
                external,
                "must be of the same family as the local address",
            );
        }
        if external.is_unspecified() || external.is_multicast() {
            return refuse(
                format!("externalAddresses[{local}]"),
                external,
                "must be an address that clients can send to",
            );
        }
    }
    Ok(())
}

fn check_auth(raw: &RawConfig) -> Result<(), ConfigError> {
    if raw.auth.credential_hashes.is_empty() {
        return refuse("auth.credentialHashes", "[]", "must name SHA1, SHA256 or both");
    }
    if raw.auth.shared_secrets.is_empty() && raw.auth.users.is_empty() {
        return refuse(
            "auth",
            "{}",
            "must name at least one file in sharedSecrets or one user in users: a relay without \
             credentials would be open to everyone",
        );
    }
    let mut names = BTreeSet::new();
    for (index, user) in raw.auth.users.iter().enumerate() {
        // RFC 8489, section 14.3: at most 508 bytes.
        if user.name.is_empty() || user.name.len() > 508 {
            return refuse(
                format!("auth.users[{index}].name"),
                &user.name,
                "must have between 1 and 508 bytes",
            );
        }
        if !names.insert(&user.name) {
            return refuse(
                format!("auth.users[{index}].name"),
                &user.name,
                "stands in the list twice",
            );
        }
    }
    Ok(())
}

fn check_limits(limits: &Limits) -> Result<(), ConfigError> {
    let positive: [(&str, u32); 11] = [
        ("allocationsPerUser", limits.allocations_per_user),
        ("allocations", limits.allocations),
        ("permissionsPerAllocation", limits.permissions_per_allocation.into()),
        ("channelsPerAllocation", limits.channels_per_allocation.into()),
        ("pendingConnectionsPerPrefix", limits.pending_connections_per_prefix),
        ("pendingConnectionTimeoutSeconds", limits.pending_connection_timeout_seconds),
        ("queueBytesPerConnection", limits.queue_bytes_per_connection),
        (
            "unauthenticatedRepliesPerSecondPerPrefix",
            limits.unauthenticated_replies_per_second_per_prefix,
        ),
        ("newPeersPerSecondPerAllocation", limits.new_peers_per_second_per_allocation.into()),
        ("tcpPeersPerAllocation", limits.tcp_peers_per_allocation.into()),
        ("tcpPeers", limits.tcp_peers),
    ];
    for (field, value) in positive {
        if value == 0 {
            return refuse(format!("limits.{field}"), value, "must be 1 or more");
        }
    }
    check_rates(limits)?;
    // One framed datagram has to fit: 65,535 bytes and a ChannelData header.
    if limits.queue_bytes_per_connection < 65_540 {
        return refuse(
            "limits.queueBytesPerConnection",
            limits.queue_bytes_per_connection,
            "must be 65540 or more, or the largest datagram does not fit",
        );
    }
    Ok(())
}

fn check_rates(limits: &Limits) -> Result<(), ConfigError> {
    let rates = [
        ("bitsPerSecondPerAllocation", limits.bits_per_second_per_allocation),
        ("packetsPerSecondPerAllocation", limits.packets_per_second_per_allocation),
        ("bitsPerSecondPerUser", limits.bits_per_second_per_user),
        ("packetsPerSecondPerUser", limits.packets_per_second_per_user),
        ("bitsPerSecond", limits.bits_per_second),
        ("packetsPerSecond", limits.packets_per_second),
    ];
    match rates.into_iter().find(|(_, rate)| *rate == Some(0)) {
        Some((field, _)) => {
            refuse(format!("limits.{field}"), 0, "must be 1 or more, or null for no limit")
        }
        None => Ok(()),
    }
}

/// Relayed addresses and listeners of TCP share their ports only where none of the former is TCP.
fn check_tcp_relaying(raw: &RawConfig) -> Result<(), ConfigError> {
    let within = |port: &u16| raw.features.tcp_relaying && raw.relay_ports.contains(*port);
    let streams = raw.listeners.iter().filter(|listener| listener.protocol.is_stream());
    let ports = streams.map(|listener| listener.port).chain([raw.admin.address.port()]);
    match ports.into_iter().find(within) {
        Some(port) => refuse(
            "features.tcpRelaying",
            true,
            format!("needs relayPorts without port {port}, which the relay listens on"),
        ),
        None => Ok(()),
    }
}

fn check_discovery(raw: &RawConfig) -> Result<(), ConfigError> {
    let udp = raw.listeners.iter().filter(|listener| listener.protocol == crate::Protocol::Udp);
    if raw.features.nat_discovery && udp.count() < 2 {
        return refuse(
            "features.natDiscovery",
            true,
            "needs two UDP listeners, of which the second is the alternate port (3479 by custom)",
        );
    }
    Ok(())
}

fn check_drain(drain: &Drain) -> Result<(), ConfigError> {
    for (index, alternate) in drain.alternates.iter().enumerate() {
        let field = |of: &str| format!("drain.alternates[{index}].{of}");
        if alternate.protocol == crate::Protocol::Auto {
            return refuse(field("protocol"), "Auto", "must be UDP, TCP, TLS or DTLS");
        }
        let address = alternate.address;
        if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
            return refuse(
                field("address"),
                address,
                "must be an address that clients can send to",
            );
        }
        let domain = alternate.domain.as_deref().unwrap_or("a");
        if domain.is_empty() || domain.len() > 253 || !domain.is_ascii() {
            return refuse(
                field("domain"),
                domain,
                "must be a domain name of at most 253 characters",
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "auth: {sharedSecrets: [/run/secret]}\n";

    #[track_caller]
    fn check(yaml: &str, expected: &str) {
        let text = format!("{LEAST}{yaml}");
        let found = Config::from_yaml(&text).map(|_| ()).map_err(|error| error.to_string());
        match found {
            Ok(()) => assert_eq!("", expected, "{yaml} was accepted"),
            Err(error) => assert!(
                !expected.is_empty() && error.contains(expected),
                "{yaml}\n  says: {error}\n  not:  {expected}"
            ),
        }
    }

    #[test]
    fn every_wrong_value_names_field_value_and_what_would_be_right() {
        check("", "");
        check("realm: ''", "realm: \"\" must have between 1 and 127");
        check("relayPorts: {from: 80, to: 90}", "relayPorts.from: \"80\" must be 1024 or more");
        check("relayPorts: {from: 62000, to: 61000}", "relayPorts.to: \"61000\" must not be below");
        check("listeners: []", "listeners: \"[]\" must name at least one");
        check(
            "listeners: [{name: a, protocol: UDP, port: 3478}, {name: b, protocol: UDP, port: 3478}]",
            "listeners[1].port: \"3478\" is the port of listener \"a\" too",
        );
        check(
            "listeners: [{name: a, protocol: UDP, port: 3478}, {name: a, protocol: TCP, port: 3478}]",
            "listeners[1].name: \"a\" is the name of another",
        );
        check("listeners: [{name: a, protocol: UDP, port: 61000}]", "lies within relayPorts");
        check("listeners: [{name: a, protocol: UDP, port: 0}]", "between 1 and 65535");
        check("listeners: [{name: a, protocol: UDP, port: 70000}]", "70000");
        check("listeners: [{name: a, protocol: SCTP, port: 1}]", "SCTP");
        check("colour: blue", "colour");
        check("addresses: [0.0.0.0]", "addresses[0]: \"0.0.0.0\" must be an address");
        check("externalAddresses: {10.0.0.1: '::1'}", "externalAddresses[10.0.0.1]");
        check("limits: {allocations: 0}", "limits.allocations: \"0\" must be 1 or more");
        check("limits: {queueBytesPerConnection: 1000}", "65540 or more");
        check(
            "limits: {bitsPerSecond: 0}",
            "limits.bitsPerSecond: \"0\" must be 1 or more, or null",
        );
        check("limits: {bitsPerSecondPerAllocation: null}", "");
        check(
            "drain: {alternates: [{protocol: Auto, address: '192.0.2.1:443'}]}",
            "drain.alternates[0].protocol: \"Auto\" must be UDP, TCP, TLS or DTLS",
        );
        check(
            "drain: {alternates: [{protocol: UDP, address: '0.0.0.0:3478'}]}",
            "drain.alternates[0].address: \"0.0.0.0:3478\" must be an address that clients",
        );
        check(
            "features: {tcpRelaying: true}\nrelayPorts: {from: 9000, to: 9999}",
            "features.tcpRelaying: \"true\" needs relayPorts without port 9478",
        );
        check("limits: {tcpPeers: 0}", "limits.tcpPeers: \"0\" must be 1 or more");
        check("features: {natDiscovery: true}", "features.natDiscovery: \"true\" needs two UDP");
        check("peers: {deny: [10.0.0.0/33]}", "10.0.0.0/33");
        check("admin: {address: '0.0.0.0:3478'}", "has the port of TCP listener \"tcp\"");
        check("workers: 0", "workers: \"0\"");
        check("logLevel: loud", "loud");
    }

    #[test]
    fn each_protocol_has_its_ports_and_needs() {
        const TLS: &str = "tls: {certificateFile: /c.pem, privateKeyFile: /k.pem}\n";
        let secure = |listeners: &str| format!("{TLS}listeners: [{listeners}]");
        check(
            &secure(
                "{name: a, protocol: UDP, port: 3478}, {name: b, protocol: Auto, port: 3478}, \
                 {name: c, protocol: DTLS, port: 443}, {name: d, protocol: TLS, port: 443}, \
                 {name: e, protocol: TCP, port: 80, proxyProtocol: [10.0.0.0/8, '::1/128']}",
            ),
            "",
        );
        check(
            "listeners: [{name: a, protocol: TLS, port: 1}]",
            "tls: \"null\" must name certificateFile",
        );
        check("listeners: [{name: a, protocol: DTLS, port: 1}]", "listener \"a\" is DTLS");
        check("listeners: [{name: a, protocol: Auto, port: 1}]", "listener \"a\" is Auto");
        check("tls: {certificateFile: /c.pem}", "privateKeyFile");
        check(
            "tls: {certificateFile: '', privateKeyFile: /k}",
            "tls.certificateFile: \"\" must name",
        );
        check(
            &secure("{name: a, protocol: TLS, port: 443}, {name: b, protocol: Auto, port: 443}"),
            "listeners[1].port: \"443\" is the port of listener \"a\" too, whose protocol, TLS",
        );
        check(
            &secure("{name: a, protocol: UDP, port: 443}, {name: b, protocol: DTLS, port: 443}"),
            "listeners[1].port: \"443\" is the port of listener \"a\" too, whose protocol, UDP",
        );
        check(&secure("{name: a, protocol: DTLS, port: 61000}"), "lies within relayPorts");
        check(
            &secure("{name: a, protocol: DTLS, port: 5349, proxyProtocol: [10.0.0.0/8]}"),
            "listeners[0].proxyProtocol: \"[10.0.0.0/8]\" is for TCP, TLS and Auto",
        );
        check(
            &format!(
                "{}\nadmin: {{address: '0.0.0.0:443'}}",
                secure("{name: a, protocol: Auto, port: 443}")
            ),
            "has the port of Auto listener \"a\"",
        );
    }

    #[test]
    fn a_relay_without_credentials_is_refused() {
        let error = Config::from_yaml("realm: a\n").map_err(|error| error.to_string());
        assert!(error.is_err_and(|error| error.contains("open to everyone")));
    }

    #[test]
    fn what_is_rendered_is_read_back() -> Result<(), ConfigError> {
        let raw = RawConfig {
            auth: crate::Auth {
                shared_secrets: vec!["/run/secret".into()],
                ..crate::Auth::default()
            },
            addresses: vec![IpAddr::from([10, 0, 0, 1])],
            external_addresses: [(IpAddr::from([10, 0, 0, 1]), IpAddr::from([203, 0, 113, 1]))]
                .into(),
            ..RawConfig::default()
        };
        assert_eq!(*Config::from_yaml(&raw.to_yaml()?)?, raw);
        Ok(())
    }

    #[test]
    fn only_what_a_running_relay_cannot_take_changes_the_restart_digest() -> Result<(), ConfigError>
    {
        let digest =
            |yaml: &str| Ok(Config::from_yaml(&format!("{LEAST}{yaml}"))?.restart_digest());
        let base = digest("")?;
        assert_eq!(base, digest("limits: {allocations: 5}\npeers: {deny: [192.0.2.0/24]}")?);
        assert_eq!(base, digest("drain: {timeoutSeconds: 5}")?);
        assert_eq!(base, digest("realm: other\nlogLevel: debug")?);
        assert_eq!(base, digest("listeners: [{name: a, protocol: UDP, port: 5000}]")?);
        assert_ne!(base, digest("workers: 3")?);
        assert_ne!(base, digest("relayPorts: {from: 62000, to: 63000}")?);
        Ok(())
    }
}
