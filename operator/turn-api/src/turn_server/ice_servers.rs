//! Who is given `iceServers` over HTTP, and how many of them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::reachability::NamedSecret;
use crate::rules;

/// What the operator's ICE-servers API hands out for this TurnServer. Callers with a token of
/// Kubernetes need the verb `get` on `turnservers/iceservers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct IceServers {
    /// Callers without a token of Kubernetes. Absent: there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<ApiKeys>,
    /// The origins of web pages that may ask from a browser, such as `https://meet.example.com`, or
    /// `*` for any. None: no page may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "origins")]
    pub allowed_origins: Vec<String>,
    /// How many URLs a client is given at most. Browsers gather for longer with each one.
    #[schemars(range(min = 1, max = 16))]
    pub max_urls: u8,
    /// Requests per second of one caller.
    #[schemars(range(min = 1, max = 100_000))]
    pub requests_per_second: u32,
}

impl Default for IceServers {
    fn default() -> Self {
        Self { api_keys: None, allowed_origins: Vec::new(), max_urls: 4, requests_per_second: 100 }
    }
}

/// Callers without a token of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct ApiKeys {
    /// A Secret of the same namespace: each of its keys is the name of a caller, and the value its
    /// API key.
    pub secret_ref: NamedSecret,
}

/// A list of origins. The rule stands on each item, so that the error names the one that is wrong.
fn origins(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {"type": "string", "maxLength": 261, "x-kubernetes-validations": rules::ORIGIN}
    })
}
