//! The checks: every CEL rule and every pattern of the schema once more.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString};
use serde_json::Value;

use super::{
    Advertised, CredentialsSource, DEFAULT_REGION, Invalid, StaticAddresses, Validated,
    ValidatedListener, ValidatedRegion,
};
use crate::{
    AddressFrom, Addresses, Auth, Dns, Gate, IceServers, Limits, Listener, Peers, Protocol, Region,
    RelayPorts, Resources, TurnServer, TurnServerSpec, Violation, Workload,
    document::{is_label, is_subdomain},
    rules,
};

/// Collects what is wrong.
#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, field: impl Into<String>, value: impl Into<Value>, message: &str) {
        self.0.push(Violation::new(field, value, message));
    }

    fn unless(&mut self, holds: bool, field: &str, value: impl Into<Value>, message: &str) {
        if !holds {
            self.add(field, value, message);
        }
    }

    fn within(&mut self, field: &str, value: u32, least: u32, most: u32) {
        let message = format!("must be between {least} and {most}");
        self.unless((least..=most).contains(&value), field, value, &message);
    }
}

pub(super) fn validate(turn_server: &TurnServer) -> Result<Validated, Invalid> {
    let TurnServer { metadata, spec, .. } = turn_server;
    let mut findings = Findings::default();
    check_realm(&spec.realm, &mut findings);
    check_relay_ports(spec.relay_ports, &mut findings);
    check_tcp_relaying(spec, &mut findings);
    let listeners = check_listeners(spec, &mut findings);
    check_tls(spec, &mut findings);
    check_numbers(spec, &mut findings);
    check_limits(&spec.limits, &mut findings);
    check_rates(&spec.limits, &mut findings);
    check_resources(spec.pod.resources.as_ref(), &mut findings);
    let regions = check_regions(spec, &mut findings);
    let advertised = check_addresses(&spec.addresses, &mut findings);
    let credentials = check_auth(&spec.auth, &mut findings);
    check_reachability(spec, &mut findings);
    check_ice_servers(&spec.ice_servers, &mut findings);
    check_dns(spec.dns.as_ref(), &mut findings);
    let (allowed_peers, denied_peers) = check_peers(&spec.peers, &mut findings);
    if !findings.0.is_empty() {
        return Err(Invalid::new(findings.0));
    }
    Ok(Validated {
        regions,
        listeners,
        advertised,
        credentials,
        allowed_peers,
        denied_peers,
        ..unchecked(metadata, spec)
    })
}

/// The fields that are taken over as they are.
fn unchecked(metadata: &ObjectMeta, spec: &TurnServerSpec) -> Validated {
    Validated {
        namespace: metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation,
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        realm: spec.realm.clone(),
        workload: spec.workload,
        regions: Vec::new(),
        listeners: Vec::new(),
        tls_secret_name: spec.tls.as_ref().map(|tls| tls.secret_ref.name.clone()),
        relay_ports: spec.relay_ports,
        advertised: Advertised::Auto,
        credentials: CredentialsSource::Generated,
        credential_ttl_seconds: spec.auth.credential_ttl_seconds,
        credential_hashes: spec.auth.credential_hashes.clone(),
        allowed_peers: Vec::new(),
        denied_peers: Vec::new(),
        limits: spec.limits.clone(),
        features: spec.features,
        reachability: spec.reachability.clone(),
        ice_servers: spec.ice_servers.clone(),
        dns: spec.dns.clone(),
        drain: spec.drain.clone(),
        admin_port: spec.admin.port,
        pod: spec.pod.clone(),
    }
}

fn check_realm(realm: &str, findings: &mut Findings) {
    let length = realm.chars().count();
    let clean = !realm.chars().any(|c| c.is_control() || c == '"' || c == '\\');
    findings.unless(
        (1..=127).contains(&length),
        "spec.realm",
        realm,
        "must have between 1 and 127 characters",
    );
    findings.unless(clean, "spec.realm", realm, rules::NOT_REALM.message);
}

fn check_relay_ports(ports: RelayPorts, findings: &mut Findings) {
    let RelayPorts { from, to } = ports;
    findings.within("spec.relayPorts.from", from.into(), 1024, 65535);
    findings.within("spec.relayPorts.to", to.into(), 1024, 65535);
    findings.unless(from <= to, "spec.relayPorts.from", from, rules::RELAY_PORTS_ORDER.message);
    findings.unless(
        to < 30000 || from > 32767,
        "spec.relayPorts",
        format!("{from}-{to}"),
        rules::RELAY_PORTS_NODE_PORTS.message,
    );
}

