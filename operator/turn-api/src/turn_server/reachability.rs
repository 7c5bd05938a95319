//! Whether the relays are reached from outside, who tries it, and what follows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// Whether the relays are reached from outside, who tries it, and what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, extend("x-kubernetes-validations" = rules::REACHABILITY))]
pub struct Reachability {
    /// What follows when a relay is not reached. Enforce: its pod is not Ready, and no client is sent
    /// to it. Warn: it stays Ready, and only the listeners that are not reached stand in no URL.
    /// Disabled: nobody tries. Changing from or to Disabled replaces the relays one at a time.
    pub gate: Gate,
    /// How many vantages have to agree that a listener is reached, or is not. As many as there are
    /// when there are fewer.
    #[schemars(range(min = 1, max = 100))]
    pub min_vantages: u16,
    /// When every relay turns unreachable at once, whoever tries is the suspect: relays that were
    /// Ready stay so, and the condition Degraded says why.
    pub fail_open: bool,
    /// How long a relay may not be reached until another one is started on another node of its region
    /// that has none, in seconds. Absent: never. The one that is not reached stays and is tried on;
    /// once it is reached, the region goes back to its size. Needs `gate: Enforce` and
    /// `workload: Deployment`.
    #[schemars(range(min = 60, max = 86400))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_after_seconds: Option<u32>,
    /// Agents outside of the cluster (`turnctl vantage`). Absent: the operator and the relays
    /// themselves try each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vantages: Option<Vantages>,
}

impl Default for Reachability {
    fn default() -> Self {
        Self {
            gate: Gate::Enforce,
            min_vantages: 1,
            fail_open: true,
            replace_after_seconds: None,
            vantages: None,
        }
    }
}

/// What follows when a relay is not reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Gate {
    /// Its pod is not Ready.
    #[default]
    Enforce,
    /// Its pod is Ready, and what is not reached stands in no URL.
    Warn,
    /// Nobody tries. (Not `Off`, which YAML takes for `false`.)
    Disabled,
}

/// Agents outside of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Vantages {
    /// A Secret of the same namespace: each of its keys is the name of an agent, a DNS label, and the
    /// value its token.
    pub secret_ref: NamedSecret,
}

/// A Secret of the same namespace whose keys are names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct NamedSecret {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = rules::SECRET_NAME))]
    pub name: String,
}
