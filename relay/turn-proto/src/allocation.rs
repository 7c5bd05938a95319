//! Allocations (RFC 8656, section 5) and the table of them.

use std::{sync::Arc, time::Instant};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use turn_auth::Authenticated;
use turn_wire::{
    TransactionId,
    attribute::{Family, ReservationToken},
};

use crate::{
    FiveTuple, Refusal,
    channel_binding::ChannelBindings,
    connecting::Streams,
    meter::Meters,
    mobility::Mobility,
    permission::Permissions,
    relayed_address::{RelayedAddresses, RelayedTransport},
    reply::Signature,
    timer_wheel::Tick,
};

/// Names an allocation of a shard; an ended one's name is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AllocationId {
    index: u32,
    generation: u32,
}

impl AllocationId {
    /// Counted from zero, and used again after the allocation ends: an index into a table of
    /// sockets.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// What a client has at the relay.
#[derive(Debug)]
pub(crate) struct Allocation {
    /// How its client is known. While it is adrift, how it was.
    pub(crate) five_tuple: FiveTuple,
    /// Whether its client's connection has ended, and it waits for the client to come back.
    pub(crate) is_adrift: bool,
    /// If it may move with its client.
    pub(crate) mobility: Option<Mobility>,
    /// Who made it, and is charged with it.
    pub(crate) client: Arc<Authenticated>,
    /// How the client signs.
    pub(crate) signature: Signature,
    /// Of the Allocate: the same once more is a retransmission.
    pub(crate) transaction: TransactionId,
    pub(crate) fingerprint: bool,
    /// Whether the Allocate said that a prober sent it.
    pub(crate) is_probers: bool,
    /// What the success to the Allocate said.
    pub(crate) granted_seconds: u32,
    pub(crate) relayed: RelayedAddresses,
    /// The family that was asked for too and is not to be had, and why.
    pub(crate) missing: Option<(Family, Refusal)>,
    /// Stands for the next higher port.
    pub(crate) reservation: Option<ReservationToken>,
    pub(crate) permissions: Permissions,
    pub(crate) channels: ChannelBindings,
    /// What there is instead of datagrams, if it relays streams.
    pub(crate) streams: Option<Streams>,
    /// What it has relayed, and what its user has.
    pub(crate) meters: Meters,
    pub(crate) user_meters: Arc<Meters>,
    /// When it last relayed something.
    pub(crate) active_at: Instant,
}

impl Allocation {
    /// What it relays.
    pub(crate) const fn transport(&self) -> RelayedTransport {
        match self.streams {
            Some(_) => RelayedTransport::Tcp,
            None => RelayedTransport::Udp,
        }
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    /// The tick that the wheel fires at for whoever is in this slot: one timer per slot, however
    /// often its occupant changes.
    armed: Option<Tick>,
    allocation: Option<Allocation>,
}

/// The allocations of a shard, by name and by five-tuple.
#[derive(Debug)]
pub(crate) struct Allocations {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_five_tuple: HashMap<FiveTuple, AllocationId, FixedState>,
}

impl Allocations {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), by_five_tuple: HashMap::with_hasher(hasher) }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn find(&self, five_tuple: &FiveTuple) -> Option<AllocationId> {
        self.by_five_tuple.get(five_tuple).copied()
    }

    pub(crate) fn get(&self, id: AllocationId) -> Option<&Allocation> {
        let slot = self.slots.get(id.index())?;
        slot.allocation.as_ref().filter(|_| slot.generation == id.generation)
    }

    pub(crate) fn get_mut(&mut self, id: AllocationId) -> Option<&mut Allocation> {
        let slot = self.slots.get_mut(id.index())?;
        slot.allocation.as_mut().filter(|_| slot.generation == id.generation)
    }

    pub(crate) fn insert(&mut self, allocation: Allocation) -> AllocationId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, armed: None, allocation: None });
            // The ledger's limit is a u32.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut self.slots[index as usize];
        let id = AllocationId { index, generation: slot.generation };
        if !allocation.is_adrift {
            self.by_five_tuple.insert(allocation.five_tuple, id);
        }
        slot.allocation = Some(allocation);
        id
    }

    pub(crate) fn remove(&mut self, id: AllocationId) -> Option<Allocation> {
        let slot =
            self.slots.get_mut(id.index()).filter(|slot| slot.generation == id.generation)?;
        let allocation = slot.allocation.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        if !allocation.is_adrift {
            self.by_five_tuple.remove(&allocation.five_tuple);
        }
        Some(allocation)
    }

    /// Its client's connection has ended, and whoever has the same address next is somebody else.
    pub(crate) fn cast_adrift(&mut self, id: AllocationId) {
        let Some(allocation) = self.get_mut(id).filter(|found| !found.is_adrift) else { return };
        allocation.is_adrift = true;
        let five_tuple = allocation.five_tuple;
        self.by_five_tuple.remove(&five_tuple);
    }

    /// In the order of their indices.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (AllocationId, &Allocation)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            // The ledger's limit is a u32.
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let id = AllocationId { index, generation: slot.generation };
            slot.allocation.as_ref().map(|allocation| (id, allocation))
        })
    }

    /// In the order of their indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Allocation> {
        self.slots.iter().filter_map(|slot| slot.allocation.as_ref())
    }

    /// In the order of their indices.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Allocation> {
        self.slots.iter_mut().filter_map(|slot| slot.allocation.as_mut())
    }

    /// Notes that the wheel will fire for an allocation's slot at `tick`, unless it fires earlier
    /// anyhow. Tells whether the wheel has to be told.
    pub(crate) fn arm(&mut self, id: AllocationId, tick: Tick) -> bool {
        let Some(slot) = self.slots.get_mut(id.index()) else { return false };
        let earlier = slot.armed.is_none_or(|armed| tick < armed);
        if earlier {
            slot.armed = Some(tick);
        }
        earlier
    }

    /// The wheel has fired for a slot: who is in it now, if that timer was still meant.
    pub(crate) fn disarm(&mut self, index: u32, tick: Tick) -> Option<AllocationId> {
        let slot = self.slots.get_mut(index as usize)?;
        if slot.armed != Some(tick) {
            return None;
        }
        slot.armed = None;
        let id = AllocationId { index, generation: slot.generation };
        slot.allocation.is_some().then_some(id)
    }
}
