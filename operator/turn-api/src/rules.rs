//! The rules that a schema cannot say, once for the API server (CEL) and once by name for
//! [`crate::Validated`], which repeats them in Rust with the same messages.

use serde::Serialize;

/// A rule as it stands in `x-kubernetes-validations`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rule {
    /// The CEL expression.
    pub(crate) rule: &'static str,
    /// What the user reads when it does not hold.
    pub(crate) message: &'static str,
    /// The field that the error names, from the place of the rule. Empty: the place itself.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) field_path: &'static str,
}

const fn rule(rule: &'static str, message: &'static str, field_path: &'static str) -> Rule {
    Rule { rule, message, field_path }
}

pub(crate) const UDP_LISTENER_IN_RELAY_PORTS: Rule = rule(
    "has(self.listeners) \
     ? self.listeners.all(l, !(l.protocol in ['UDP', 'DTLS']) || l.port < self.relayPorts.from || l.port > self.relayPorts.to) \
     : 3478 < self.relayPorts.from || 3478 > self.relayPorts.to",
    "the port of a UDP or DTLS listener must lie outside relayPorts: choose another port, or another range",
    ".listeners",
);
pub(crate) const ADMIN_IS_LISTENER: Rule = rule(
    "has(self.listeners) \
     ? self.listeners.all(l, l.protocol in ['UDP', 'DTLS'] || l.port != self.admin.port) \
     : self.admin.port != 3478 && (!has(self.tls) || self.admin.port != 5349)",
    "must differ from the port of every TCP, TLS and Auto listener: both are opened on the node",
    ".admin.port",
);
pub(crate) const SECURE_WITHOUT_TLS: Rule = rule(
    "has(self.tls) || !has(self.listeners) || self.listeners.all(l, l.protocol in ['UDP', 'TCP'])",
    "a TLS, DTLS or Auto listener needs a certificate: set tls.secretRef.name to a Secret of the type kubernetes.io/tls",
    ".listeners",
);
pub(crate) const DAEMON_SET_REGION_REPLICAS: Rule = rule(
    "self.workload != 'DaemonSet' || !has(self.regions) || self.regions.all(r, !has(r.replicas))",
    "a region of a DaemonSet has one relay on each node: leave out replicas, or set workload to Deployment",
    ".regions",
);
pub(crate) const DAEMON_SET_REPLACES: Rule = rule(
    "self.workload != 'DaemonSet' || !has(self.reachability.replaceAfterSeconds)",
    "a DaemonSet has one relay on each node, so there is no other node: leave it out, or set workload to Deployment",
    ".reachability.replaceAfterSeconds",
);
pub(crate) const STREAM_LISTENER_IN_RELAY_PORTS: Rule = rule(
    "!self.features.tcpRelaying || \
     (self.admin.port < self.relayPorts.from || self.admin.port > self.relayPorts.to) && \
     (has(self.listeners) \
     ? self.listeners.all(l, l.protocol in ['UDP', 'DTLS'] || l.port < self.relayPorts.from || l.port > self.relayPorts.to) \
     : (3478 < self.relayPorts.from || 3478 > self.relayPorts.to) && \
     (!has(self.tls) || 5349 < self.relayPorts.from || 5349 > self.relayPorts.to))",
    "needs relayPorts without admin.port and the port of any TCP, TLS or Auto listener: choose other ports, or another range",
    ".features.tcpRelaying",
);
/// On the spec.
pub(crate) const SPEC: &[Rule] = &[
    UDP_LISTENER_IN_RELAY_PORTS,
    STREAM_LISTENER_IN_RELAY_PORTS,
    ADMIN_IS_LISTENER,
    SECURE_WITHOUT_TLS,
    DAEMON_SET_REGION_REPLICAS,
    DAEMON_SET_REPLACES,
];

pub(crate) const REPLACES_WITHOUT_GATE: Rule = rule(
    "self.gate == 'Enforce' || !has(self.replaceAfterSeconds)",
    "needs gate Enforce: without it a relay that is not reached serves on, and is not replaced",
    ".replaceAfterSeconds",
);
/// On `reachability`.
pub(crate) const REACHABILITY: &[Rule] = &[REPLACES_WITHOUT_GATE];

pub(crate) const WORKLOAD_CHANGED: Rule = rule(
    "self == oldSelf",
    "cannot be changed, since every relay would end at once: make a second TurnServer with the \
     other workload, move the clients there, and delete this one",
    "",
);
/// On `workload`.
pub(crate) const WORKLOAD: &[Rule] = &[WORKLOAD_CHANGED];

pub(crate) const LISTENERS_SHARE_PORT: Rule = rule(
    "self.all(l, self.exists_one(m, m.port == l.port && \
     (m.protocol in ['UDP', 'DTLS']) == (l.protocol in ['UDP', 'DTLS'])))",
    "two listeners must have different ports if both are UDP or DTLS, or both TCP, TLS or Auto",
    "",
);
/// On `listeners`.
pub(crate) const LISTENERS: &[Rule] = &[LISTENERS_SHARE_PORT];