/// Relayed addresses and listeners of TCP share their ports only where none of the former is TCP.
fn check_tcp_relaying(spec: &TurnServerSpec, findings: &mut Findings) {
    let RelayPorts { from, to } = spec.relay_ports;
    let listeners = spec.listeners().into_iter();
    let streams = listeners.filter(|listener| listener.protocol.transport() == Protocol::Tcp);
    let mut ports = streams.map(|listener| listener.port).chain([spec.admin.port]);
    findings.unless(
        !spec.features.tcp_relaying || !ports.any(|port| (from..=to).contains(&port)),
        "spec.features.tcpRelaying",
        true,
        rules::STREAM_LISTENER_IN_RELAY_PORTS.message,
    );
}

fn check_listeners(spec: &TurnServerSpec, findings: &mut Findings) -> Vec<ValidatedListener> {
    let listeners = spec.listeners();
    let count = listeners.len();
    findings.unless(
        (1..=16).contains(&count),
        "spec.listeners",
        count,
        "must have between 1 and 16 items",
    );
    let mut names = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for (index, listener) in listeners.iter().enumerate() {
        let path = format!("spec.listeners[{index}]");
        if !names.insert(&listener.name) {
            let message = format!("Duplicate value: {{\"name\":{:?}}}", listener.name);
            findings.add(&path, Value::Null, &message);
        }
        if !ports.insert((listener.protocol.transport(), listener.port)) {
            let value = format!("{} {}", listener.protocol.as_str(), listener.port);
            findings.add("spec.listeners", value, rules::LISTENERS_SHARE_PORT.message);
        }
        check_listener(spec, listener, &path, findings);
    }
    let listeners = listeners.into_iter().enumerate();
    listeners.map(|(index, listener)| validated_listener(index, listener, findings)).collect()
}

fn check_listener(spec: &TurnServerSpec, listener: &Listener, path: &str, findings: &mut Findings) {
    let Listener { name, protocol, port, proxy_protocol } = listener;
    findings.unless(
        is_label(name),
        &format!("{path}.name"),
        name.as_str(),
        rules::NOT_LABEL.message,
    );
    findings.within(&format!("{path}.port"), (*port).into(), 1, 65535);
    let RelayPorts { from, to } = spec.relay_ports;
    let over_udp = protocol.transport() == Protocol::Udp;
    if over_udp && (from..=to).contains(port) {
        let message = rules::UDP_LISTENER_IN_RELAY_PORTS.message;
        findings.add(format!("{path}.port"), *port, message);
    }
    if !over_udp && *port == spec.admin.port {
        findings.add("spec.admin.port", *port, rules::ADMIN_IS_LISTENER.message);
    }
    if over_udp && !proxy_protocol.is_empty() {
        let message = rules::PROXY_PROTOCOL_OVER_UDP.message;
        findings.add(format!("{path}.proxyProtocol"), protocol.as_str(), message);
    }
}

fn validated_listener(
    index: usize,
    listener: Listener,
    findings: &mut Findings,
) -> ValidatedListener {
    let Listener { name, protocol, port, proxy_protocol } = listener;
    let path = format!("spec.listeners[{index}].proxyProtocol");
    let load_balancers = check_ranges(&path, &proxy_protocol, 16, findings);
    ValidatedListener { name, protocol, port, load_balancers }
}

fn check_tls(spec: &TurnServerSpec, findings: &mut Findings) {
    match &spec.tls {
        Some(tls) => {
            check_secret_name("spec.tls.secretRef.name", &tls.secret_ref.name, findings);
        }
        None => {
            let secure =
                spec.listeners().into_iter().find(|listener| listener.protocol.is_secure());
            if let Some(listener) = secure {
                let message = rules::SECURE_WITHOUT_TLS.message;
                findings.add("spec.listeners", listener.protocol.as_str(), message);
            }
        }
    }
}

fn check_numbers(spec: &TurnServerSpec, findings: &mut Findings) {
    findings.within("spec.replicas", spec.replicas.into(), 0, 1000);
    findings.within("spec.drain.timeoutSeconds", spec.drain.timeout_seconds, 0, 86_400);
    findings.within("spec.drain.idleSeconds", spec.drain.idle_seconds.unwrap_or(1), 1, 86_400);
    findings.within("spec.admin.port", spec.admin.port.into(), 1024, 65535);
    let ttl = spec.auth.credential_ttl_seconds;
    findings.within("spec.auth.credentialTtlSeconds", ttl, 60, 31_536_000);
}

