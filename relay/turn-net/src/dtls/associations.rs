//! All associations of a worker.

use std::{collections::BTreeSet, net::SocketAddr, time::Instant};

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use slab::Slab;

use crate::client_path::ConnectionId;

use super::association::Association;

/// All associations of a worker: one for each pair of client and listener.
#[derive(Default)]
pub(crate) struct Associations {
    slots: Slab<Association>,
    by_client: HashMap<(SocketAddr, usize), usize, RandomState>,
    /// Which one is due when.
    timers: BTreeSet<(Instant, usize)>,
}

impl Associations {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn find(&self, client: SocketAddr, listener: usize) -> Option<ConnectionId> {
        let index = *self.by_client.get(&(client, listener))?;
        let serial = self.slots.get(index)?.serial;
        Some(ConnectionId { index, serial })
    }

    pub(crate) fn get(&mut self, id: ConnectionId) -> Option<&mut Association> {
        self.slots.get_mut(id.index).filter(|association| association.serial == id.serial)
    }

    pub(crate) fn insert(&mut self, association: Association) -> ConnectionId {
        let key = (association.five_tuple.client.0, association.listener);
        let (serial, due) = (association.serial, association.due);
        let index = self.slots.insert(association);
        self.by_client.insert(key, index);
        self.timers.extend(due.map(|due| (due, index)));
        ConnectionId { index, serial }
    }

    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Association> {
        self.get(id)?;
        let association = self.slots.try_remove(id.index)?;
        self.by_client.remove(&(association.five_tuple.client.0, association.listener));
        if let Some(due) = association.due {
            self.timers.remove(&(due, id.index));
        }
        Some(association)
    }

    /// Does something with an association, after which it may be due at another time.
    pub(crate) fn with<T>(
        &mut self,
        id: ConnectionId,
        action: impl FnOnce(&mut Association) -> T,
    ) -> Option<T> {
        let association = self.get(id)?;
        let before = association.due;
        let result = action(association);
        let due = association.due;
        if due != before {
            if let Some(before) = before {
                self.timers.remove(&(before, id.index));
            }
            self.timers.extend(due.map(|due| (due, id.index)));
        }
        Some(result)
    }

    /// The next association that is due.
    pub(crate) fn overdue(&self, now: Instant) -> Option<ConnectionId> {
        let (due, index) = *self.timers.first()?;
        let serial = self.slots.get(index)?.serial;
        (due <= now).then_some(ConnectionId { index, serial })
    }

    /// When [`Associations::overdue`] has something.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Those that came through a listener.
    pub(crate) fn of_listener(&self, listener: usize) -> Vec<ConnectionId> {
        let found = self.slots.iter().filter(|(_, association)| association.listener == listener);
        found.map(|(index, found)| ConnectionId { index, serial: found.serial }).collect()
    }
}