pub(crate) const PROXY_PROTOCOL_OVER_UDP: Rule = rule(
    "!has(self.proxyProtocol) || size(self.proxyProtocol) == 0 || !(self.protocol in ['UDP', 'DTLS'])",
    "only a TCP, TLS or Auto listener can have a PROXY protocol",
    ".proxyProtocol",
);
/// On each of `listeners`.
pub(crate) const LISTENER: &[Rule] = &[PROXY_PROTOCOL_OVER_UDP];

pub(crate) const RELAY_PORTS_ORDER: Rule =
    rule("self.from <= self.to", "must not be above relayPorts.to", ".from");
pub(crate) const RELAY_PORTS_NODE_PORTS: Rule = rule(
    "self.to < 30000 || self.from > 32767",
    "must lie outside 30000-32767: Kubernetes gives these ports to Services of type NodePort",
    "",
);
/// On `relayPorts`.
pub(crate) const RELAY_PORTS: &[Rule] = &[RELAY_PORTS_ORDER, RELAY_PORTS_NODE_PORTS];

pub(crate) const STATIC_WITHOUT_ENTRIES: Rule = rule(
    "self.source != 'Static' || (has(self.static) && size(self.static) > 0)",
    "must name at least one address, since addresses.source is Static",
    ".static",
);
pub(crate) const ENTRIES_WITHOUT_STATIC: Rule = rule(
    "self.source == 'Static' || !has(self.static) || size(self.static) == 0",
    "must be Static for the entries of addresses.static to count",
    ".source",
);
pub(crate) const STATIC_TWICE: Rule = rule(
    "!has(self.static) || self.static.all(a, self.static.exists_one(b, \
     (has(a.nodeName) ? a.nodeName : '') == (has(b.nodeName) ? b.nodeName : '') && \
     a.address.contains(':') == b.address.contains(':')))",
    "a node has at most one IPv4 and one IPv6 address, and so have the nodes that no entry names",
    ".static",
);
/// On `addresses`.
pub(crate) const ADDRESSES: &[Rule] =
    &[STATIC_WITHOUT_ENTRIES, ENTRIES_WITHOUT_STATIC, STATIC_TWICE];

pub(crate) const NOT_UNICAST: Rule = rule(
    "isIP(self) && ip(self).isGlobalUnicast()",
    "must be an IP address that clients can send to, such as 203.0.113.7 or 2001:db8::7",
    "",
);
/// On `addresses.static[].address`.
pub(crate) const IP_ADDRESS: &[Rule] = &[NOT_UNICAST];

pub(crate) const NOT_CIDR: Rule = rule(
    "isCIDR(self)",
    "must be a range in CIDR notation, such as 10.0.0.0/8, 192.0.2.1/32 or fd00::/8",
    "",
);
/// On each range of `peers` and `proxyProtocol`.
pub(crate) const CIDR: &[Rule] = &[NOT_CIDR];

pub(crate) const NOT_REALM: Rule = rule(
    r#"self.matches('^[^\\p{Cc}"\\\\]+$')"#,
    "must have no control character, quote or backslash",
    "",
);
/// On `realm`.
pub(crate) const REALM: &[Rule] = &[NOT_REALM];

pub(crate) const NOT_LABEL: Rule = rule(
    "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    "must be lower-case letters, digits and '-', and begin and end with a letter or digit",
    "",
);
/// On the names of listeners and regions.
pub(crate) const LABEL: &[Rule] = &[NOT_LABEL];

pub(crate) const NOT_SECRET_NAME: Rule = rule(
    r"self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
    "must be the name of a Secret: lower-case letters, digits, '-' and '.'",
    "",
);
/// On the name of each Secret that the spec refers to.
pub(crate) const SECRET_NAME: &[Rule] = &[NOT_SECRET_NAME];

pub(crate) const NOT_DNS_NAME: Rule = rule(
    "self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    "must be a domain name in lower case, such as turn.example.com",
    "",
);
/// On `dns.name`.
pub(crate) const DNS_NAME: &[Rule] = &[NOT_DNS_NAME];

pub(crate) const NOT_SECRET_KEY: Rule = rule(
    "self.matches('^[-._a-zA-Z0-9]+$')",
    "must be a key of a Secret: letters, digits, '-', '_' and '.'",
    "",
);
/// On each of `auth.secretRef.keys`.
pub(crate) const SECRET_KEY: &[Rule] = &[NOT_SECRET_KEY];

pub(crate) const NOT_ORIGIN: Rule = rule(
    "self == '*' || self.matches('^https?://([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]*[a-z0-9])?(:[0-9]{1,5})?$')",
    "must be an origin, such as https://meet.example.com or http://localhost:8080, or *",
    "",
);
/// On each of `iceServers.allowedOrigins`.
pub(crate) const ORIGIN: &[Rule] = &[NOT_ORIGIN];

pub(crate) const NOT_QUANTITY: Rule = rule(
    "type(self) == int || isQuantity(self)",
    "must be a quantity, such as 500m, 2 or 256Mi",
    "",
);
/// On each quantity of `pod.resources`.
pub(crate) const QUANTITY: &[Rule] = &[NOT_QUANTITY];