fn check_limits(limits: &Limits, findings: &mut Findings) {
    let Limits {
        allocations_per_user,
        allocations,
        permissions_per_allocation,
        channels_per_allocation,
        pending_connections_per_prefix,
        unauthenticated_replies_per_second_per_prefix,
        new_peers_per_second_per_allocation,
        tcp_peers_per_allocation,
        tcp_peers,
        ..
    } = limits;
    let permissions = u32::from(*permissions_per_allocation);
    let channels = u32::from(*channels_per_allocation);
    let replies = *unauthenticated_replies_per_second_per_prefix;
    for (field, value, most) in [
        ("allocationsPerUser", *allocations_per_user, 1_000_000),
        ("allocations", *allocations, 1_000_000),
        ("permissionsPerAllocation", permissions, 65535),
        ("channelsPerAllocation", channels, 4096),
        ("pendingConnectionsPerPrefix", *pending_connections_per_prefix, 1_000_000),
        ("unauthenticatedRepliesPerSecondPerPrefix", replies, 1_000_000),
        ("newPeersPerSecondPerAllocation", (*new_peers_per_second_per_allocation).into(), 65535),
        ("tcpPeersPerAllocation", (*tcp_peers_per_allocation).into(), 65535),
        ("tcpPeers", *tcp_peers, 1_000_000),
    ] {
        findings.within(&format!("spec.limits.{field}"), value, 1, most);
    }
}

fn check_rates(limits: &Limits, findings: &mut Findings) {
    const MOST_BITS: u64 = 1_000_000_000_000;
    const MOST_PACKETS: u64 = 1_000_000_000;
    for (field, rate, most) in [
        ("bitsPerSecondPerAllocation", Some(limits.bits_per_second_per_allocation), MOST_BITS),
        ("packetsPerSecondPerAllocation", limits.packets_per_second_per_allocation, MOST_PACKETS),
        ("bitsPerSecondPerUser", limits.bits_per_second_per_user, MOST_BITS),
        ("packetsPerSecondPerUser", limits.packets_per_second_per_user, MOST_PACKETS),
        ("bitsPerSecond", limits.bits_per_second, MOST_BITS),
        ("packetsPerSecond", limits.packets_per_second, MOST_PACKETS),
    ] {
        let Some(rate) = rate else { continue };
        let message = format!("must be between 1 and {most}");
        findings.unless(
            (1..=most).contains(&rate),
            &format!("spec.limits.{field}"),
            rate,
            &message,
        );
    }
}

fn check_resources(resources: Option<&Resources>, findings: &mut Findings) {
    let Some(Resources { requests, limits }) = resources else { return };
    for (field, quantities) in [("requests", requests), ("limits", limits)] {
        for (name, quantity) in quantities {
            if let IntOrString::String(text) = quantity
                && !is_quantity(text)
            {
                findings.add(
                    format!("spec.pod.resources.{field}[{name}]"),
                    text.as_str(),
                    rules::NOT_QUANTITY.message,
                );
            }
        }
    }
}

