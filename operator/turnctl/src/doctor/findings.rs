//! What was found.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;
use turn_probe::{Failure, Report};

use super::ice_url::{IceUrl, Malformed};

/// All that was found.
pub(super) struct Findings {
    pub(super) checks: Vec<Check>,
    /// Of each address that relays.
    pub(super) relay_ports: BTreeMap<IpAddr, Ports>,
}

/// What became of one URL over one address.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) url: String,
    pub(super) username: Option<String>,
    /// None where browsers would not even try it.
    pub(super) parsed: Option<IceUrl>,
    pub(super) address: Option<SocketAddr>,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Works(Report),
    Failed(Failure),
    /// Browsers throw, or pass over it.
    Unusable(Malformed),
    /// Its name has no address; what the system says.
    Unresolved(String),
    /// This machine has no way to any address of the family, as many clients have none.
    NoRoute,
}

/// What was seen of the relay ports of one address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Ports {
    pub(super) open: Vec<u16>,
    pub(super) closed: Vec<u16>,
}
