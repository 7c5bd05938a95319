//! What is watched, and who is to be visited when it changes.

use std::{collections::HashMap, fmt::Debug, future::ready};

use futures::{StreamExt as _, channel::mpsc::UnboundedSender};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Node};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt as _,
        reflector::{ObjectRef, Store, reflector, store},
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use turn_api::TurnServer;

use super::triggers::{Trigger, Triggers, channel};
use crate::turnserver::{
    dereference::Stores,
    names::{MANAGED_BY, MANAGED_BY_LABEL},
    observed::NodeFacts,
};

/// The watches. They end when this is dropped.
pub(super) struct Watches {
    pub(super) stores: Stores,
    pub(super) triggers: Triggers,
    /// For whoever else knows of something to look at.
    pub(super) sender: UnboundedSender<Trigger>,
    pub(super) tasks: JoinSet<()>,
}

/// Starts every watch.
pub(super) fn start(client: &Client) -> Watches {
    let (sender, triggers) = channel();
    let mut starter = Starter { client: client.clone(), sender, tasks: JoinSet::new() };
    let mut generations = HashMap::new();
    let mut nodes = HashMap::new();
    let stores = Stores {
        turn_servers: starter.watch(
            Api::all(client.clone()),
            watcher::Config::default(),
            move |event| of_turn_server(&mut generations, event),
        ),
        nodes: starter.watch(Api::all(client.clone()), watcher::Config::default(), move |event| {
            of_node(&mut nodes, event)
        }),
        pods: starter.watch_children(),
        config_maps: starter.watch_children(),
        network_policies: starter.watch_children(),
        disruption_budgets: starter.watch_children(),
        deployments: starter.watch_children(),
        daemon_sets: starter.watch_children(),
    };
    Watches { stores, triggers, sender: starter.sender, tasks: starter.tasks }
}

struct Starter {
    client: Client,
    sender: UnboundedSender<Trigger>,
    tasks: JoinSet<()>,
}

impl Starter {
    /// Watches what the operator made.
    fn watch_children<K>(&mut self) -> Store<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let config = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
        self.watch(Api::<K>::all(self.client.clone()), config, |event| match event {
            Event::Apply(object) | Event::Delete(object) => {
                Trigger::owner_of(object).into_iter().collect()
            }
            Event::Init | Event::InitApply(_) => Vec::new(),
            Event::InitDone => vec![Trigger::All],
        })
    }

    fn watch<K>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        mut triggers: impl FnMut(&Event<K>) -> Vec<Trigger> + Send + 'static,
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (reader, writer) = store();
        let sender = self.sender.clone();
        let stream = watcher(api, config)
            // Nobody here reads them, and they are the larger part of most objects.
            .map(|event| event.map(|event| event.modify(|o| o.meta_mut().managed_fields = None)))
            .default_backoff();
        let task = reflector(writer, stream).for_each(move |event| {
            match event {
                Ok(event) => {
                    for trigger in triggers(&event) {
                        // Fails only when the controller has ended.
                        let _ = sender.unbounded_send(trigger);
                    }
                }
                Err(error) => {
                    let kind = K::kind(&());
                    tracing::warn!(%kind, error = &error as &dyn std::error::Error, "a watch failed");
                }
            }
            ready(())
        });
        self.tasks.spawn(task);
        reader
    }
}

/// A `TurnServer` concerns itself; and the others, when it may hold other ports than before.
fn of_turn_server(
    generations: &mut HashMap<String, (Option<i64>, bool)>,
    event: &Event<TurnServer>,
) -> Vec<Trigger> {
    match event {
        Event::Apply(one) => {
            let now = (one.metadata.generation, one.metadata.deletion_timestamp.is_some());
            let before = generations.insert(one.uid().unwrap_or_default(), now);
            if before == Some(now) {
                vec![Trigger::One(ObjectRef::from_obj(one))]
            } else {
                vec![Trigger::All]
            }
        }
        Event::Delete(one) => {
            generations.remove(&one.uid().unwrap_or_default());
            vec![Trigger::All]
        }
        Event::Init => {
            generations.clear();
            Vec::new()
        }
        Event::InitApply(one) => {
            let now = (one.metadata.generation, one.metadata.deletion_timestamp.is_some());
            generations.insert(one.uid().unwrap_or_default(), now);
            Vec::new()
        }
        Event::InitDone => vec![Trigger::All],
    }
}

/// A node concerns everyone, but most of its changes are of no interest.
fn of_node(nodes: &mut HashMap<String, NodeFacts>, event: &Event<Node>) -> Vec<Trigger> {
    match event {
        Event::Apply(node) => {
            let facts = NodeFacts::from(node);
            let before = nodes.insert(facts.name.clone(), facts.clone());
            if before.as_ref() == Some(&facts) { Vec::new() } else { vec![Trigger::All] }
        }
        Event::Delete(node) => {
            nodes.remove(&node.name_any());
            vec![Trigger::All]
        }
        Event::Init => Vec::new(),
        Event::InitApply(node) => {
            let facts = NodeFacts::from(node);
            nodes.insert(facts.name.clone(), facts);
            Vec::new()
        }
        Event::InitDone => vec![Trigger::All],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn_server(name: &str, generation: i64) -> TurnServer {
        let mut one = TurnServer::new(name, turn_api::TurnServerSpec::default());
        one.metadata.uid = Some(name.to_owned());
        one.metadata.namespace = Some("media".to_owned());
        one.metadata.generation = Some(generation);
        one
    }

    #[test]
    fn a_turn_server_concerns_the_others_only_when_its_spec_changes() {
        let mut generations = HashMap::new();
        let mut triggers = |event: Event<TurnServer>| of_turn_server(&mut generations, &event);
        let own = vec![Trigger::One(ObjectRef::from_obj(&turn_server("a", 1)))];
        assert_eq!(triggers(Event::Init), []);
        assert_eq!(triggers(Event::InitApply(turn_server("a", 1))), []);
        assert_eq!(triggers(Event::InitDone), [Trigger::All]);
        assert_eq!(triggers(Event::Apply(turn_server("a", 1))), own);
        assert_eq!(triggers(Event::Apply(turn_server("a", 2))), [Trigger::All]);
        assert_eq!(triggers(Event::Apply(turn_server("a", 2))), own);
        assert_eq!(triggers(Event::Apply(turn_server("b", 1))), [Trigger::All]);
        assert_eq!(triggers(Event::Delete(turn_server("b", 1))), [Trigger::All]);
        assert_eq!(triggers(Event::Apply(turn_server("b", 1))), [Trigger::All]);
    }

    #[test]
    fn the_heartbeat_of_a_node_concerns_nobody() {
        let node = |resource_version: &str, address: &str| -> Node {
            serde_saphyr::from_str(&format!(
                "{{metadata: {{name: n, resourceVersion: '{resource_version}'}}, \
                 status: {{addresses: [{{type: InternalIP, address: {address}}}]}}}}"
            ))
            .expect("a node")
        };
        let mut nodes = HashMap::new();
        let mut triggers = |event: Event<Node>| of_node(&mut nodes, &event);
        assert_eq!(triggers(Event::Apply(node("1", "10.0.0.1"))), [Trigger::All]);
        assert_eq!(triggers(Event::Apply(node("2", "10.0.0.1"))), []);
        assert_eq!(triggers(Event::Apply(node("3", "10.0.0.2"))), [Trigger::All]);
        assert_eq!(triggers(Event::Delete(node("3", "10.0.0.2"))), [Trigger::All]);
    }
}