/// Whether `text` is a number with one of the suffixes that Kubernetes knows.
fn is_quantity(text: &str) -> bool {
    let is_number = |text: &str| {
        text.bytes().all(|c| c.is_ascii_digit() || c == b'.')
            && text.bytes().filter(|c| *c == b'.').count() <= 1
            && text.bytes().any(|c| c.is_ascii_digit())
    };
    let unsigned = |text: &str| text.strip_prefix(['+', '-']).unwrap_or(text).to_owned();
    let text = unsigned(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let exponent = suffix.strip_prefix(['e', 'E']).filter(|exponent| !exponent.is_empty());
    is_number(number)
        && (["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "n", "u", "m", "k", "M", "G", "T", "P", "E"]
            .contains(&suffix)
            || exponent.is_some_and(|exponent| is_number(&unsigned(exponent))))
}

fn check_regions(spec: &TurnServerSpec, findings: &mut Findings) -> Vec<ValidatedRegion> {
    if spec.regions.is_empty() {
        let replicas = spec.replicas;
        let node_selector = BTreeMap::new();
        return vec![ValidatedRegion { name: DEFAULT_REGION.to_owned(), node_selector, replicas }];
    }
    findings.unless(
        spec.regions.len() <= 32,
        "spec.regions",
        spec.regions.len(),
        "must have at most 32 items",
    );
    let daemon_set = spec.workload == Workload::DaemonSet;
    if daemon_set && spec.regions.iter().any(|region| region.replicas.is_some()) {
        findings.add("spec.regions", Value::Null, rules::DAEMON_SET_REGION_REPLICAS.message);
    }
    let mut names = BTreeSet::new();
    for (index, Region { name, replicas, .. }) in spec.regions.iter().enumerate() {
        let path = format!("spec.regions[{index}]");
        findings.unless(
            is_label(name),
            &format!("{path}.name"),
            name.as_str(),
            rules::NOT_LABEL.message,
        );
        findings.within(&format!("{path}.replicas"), replicas.unwrap_or(0).into(), 0, 1000);
        if !names.insert(name) {
            let message = format!("Duplicate value: {{\"name\":{name:?}}}");
            findings.add(&path, Value::Null, &message);
        }
    }
    let region = |region: &Region| ValidatedRegion {
        name: region.name.clone(),
        node_selector: region.node_selector.clone(),
        replicas: region.replicas.unwrap_or(spec.replicas),
    };
    spec.regions.iter().map(region).collect()
}

fn check_addresses(addresses: &Addresses, findings: &mut Findings) -> Advertised {
    let Addresses { source, static_: entries } = addresses;
    let is_static = *source == AddressFrom::Static;
    if is_static && entries.is_empty() {
        let message = rules::STATIC_WITHOUT_ENTRIES.message;
        findings.add("spec.addresses.static", Value::Null, message);
    }
    if !is_static && !entries.is_empty() {
        let message = rules::ENTRIES_WITHOUT_STATIC.message;
        findings.add("spec.addresses.source", format!("{source:?}"), message);
    }
    let mut list = StaticAddresses::default();
    for (index, entry) in entries.iter().enumerate() {
        match unicast(&entry.address) {
            None => findings.add(
                format!("spec.addresses.static[{index}].address"),
                entry.address.as_str(),
                rules::NOT_UNICAST.message,
            ),
            Some(address) => {
                if !list.add(entry.node_name.as_deref(), address) {
                    let message = rules::STATIC_TWICE.message;
                    findings.add("spec.addresses.static", entry.address.as_str(), message);
                }
            }
        }
    }
    match source {
        AddressFrom::Auto => Advertised::Auto,
        AddressFrom::NodeExternalIP => Advertised::NodeExternalIp,
        AddressFrom::NodeInternalIP => Advertised::NodeInternalIp,
        AddressFrom::Static => Advertised::Static(list),
    }
}

/// What CEL's `isGlobalUnicast` says: private addresses are, loopback and link-local are not.
fn unicast(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.parse().ok()?;
    let good = match address {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_multicast()
                || v4.is_link_local()
                || v4.is_broadcast())
        }
        IpAddr::V6(v6) => {
            !(v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || v6.to_ipv4_mapped().is_some())
        }
    };
    good.then_some(address)
}

fn check_auth(auth: &Auth, findings: &mut Findings) -> CredentialsSource {
    let hashes = &auth.credential_hashes;
    findings.unless(
        (1..=2).contains(&hashes.len()),
        "spec.auth.credentialHashes",
        hashes.len(),
        "must have between 1 and 2 items",
    );
    if let [first, second] = hashes[..]
        && first == second
    {
        let message = format!("Duplicate value: {:?}", first.as_str());
        findings.add("spec.auth.credentialHashes[1]", Value::Null, &message);
    }
    let Some(reference) = &auth.secret_ref else { return CredentialsSource::Generated };
    check_secret_name("spec.auth.secretRef.name", &reference.name, findings);
    let keys = &reference.keys;
    findings.unless(
        (1..=8).contains(&keys.len()),
        "spec.auth.secretRef.keys",
        keys.len(),
        "must have between 1 and 8 items",
    );
    let mut seen = BTreeSet::new();
    for (index, key) in keys.iter().enumerate() {
        let path = format!("spec.auth.secretRef.keys[{index}]");
        let good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        findings.unless(
            !key.is_empty() && key.len() <= 253 && key.chars().all(good),
            &path,
            key.as_str(),
            rules::NOT_SECRET_KEY.message,
        );
        if !seen.insert(key) {
            findings.add(path, Value::Null, &format!("Duplicate value: {key:?}"));
        }
    }
    CredentialsSource::Referenced { name: reference.name.clone(), keys: keys.clone() }
}

