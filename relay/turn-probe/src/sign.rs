//! Signs that something is amiss, of which nobody is sure enough to take a relay out: lost datagrams,
//! what clients do and do not do, what a visitor's browser reports. A sign changes nothing of who is
//! let in. It is told, and what it speaks of is probed sooner.

use std::fmt;

/// What a sign is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignKind {
    /// Many datagrams are lost between a vantage and a relay.
    HighLoss,
    /// A visitor's browser does not reach a URL of the fleet.
    ReportedUnreachable,
    /// A listener that clients came to steadily, and none any more.
    ListenerFellSilent,
    /// A listener whose clients are answered, and hardly ever come to an allocation.
    ClientsGiveUp,
    /// A network whose clients never come over UDP.
    NetworkWithoutUDP,
}

/// A sign that something is amiss.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sign {
    /// What it is of.
    pub kind: SignKind,
    /// What was seen, where, by whom, and what to look at. Words that stay the same while it lasts:
    /// each change is written to the cluster.
    pub says: String,
}

impl SignKind {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::HighLoss,
        Self::ReportedUnreachable,
        Self::ListenerFellSilent,
        Self::ClientsGiveUp,
        Self::NetworkWithoutUDP,
    ];

    /// Its name, as it stands in conditions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HighLoss => "HighLoss",
            Self::ReportedUnreachable => "ReportedUnreachable",
            Self::ListenerFellSilent => "ListenerFellSilent",
            Self::ClientsGiveUp => "ClientsGiveUp",
            Self::NetworkWithoutUDP => "NetworkWithoutUDP",
        }
    }
}

impl fmt::Display for SignKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
