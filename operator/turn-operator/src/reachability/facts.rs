//! What a fleet looks like to those who probe it: from what the controller has decided and observed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{ByteString, api::core::v1::Secret as SecretObject};
use turn_api::{Gate, Protocol, Validated};
use turn_auth::Secret;
use turn_probe::{
    Transport,
    plan::{Listener, PortRange, Relay, Vantage, VantageKind},
    survey::Fleet,
};

use crate::turnserver::{
    credentials::SecretKeys, observed::Observed, plan::Plan, relay_pod::RelayPod,
};

/// What the operator is called among the vantages.
pub const OPERATOR: &str = "operator";

/// How far a relay's clock may be off until that is said, in seconds.
pub(super) const SKEW_SECONDS: u64 = 60;

/// All that probing a fleet takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The namespace of the `TurnServer`, for metrics and logs.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is observed.
    pub fleet: Fleet,
    /// Signs the probes' credentials and the orders.
    pub secret: Secret,
    /// The certificate that the relays have, base64 of DER.
    pub certificate: Option<String>,
    /// The HTTP ports of the relays.
    pub admin: BTreeMap<Arc<str>, SocketAddr>,
    /// The agents outside, and their tokens.
    pub agents: BTreeMap<String, Secret>,
}

/// What is probed of a `TurnServer`, among others from `node`, that of the operator. None: nothing.
#[must_use]
pub fn facts(plan: &Plan, observed: &Observed, node: Option<&str>) -> Option<Facts> {
    let validated = &plan.validated;
    let settings = validated.reachability();
    if settings.gate == Gate::Disabled {
        return None;
    }
    let secret = SecretKeys::of(validated).active(observed.secret.as_ref()?)?;
    let running = || observed.pods.iter().filter(|pod| is_probed(pod));
    let relays: Vec<_> = running().filter_map(|pod| relay(pod, validated, observed)).collect();
    let admin = running().filter_map(|pod| {
        let address = SocketAddr::new(*pod.addresses.first()?, validated.admin_port());
        Some((Arc::from(&*pod.name), address))
    });
    let ports = validated.relay_ports();
    let agents = agents(observed.vantages_secret.as_ref());
    Some(Facts {
        namespace: validated.namespace().to_owned(),
        name: validated.name().to_owned(),
        fleet: Fleet {
            vantages: vantages(&relays, node, agents.keys()),
            listeners: validated.listeners().iter().flat_map(listeners).collect(),
            relay_ports: PortRange { from: ports.from, to: ports.to },
            min_vantages: settings.min_vantages.into(),
            fail_open: settings.fail_open,
            admitted: running().filter(|pod| pod.is_admitted()).map(name).collect(),
            skewed: BTreeSet::new(),
            relays,
        },
        secret,
        certificate: leaf(observed.tls_secret.as_ref()),
        admin: admin.collect(),
        agents,
    })
}

/// The agents of the Secret: those with a token, and a name that none of our own vantages has.
fn agents(object: Option<&SecretObject>) -> BTreeMap<String, Secret> {
    let data = object.and_then(|object| object.data.as_ref()).into_iter().flatten();
    let agent = |(name, token): (&String, &ByteString)| {
        Some((name.clone(), Secret::from_file(&token.0).ok()?))
    };
    data.filter_map(agent).filter(|(name, _)| name != OPERATOR).collect()
}

fn name(pod: &RelayPod) -> Arc<str> {
    Arc::from(&*pod.name)
}

/// Relays that say of themselves that they serve: of others it is known already that they do not.
fn is_probed(pod: &RelayPod) -> bool {
    pod.containers_ready && !pod.draining && !pod.ended
}

fn relay(pod: &RelayPod, validated: &Validated, observed: &Observed) -> Option<Relay> {
    let node = observed.node(pod.node.as_deref()?)?;
    let addresses: Vec<IpAddr> =
        node.advertised(validated.advertised()).filter_map(|(_, public)| public).collect();
    Some(Relay {
        name: name(pod),
        node: node.name.clone(),
        region: Arc::from(&*pod.region),
        addresses,
    })
}

fn listeners(listener: &turn_api::ValidatedListener) -> Vec<Listener> {
    let transports: &[Transport] = match listener.protocol() {
        Protocol::Udp => &[Transport::Udp],
        Protocol::Tcp => &[Transport::Tcp],
        Protocol::Tls => &[Transport::Tls],
        Protocol::Dtls => &[Transport::Dtls],
        Protocol::Auto => &[Transport::Tcp, Transport::Tls],
    };
    let name: Arc<str> = listener.name().into();
    let of = |transport: &Transport| Listener {
        name: Arc::clone(&name),
        transport: *transport,
        port: listener.port(),
    };
    transports.iter().map(of).collect()
}

/// The operator, every relay, and the agents.
fn vantages<'a>(
    relays: &[Relay],
    node: Option<&str>,
    agents: impl Iterator<Item = &'a String>,
) -> Vec<Vantage> {
    let operator = Vantage {
        name: OPERATOR.into(),
        kind: VantageKind::Operator,
        node: node.map(str::to_owned),
    };
    let of_relays = relays.iter().map(|relay| Vantage {
        name: Arc::clone(&relay.name),
        kind: VantageKind::Relay,
        node: Some(relay.node.clone()),
    });
    let is_free = |name: &&String| !relays.iter().any(|relay| *relay.name == ***name);
    let agents = agents.filter(is_free).map(|name| Vantage {
        name: Arc::from(&**name),
        kind: VantageKind::Outside,
        node: None,
    });
    [operator].into_iter().chain(of_relays).chain(agents).collect()
}

fn leaf(object: Option<&SecretObject>) -> Option<String> {
    let leaf = crate::turnserver::certificate::leaf(object?)?;
    Some(STANDARD.encode(leaf))
}
