//! The name under which clients find the relays.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// A name whose addresses are those of the relays that are reached, kept by external-dns: the operator
/// writes a `DNSEndpoint` (`externaldns.k8s.io/v1alpha1`), which external-dns takes with
/// `--source=crd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Dns {
    /// The name, such as `turn.example.com`. For `turns:` URLs by name the certificate has to be valid
    /// for it.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = rules::DNS_NAME))]
    pub name: String,
    /// How long resolvers may keep the addresses, in seconds: for so long clients may still go where
    /// nothing is reached any more.
    #[serde(default = "default_ttl")]
    #[schemars(range(min = 1, max = 86400))]
    pub ttl_seconds: u32,
}

const fn default_ttl() -> u32 {
    60
}
