//! The data path: ChannelData and Send from clients, datagrams from peers.

use std::{ops::Range, time::Instant};

use rand::{CryptoRng, RngExt};
use turn_wire::{
    ChannelData, Message, Method, TransactionId,
    attribute::{Attribute, Data, DontFragment, Family, XorPeerAddress},
    data_indication_head, padded,
};

use crate::{
    AllocationId, Direction, DropReason, FiveTuple, Now, PeerAddr, PeerVerdict, Reach, Refusal,
    RelayedId, Server, Verdict,
    allocation::Allocation,
    permission::permit,
    probe_user::{Gate, allocation_rate},
    relayed_address::RelayedTransport,
};

impl Server {
    pub(crate) fn relay_channel_data(
        &mut self,
        now: Now,
        from: &FiveTuple,
        datagram: &[u8],
    ) -> Verdict {
        self.channel_data_to_peer(now, from, datagram).unwrap_or_else(Verdict::Drop)
    }

    fn channel_data_to_peer(
        &mut self,
        now: Now,
        from: &FiveTuple,
        datagram: &[u8],
    ) -> Result<Verdict, DropReason> {
        let message =
            ChannelData::decode(datagram).map_err(|_| DropReason::MalformedChannelData)?;
        let id = self.allocations.find(from).ok_or(DropReason::NoAllocation)?;
        let allocation = self.allocations.get(id).ok_or(DropReason::NoAllocation)?;
        let peer = allocation
            .channels
            .peer(message.channel, now.instant)
            .ok_or(DropReason::ChannelNotBound)?;
        let start = ChannelData::HEADER_LEN;
        self.relay_to_peer(now, id, PeerAddr(peer), start..start + message.data.len(), false)
    }

    pub(crate) fn relay_send(
        &mut self,
        now: Now,
        from: &FiveTuple,
        message: &Message<'_>,
    ) -> Verdict {
        if message.method() != Method::SEND {
            return Verdict::Drop(DropReason::Indication);
        }
        self.send_to_peer(now, from, message).unwrap_or_else(Verdict::Drop)
    }

    fn send_to_peer(
        &mut self,
        now: Now,
        from: &FiveTuple,
        message: &Message<'_>,
    ) -> Result<Verdict, DropReason> {
        const KNOWN: [turn_wire::AttributeType; 3] =
            [XorPeerAddress::TYPE, Data::TYPE, DontFragment::TYPE];
        let malformed = DropReason::MalformedSend;
        let peer = message.get::<XorPeerAddress>().map_err(|_| malformed)?.ok_or(malformed)?;
        let data = message.get::<Data<'_>>().map_err(|_| malformed)?.ok_or(malformed)?;
        let dont_fragment = message.get::<DontFragment>().map_err(|_| malformed)?.is_some();
        if message.unknown_required(&KNOWN).next().is_some() {
            return Err(malformed);
        }
        let id = self.allocations.find(from).ok_or(DropReason::NoAllocation)?;
        if self.allocations.get(id).is_some_and(|found| found.streams.is_some()) {
            return Err(DropReason::RelaysStreams);
        }
        // The data is a part of the message: where it starts in it is a difference of addresses.
        let start = data.0.as_ptr().addr() - message.as_bytes().as_ptr().addr();
        let dont_fragment = dont_fragment && may_ask_for_no_fragments(from, &peer.0);
        self.relay_to_peer(now, id, PeerAddr(peer.0), start..start + data.0.len(), dont_fragment)
    }

    /// What both have in common: the permission, and the count.
    fn relay_to_peer(
        &mut self,
        now: Now,
        id: AllocationId,
        peer: PeerAddr,
        payload: Range<usize>,
        dont_fragment: bool,
    ) -> Result<Verdict, DropReason> {
        let allocation = self.allocations.get(id).ok_or(DropReason::NoAllocation)?;
        let denied = DropReason::NoPermissionOutbound;
        self.check_permission(allocation, peer, now.instant, denied, RelayedTransport::Udp)?;
        // The permission of a family outlives its relayed address, where there were two.
        let relayed = RelayedId { allocation: id, family: Family::of(&peer.0) };
        let from = allocation.relayed.get(relayed.family).ok_or(denied)?;
        if !from.is_open() {
            return Err(DropReason::AllocationOpening);
        }
        self.check_rates(allocation, Direction::ToPeer, now.instant, payload.len())?;
        self.note_traffic(id, now.instant);
        self.counters.to_peers.add(payload.len());
        Ok(Verdict::ToPeer { relayed, peer, payload, dont_fragment })
    }

