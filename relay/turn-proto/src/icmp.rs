//! ICMP errors that relayed datagrams meet (RFC 8656, section 11.5).

use std::time::Instant;

use rand::RngExt;
use turn_wire::{
    Class, MessageWriter, Method, TransactionId,
    attribute::{Family, Icmp, XorPeerAddress},
};

use crate::{
    DropReason, FiveTuple, PeerAddr, RelayedId, Server, relay_path::reachable,
    relayed_address::RelayedTransport,
};

/// What an ICMP message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// Its second four bytes: the next hop's MTU of a datagram that was too long.
    pub data: u32,
}

impl Server {
    /// A datagram that was sent to a peer came back as an ICMP error. Writes the Data indication
    /// that tells the client to `out`, and says for whom it is and how long. `None` when it is
    /// nothing that a client is told.
    pub fn handle_icmp(
        &mut self,
        now: Instant,
        to: RelayedId,
        peer: PeerAddr,
        error: IcmpError,
        out: &mut [u8],
    ) -> Option<(FiveTuple, usize)> {
        match self.icmp_to_client(now, to, peer, error, out) {
            Ok(told) => Some(told),
            Err(reason) => {
                self.counters.dropped(reason);
                None
            }
        }
    }

    fn icmp_to_client(
        &mut self,
        now: Instant,
        to: RelayedId,
        peer: PeerAddr,
        error: IcmpError,
        out: &mut [u8],
    ) -> Result<(FiveTuple, usize), DropReason> {
        if !is_told(to.family, error.kind) {
            return Err(DropReason::Icmp);
        }
        let allocation = self.allocations.get(to.allocation).ok_or(DropReason::NoAllocation)?;
        let (without, transport) = (DropReason::NoPermissionInbound, RelayedTransport::Udp);
        self.check_permission(allocation, peer, now, without, transport)?;
        let five_tuple = reachable(allocation)?;
        let transaction = TransactionId(self.rng.random());
        let icmp = Icmp { kind: error.kind, code: error.code.into(), error_data: error.data };
        let writer = MessageWriter::new(out, Class::Indication, Method::DATA, transaction)
            .put(&XorPeerAddress(peer.0))
            .put(&icmp);
        let len = writer.finish().map_err(|_full| DropReason::TooLong)?;
        Ok((five_tuple, len))
    }
}

/// Of ICMP: unreachable and time exceeded. Of ICMPv6: those, and packet too big.
const fn is_told(family: Family, kind: u8) -> bool {
    match family {
        Family::V4 => matches!(kind, 3 | 11),
        Family::V6 => matches!(kind, 1..=3),
    }
}
