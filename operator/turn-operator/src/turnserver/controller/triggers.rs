//! Which `TurnServer`s are to be visited.

use futures::{
    Stream, StreamExt as _,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
};
use kube::{
    ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};
use turn_api::{TURN_SERVER_LABEL, TurnServer};

use crate::turnserver::names;

/// Who is to be visited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trigger {
    /// Every `TurnServer`: something that all depend on has changed.
    All,
    /// One, by name.
    One(ObjectRef<TurnServer>),
    /// The one with this uid.
    Uid(String),
    /// The one whose label this object carries.
    Labelled {
        /// The namespace of the object.
        namespace: String,
        /// The value of the label.
        label: String,
    },
}

impl Trigger {
    /// The `TurnServer` that `object` was made for. None: it was made for nobody.
    pub(super) fn owner_of<K: ResourceExt>(object: &K) -> Option<Self> {
        let label = object.labels().get(TURN_SERVER_LABEL)?.clone();
        Some(Self::Labelled { namespace: object.namespace().unwrap_or_default(), label })
    }
}

/// Both ends of a queue of triggers. It grows no longer than the changes that one pass of the
/// watches brings: the controller takes each at once and merges them.
pub(super) fn channel() -> (UnboundedSender<Trigger>, Triggers) {
    let (sender, receiver) = unbounded();
    (sender, Triggers(receiver))
}

/// The receiving end.
pub(super) struct Triggers(UnboundedReceiver<Trigger>);

impl Triggers {
    /// The `TurnServer`s to visit, of those in `store`.
    pub(super) fn into_stream(
        self,
        store: Store<TurnServer>,
    ) -> impl Stream<Item = ObjectRef<TurnServer>> + Send + 'static {
        let expand = move |trigger: Trigger| futures::stream::iter(expand(trigger, &store));
        self.0.flat_map(expand)
    }
}

fn expand(trigger: Trigger, store: &Store<TurnServer>) -> Vec<ObjectRef<TurnServer>> {
    let reference = |turn_server: &TurnServer| ObjectRef::from_obj(turn_server);
    match trigger {
        Trigger::One(one) => vec![one],
        Trigger::Uid(uid) => {
            let found = store.find(|one| one.uid().as_deref() == Some(&uid));
            found.iter().map(|one| reference(one)).collect()
        }
        Trigger::All => store.state().iter().map(|one| reference(one)).collect(),
        Trigger::Labelled { namespace, label } => store
            .state()
            .iter()
            .filter(|one| one.namespace().as_deref() == Some(&namespace))
            .filter(|one| names::label_value(&one.name_any()) == label)
            .map(|one| reference(one))
            .collect(),
    }
}