    pub(crate) fn relay_to_client(
        &mut self,
        now: Instant,
        to: RelayedId,
        from: PeerAddr,
        payload_len: usize,
        head: &mut [u8; Self::HEAD_LEN],
    ) -> Result<PeerVerdict, DropReason> {
        let allocation = self.allocations.get(to.allocation).ok_or(DropReason::NoAllocation)?;
        let (without, transport) = (DropReason::NoPermissionInbound, RelayedTransport::Udp);
        self.check_permission(allocation, from, now, without, transport)?;
        self.check_rates(allocation, Direction::ToClient, now, payload_len)?;
        let five_tuple = reachable(allocation)?;
        let (head_len, padding) = frame(allocation, now, from, payload_len, &mut self.rng, head)?;
        self.note_traffic(to.allocation, now);
        self.counters.to_clients.add(payload_len);
        Ok(PeerVerdict::ToClient { five_tuple, head_len, padding })
    }

    pub(crate) fn check_permission(
        &self,
        allocation: &Allocation,
        peer: PeerAddr,
        now: Instant,
        without: DropReason,
        transport: RelayedTransport,
    ) -> Result<(), DropReason> {
        let reach = allocation.permissions.reach(peer.0.ip(), now).ok_or(without)?;
        if self.is_port_reachable(reach, peer, transport) {
            Ok(())
        } else {
            Err(DropReason::PeerPortDenied)
        }
    }

    /// The narrowest limit first: who is over it costs the others nothing.
    fn check_rates(
        &self,
        allocation: &Allocation,
        direction: Direction,
        now: Instant,
        bytes: usize,
    ) -> Result<(), DropReason> {
        let limits = &self.settings.limits;
        let now = self.ledger.since_start(now);
        let meters = [
            (
                &allocation.meters,
                allocation_rate(&allocation.client, limits),
                DropReason::AllocationRate,
            ),
            (&*allocation.user_meters, limits.user_rate, DropReason::UserRate),
            (self.ledger.meters(), limits.relay_rate, DropReason::RelayRate),
        ];
        for (meters, rate, reason) in meters {
            if !meters.pass(direction, now, bytes, rate) {
                return Err(reason);
            }
        }
        Ok(())
    }

    fn note_traffic(&mut self, id: AllocationId, now: Instant) {
        if let Some(allocation) = self.allocations.get_mut(id) {
            allocation.active_at = now;
        }
    }

    /// The peer gate, as it stands for an allocation.
    pub(crate) fn gate(&self, allocation: &Allocation) -> Gate<'_> {
        Gate::of(&self.settings.peers, &self.ledger, allocation)
    }

    /// The peer gate's word on a peer of a connection. Probers have none (RFC 6062 is not for them).
    pub(crate) fn judge_stream_peer(&self, peer: PeerAddr) -> Result<(), Refusal> {
        let reach = permit(&self.settings.peers, peer.0.ip())?;
        let reachable = self.is_port_reachable(reach, peer, RelayedTransport::Tcp);
        if reachable { Ok(()) } else { Err(Refusal::Forbidden) }
    }

    fn is_port_reachable(&self, reach: Reach, peer: PeerAddr, transport: RelayedTransport) -> bool {
        let port = peer.0.port();
        port != 0
            && match reach {
                Reach::AnyPort => true,
                Reach::RelayPorts => self.ledger.port_range().contains(port),
                Reach::OwnRelayPorts => self.ledger.is_live_for(&peer.0, transport) == Some(true),
                Reach::ButListeners => !self.settings.peers.own_ports(transport).contains(&port),
            }
    }
}

/// Where the client of an allocation is now.
pub(crate) const fn reachable(allocation: &Allocation) -> Result<FiveTuple, DropReason> {
    if allocation.is_adrift { Err(DropReason::ClientAway) } else { Ok(allocation.five_tuple) }
}

/// Whether DONT-FRAGMENT counts: not where datagrams are relayed from or to IPv6 (RFC 8656, section
/// 13), but from a stream it does to either family (section 15).
fn may_ask_for_no_fragments(from: &FiveTuple, peer: &std::net::SocketAddr) -> bool {
    from.transport.is_stream() || from.client.0.is_ipv4() && peer.is_ipv4()
}

/// Writes the header of a datagram for the client: of a ChannelData message when the peer has a
/// channel, else of a Data indication (RFC 8656, section 11.6 and 12.6). Returns its length and that
/// of the padding.
fn frame(
    allocation: &Allocation,
    now: Instant,
    from: PeerAddr,
    payload_len: usize,
    rng: &mut impl CryptoRng,
    head: &mut [u8; Server::HEAD_LEN],
) -> Result<(usize, usize), DropReason> {
    let padding = padded(payload_len) - payload_len;
    if let Some(channel) = allocation.channels.number(&from.0, now) {
        let len = u16::try_from(payload_len).map_err(|_| DropReason::TooLong)?;
        let header = ChannelData::header(channel, len);
        head[Server::HEAD_LEN - header.len()..].copy_from_slice(&header);
        // Only in a stream has a ChannelData message to be padded (RFC 8656, section 12.5).
        let padding = if allocation.five_tuple.transport.is_stream() { padding } else { 0 };
        return Ok((header.len(), padding));
    }
    let transaction = TransactionId(rng.random());
    let head_len = data_indication_head(head, transaction, XorPeerAddress(from.0), payload_len)
        .ok_or(DropReason::TooLong)?;
    Ok((head_len, padding))
}
