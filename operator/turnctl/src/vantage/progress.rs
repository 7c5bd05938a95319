//! What is told while an agent runs: what changes, one line each.

use std::{collections::HashMap, net::SocketAddr};

use turn_probe::{Fault, Observation, ProbeOrder, Transport, agent::OrderId};

/// How many listeners are remembered; a fleet has far fewer.
const MOST: usize = 20_000;

/// Takes a line.
pub(super) type Tell = Box<dyn FnMut(&str) + Send>;

/// What was told last.
pub(super) struct Progress {
    tell: Tell,
    /// How the operator is, while something is wrong.
    trouble: Option<String>,
    is_connected: bool,
    found: HashMap<(SocketAddr, Transport), Option<Fault>>,
}

impl Progress {
    pub(super) fn new(tell: Tell) -> Self {
        Self { tell, trouble: None, is_connected: false, found: HashMap::new() }
    }

    /// The operator answers.
    pub(super) fn connected(&mut self, place: &str) {
        self.trouble = None;
        if !self.is_connected {
            self.is_connected = true;
            (self.tell)(&format!("{place}: connected"));
        }
    }

    /// It does not, or not as it should; the same is told once.
    pub(super) fn trouble(&mut self, place: &str, says: String) {
        self.is_connected = false;
        if self.trouble.as_ref() != Some(&says) {
            (self.tell)(&format!("{place}: {says}"));
            self.trouble = Some(says);
        }
    }

    /// Something else.
    pub(super) fn note(&mut self, says: &str) {
        (self.tell)(says);
    }

    /// A probe is over.
    pub(super) fn found(&mut self, id: &OrderId, probe: &ProbeOrder, seen: &Observation) {
        if self.found.len() >= MOST {
            self.found.clear();
        }
        let ProbeOrder { server, transport, .. } = probe;
        let before = self.found.insert((*server, *transport), seen.fault);
        if before == Some(seen.fault) {
            return;
        }
        let relay = id.parts().map(|(subject, _)| format!("relay {}: ", subject.relay));
        let relay: String = relay.unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        let line = match seen.fault {
            None => format!("{relay}{transport} {server} reached"),
            Some(Fault::NoRoute) => format!("{relay}{transport} {server} not tried: {}", seen.says),
            Some(_) => format!("{relay}{transport} {server} not reached: {}", seen.says),
        };
        (self.tell)(&line);
    }
}