fn check_secret_name(path: &str, name: &str, findings: &mut Findings) {
    findings.unless(is_subdomain(name), path, name, rules::NOT_SECRET_NAME.message);
}

fn check_reachability(spec: &TurnServerSpec, findings: &mut Findings) {
    let reachability = &spec.reachability;
    if let Some(seconds) = reachability.replace_after_seconds {
        let path = "spec.reachability.replaceAfterSeconds";
        findings.within(path, seconds, 60, 86_400);
        let enforced = reachability.gate == Gate::Enforce;
        findings.unless(enforced, path, seconds, rules::REPLACES_WITHOUT_GATE.message);
        let deployment = spec.workload == Workload::Deployment;
        findings.unless(deployment, path, seconds, rules::DAEMON_SET_REPLACES.message);
    }
    let vantages = u32::from(reachability.min_vantages);
    findings.within("spec.reachability.minVantages", vantages, 1, 100);
    if let Some(vantages) = &reachability.vantages {
        let path = "spec.reachability.vantages.secretRef.name";
        check_secret_name(path, &vantages.secret_ref.name, findings);
    }
}

fn check_dns(dns: Option<&Dns>, findings: &mut Findings) {
    let Some(Dns { name, ttl_seconds }) = dns else { return };
    let is_domain = is_subdomain(name) && name.contains('.');
    findings.unless(is_domain, "spec.dns.name", name.as_str(), rules::NOT_DNS_NAME.message);
    findings.within("spec.dns.ttlSeconds", *ttl_seconds, 1, 86_400);
}

fn check_ice_servers(ice_servers: &IceServers, findings: &mut Findings) {
    let IceServers { api_keys, allowed_origins, max_urls, requests_per_second } = ice_servers;
    findings.within("spec.iceServers.maxUrls", u32::from(*max_urls), 1, 16);
    findings.within("spec.iceServers.requestsPerSecond", *requests_per_second, 1, 100_000);
    if let Some(keys) = api_keys {
        check_secret_name(
            "spec.iceServers.apiKeys.secretRef.name",
            &keys.secret_ref.name,
            findings,
        );
    }
    let path = "spec.iceServers.allowedOrigins";
    findings.unless(
        allowed_origins.len() <= 64,
        path,
        allowed_origins.len(),
        "must have at most 64 items",
    );
    for (index, origin) in allowed_origins.iter().enumerate() {
        let path = format!("{path}[{index}]");
        findings.unless(is_origin(origin), &path, origin.as_str(), rules::NOT_ORIGIN.message);
    }
}

/// What browsers send as `Origin`, as far as web pages have one.
fn is_origin(text: &str) -> bool {
    let is_port = |port: &str| {
        (1..=5).contains(&port.len()) && port.bytes().all(|digit| digit.is_ascii_digit())
    };
    let host = ["https://", "http://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    let is_host = |host: &str| {
        let (name, port) = host.split_once(':').map_or((host, None), |(n, p)| (n, Some(p)));
        name.split('.').all(is_label) && port.is_none_or(is_port)
    };
    text == "*" || host.is_some_and(is_host)
}

fn check_peers(peers: &Peers, findings: &mut Findings) -> (Vec<IpNet>, Vec<IpNet>) {
    let Peers { allow, deny } = peers;
    let allow = check_ranges("spec.peers.allow", allow, 256, findings);
    (allow, check_ranges("spec.peers.deny", deny, 256, findings))
}

fn check_ranges(path: &str, list: &[String], most: usize, findings: &mut Findings) -> Vec<IpNet> {
    let message = format!("must have at most {most} items");
    findings.unless(list.len() <= most, path, list.len(), &message);
    let mut found = Vec::new();
    for (index, text) in list.iter().enumerate() {
        match range(text) {
            Some(net) => found.push(net),
            None => {
                findings.add(format!("{path}[{index}]"), text.as_str(), rules::NOT_CIDR.message);
            }
        }
    }
    found
}

/// As CEL's `isCIDR`, which takes no IPv4-mapped range.
fn range(text: &str) -> Option<IpNet> {
    let net: IpNet = text.parse().ok()?;
    let mapped = matches!(net, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some());
    (!mapped).then_some(net)
}
