//! What a fleet looks like to those who probe it: from what the controller has decided and observed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret as SecretObject;
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
}

/// What is probed of a `TurnServer`, from `node` (that of the operator) and by the agents of these
/// names. None: nothing.
#[must_use]
pub fn facts(
    plan: &Plan,
    observed: &Observed,
    node: Option<&str>,
    agents: &[String],
) -> Option<Facts> {
    let validated = &plan.validated;
    let settings = validated.reachability();
    if settings.gate == Gate::Disabled {
        return None;
    }
    let secret = secret(validated, observed.secret.as_ref()?)?;
    let running = || observed.pods.iter().filter(|pod| is_probed(pod));
    let relays: Vec<_> = running().filter_map(|pod| relay(pod, validated, observed)).collect();
    let admin = running().filter_map(|pod| {
        let address = SocketAddr::new(*pod.addresses.first()?, validated.admin_port());
        Some((Arc::from(&*pod.name), address))
    });
    let ports = validated.relay_ports();
    Some(Facts {
        namespace: validated.namespace().to_owned(),
        name: validated.name().to_owned(),
        fleet: Fleet {
            vantages: vantages(&relays, node, agents),
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
    })
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
    Some(Relay { name: name(pod), node: node.name.clone(), addresses })
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
fn vantages(relays: &[Relay], node: Option<&str>, agents: &[String]) -> Vec<Vantage> {
    let operator = Vantage {
        name: OPERATOR.into(),
        kind: VantageKind::Operator,
        node: node.map(str::to_owned),
    };
    let relays = relays.iter().map(|relay| Vantage {
        name: Arc::clone(&relay.name),
        kind: VantageKind::Relay,
        node: Some(relay.node.clone()),
    });
    let agents = agents.iter().map(|name| Vantage {
        name: Arc::from(&**name),
        kind: VantageKind::Outside,
        node: None,
    });
    [operator].into_iter().chain(relays).chain(agents).collect()
}

fn secret(validated: &Validated, object: &SecretObject) -> Option<Secret> {
    let keys = SecretKeys::of(validated);
    let value = object.data.as_ref()?.get(keys.active_key())?;
    Secret::from_file(&value.0).ok()
}

fn leaf(object: Option<&SecretObject>) -> Option<String> {
    let leaf = crate::turnserver::certificate::leaf(object?)?;
    Some(STANDARD.encode(leaf))
}
