//! What came in and said nothing to the client.

/// Why a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// Neither STUN nor ChannelData.
    NotStun,
    /// It starts like STUN or ChannelData, and is neither.
    Malformed,
    /// A request, or an indication that no server sends.
    Unexpected,
    /// An answer to no request that is under way: late, twice, or forged.
    UnknownTransaction,
    /// An answer to a signed request that is not signed, or wrongly.
    Integrity,
    /// A Data indication without a peer, or with neither data nor an ICMP error; a ConnectionAttempt
    /// without a peer or a connection.
    IncompleteData,
    /// ChannelData of a channel that the client has not asked for.
    UnknownChannel,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::NotStun,
        Self::Malformed,
        Self::Unexpected,
        Self::UnknownTransaction,
        Self::Integrity,
        Self::IncompleteData,
        Self::UnknownChannel,
    ];
}

/// How many messages were dropped, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped([u64; DropReason::ALL.len()]);

impl Dropped {
    /// How many for one reason.
    #[must_use]
    pub const fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) const fn add(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_count() {
        let mut dropped = Dropped::default();
        for reason in DropReason::ALL {
            dropped.add(reason);
        }
        assert!(DropReason::ALL.iter().all(|reason| dropped.get(*reason) == 1));
        assert_eq!(dropped.total(), 7);
    }
}
