//! A fleet for tests: one relay on loopback, where nothing listens, and nobody who probes it.

use std::collections::{BTreeMap, BTreeSet};

use turn_auth::Secret;
use turn_probe::{
    Transport,
    plan::{Listener, PortRange, Relay},
    survey::Fleet,
};

use super::Facts;

pub(super) fn facts() -> Facts {
    let relay = Relay {
        name: "a".into(),
        node: "n".to_owned(),
        region: "eu".into(),
        addresses: vec![[127, 0, 0, 1].into()],
    };
    Facts {
        namespace: "media".to_owned(),
        name: "edge".to_owned(),
        fleet: Fleet {
            relays: vec![relay],
            listeners: vec![Listener { name: "udp".into(), transport: Transport::Udp, port: 9 }],
            vantages: Vec::new(),
            relay_ports: PortRange { from: 61_000, to: 65_535 },
            min_vantages: 1,
            fail_open: true,
            admitted: BTreeSet::new(),
            skewed: BTreeSet::new(),
        },
        secret: Secret::from_file(b"shared").expect("a secret"),
        certificate: None,
        admin: BTreeMap::new(),
        agents: BTreeMap::new(),
    }
}
