//! The `TurnServer`s as callers see them, kept up to date by a watch.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use futures::{StreamExt as _, pin_mut};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use turn_api::{TurnServer, TurnServerStatus, Validated};

use super::Place;

/// A `TurnServer`.
#[derive(Debug)]
pub(super) struct Fleet {
    /// Its spec; or why that is none.
    pub(super) checked: Result<Validated, String>,
    pub(super) status: TurnServerStatus,
}

impl From<TurnServer> for Fleet {
    fn from(object: TurnServer) -> Self {
        let checked = Validated::try_from(&object).map_err(|invalid| invalid.to_string());
        Self { checked, status: object.status.unwrap_or_default() }
    }
}

impl Fleet {
    /// What the condition Ready says.
    pub(super) fn why_not_ready(&self) -> &str {
        let ready = self.status.conditions.iter().find(|condition| condition.type_ == "Ready");
        ready.map_or("the operator has not looked at it yet", |condition| &condition.message)
    }
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Fleets(Arc<RwLock<Table>>);

#[derive(Debug, Default)]
struct Table {
    are_known: bool,
    fleets: HashMap<Place, Arc<Fleet>>,
    /// Those that a watch that began anew has told of so far.
    incoming: HashMap<Place, Arc<Fleet>>,
}

impl Fleets {
    pub(super) fn get(&self, place: &Place) -> Option<Arc<Fleet>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).fleets.get(place).cloned()
    }

    /// Whether all have been read once.
    pub(super) fn are_known(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).are_known
    }

    /// Follows them. Never ends.
    pub(super) async fn follow(&self, client: Client) {
        let events = watcher(Api::<TurnServer>::all(client), watcher::Config::default());
        let events = events.default_backoff();
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.note(event),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the watch of the API's TurnServers failed");
                }
            }
        }
    }

    pub(super) fn note(&self, event: Event<TurnServer>) {
        let place = |one: &TurnServer| (one.namespace().unwrap_or_default(), one.name_any());
        let mut guard = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let table = &mut *guard;
        match event {
            Event::Apply(one) => _ = table.fleets.insert(place(&one), Arc::new(one.into())),
            Event::Delete(one) => _ = table.fleets.remove(&place(&one)),
            Event::Init => table.incoming.clear(),
            Event::InitApply(one) => {
                table.incoming.insert(place(&one), Arc::new(one.into()));
            }
            Event::InitDone => {
                table.fleets = std::mem::take(&mut table.incoming);
                table.are_known = true;
            }
        }
    }
}
