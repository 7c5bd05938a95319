//! What an agent outside and the operator say to each other: the agent asks, over HTTPS, with what it
//! has found since it asked last; the answer says what to probe next and when to ask again. So an
//! agent needs nothing but a way out.

use std::{net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{Observation, ProbeOrder, Transport, plan::Subject};

/// How many answers one report may hold.
pub const MOST_ANSWERS: usize = 256;

/// What an agent has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AgentReport {
    /// At most [`MOST_ANSWERS`].
    pub answers: Vec<Answer>,
}

/// The answer to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Answer {
    /// The order's.
    pub id: OrderId,
    /// What was found.
    pub observation: Observation,
}

/// What an agent is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AgentOrders {
    /// What to probe, all at once.
    pub orders: Vec<AgentOrder>,
    /// When to ask again, in milliseconds.
    pub wait_milliseconds: u64,
    /// How many of the answers were not taken: never asked for, answered before, or impossible.
    pub refused: usize,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AgentOrder {
    /// To be named in the answer, which counts once.
    pub id: OrderId,
    /// What to do.
    pub probe: ProbeOrder,
}

/// What an order is known by. To the agent it means nothing; the operator finds in it what it asked
/// for, and takes an answer only while it is awaited from this agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct OrderId(String);

#[derive(Serialize, Deserialize)]
struct Parts {
    relay: String,
    address: IpAddr,
    listener: String,
    transport: Transport,
    port: u16,
    round: u64,
}

impl OrderId {
    /// Names the probe of a subject in a round.
    #[must_use]
    pub fn new(subject: &Subject, round: u64) -> Self {
        let parts = Parts {
            relay: subject.relay.to_string(),
            address: subject.address,
            listener: subject.listener.to_string(),
            transport: subject.transport,
            port: subject.port,
            round,
        };
        // Plain data with text keys can be said in JSON.
        Self(URL_SAFE_NO_PAD.encode(serde_json::to_vec(&parts).unwrap_or_default()))
    }

    /// What it names. None: the operator made none like it.
    #[must_use]
    pub fn parts(&self) -> Option<(Subject, u64)> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.0).ok()?;
        let Parts { relay, address, listener, transport, port, round } =
            serde_json::from_slice(&bytes).ok()?;
        let (relay, listener): (Arc<str>, Arc<str>) = (relay.into(), listener.into());
        Some((Subject { relay, address, listener, transport, port }, round))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_found_again_by_its_id_and_nothing_else_is() {
        let subject = Subject {
            relay: "edge-1".into(),
            address: IpAddr::from([192, 0, 2, 1]),
            listener: "udp".into(),
            transport: Transport::Udp,
            port: 3478,
        };
        assert_eq!(OrderId::new(&subject, 7).parts(), Some((subject, 7)));
        for nonsense in ["", "x", "e30", "////"] {
            assert_eq!(OrderId(nonsense.to_owned()).parts(), None);
        }
    }
}
