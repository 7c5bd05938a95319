//! What is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the fleet looks like.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct TurnServerStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready (the sum of the others), Accepted, PortsAllocated, CredentialsReady, CertificateReady,
    /// Reachable, Available; and Degraded, which is not among the sum.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What clients may be given as `urls` of an ICE server: every listener that is reached of every
    /// ready relay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// How many relays there should be.
    pub desired_replicas: i32,
    /// How many relays there are, those that are ending excepted.
    pub replicas: i32,
    /// How many relays are ready.
    pub ready_replicas: i32,
    /// The label selector of the relays' pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The regions, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub regions: Vec<RegionStatus>,
    /// The relays, by pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pod"]))]
    pub relays: Vec<RelayStatus>,
    /// What is kept in DNS. Absent when the spec asks for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsStatus>,
    /// Where the shared secrets are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsStatus>,
}

/// A region.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct RegionStatus {
    /// The name of the region.
    pub name: String,
    /// How many relays it should have.
    pub desired: i32,
    /// How many of its relays are ready.
    pub ready: i32,
}

/// A relay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct RelayStatus {
    /// The name of its pod.
    pub pod: String,
    /// The node that it runs on. Absent until it is placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its region.
    pub region: String,
    /// The addresses that its clients are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Whether it serves clients.
    pub ready: bool,
    /// Whether it is ending, and serves only the clients that it has.
    #[serde(default)]
    pub draining: bool,
    /// Whether it has no room for more clients.
    #[serde(default)]
    pub full: bool,
    /// What clients may be given as `urls` of an ICE server for this relay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Who reaches it, and where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reachability: Vec<ListenerReachability>,
}

/// Who reaches one address of one listener of a relay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct ListenerReachability {
    /// The name of the listener.
    pub listener: String,
    /// The address that clients are told.
    pub address: String,
    /// Whether it is reached, as far as enough vantages agree.
    pub reached: Reached,
    /// Why it is not, as the reason of a condition. Absent where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was seen, and the firewall rule that would mend it. Absent where it is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The vantages that reach it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reached_from: Vec<String>,
    /// The vantages that do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_reached_from: Vec<String>,
}

/// Whether something is reached, with the words of conditions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Reached {
    /// It is.
    True,
    /// It is not.
    False,
    /// Nobody has tried it lately, or they do not agree.
    #[default]
    Unknown,
}

impl Reached {
    /// As it stands in a condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What is kept in DNS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct DnsStatus {
    /// The name.
    pub name: String,
    /// Its addresses: those of the relays that are ready and reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

/// Where the shared secrets are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct CredentialsStatus {
    /// The name of the Secret.
    pub secret_name: String,
    /// The key of the Secret whose value signs new credentials.
    pub active_key: String,
}
