//! What is answered.

use schemars::JsonSchema;
use serde::Serialize;

/// What a client needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    /// The `iceServers` of an `RTCConfiguration`.
    pub(super) ice_servers: Vec<IceServer>,
    /// For how long they may be used to begin something, in seconds. What runs by then goes on.
    pub(super) ttl_seconds: u32,
    /// What was left out, and why. Only with `diagnose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) left_out: Option<Vec<LeftOut>>,
}

/// An `RTCIceServer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct IceServer {
    /// Where the relays are: UDP, then TCP, then TLS.
    pub(super) urls: Vec<String>,
    /// The user name.
    pub(super) username: String,
    /// The password.
    pub(super) credential: String,
}

/// Something that clients are not given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeftOut {
    /// The relay's pod.
    pub(super) relay: String,
    /// The URL, if it is one of a relay that others of its URLs were given of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    /// The listener, if it is one that is not reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listener: Option<String>,
    /// Why: a reason of the condition Reachable, or `NotReady`, `Draining`, `Full`, `Limit`.
    pub(super) reason: String,
    /// The same for people, with what would mend it.
    pub(super) message: String,
}
