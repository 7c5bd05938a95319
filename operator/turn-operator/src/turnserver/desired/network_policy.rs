//! What may reach the relays, where the cluster's network enforces policies on the nodes' network:
//! clients and peers from anywhere, the HTTP port from inside the cluster.

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
        NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use turn_api::{Protocol, RelayPorts, Validated};

use crate::turnserver::names;

pub(super) fn network_policy(validated: &Validated) -> NetworkPolicy {
    let name = validated.name();
    let listeners = validated.listeners().iter();
    let listeners = listeners.map(|l| port(l.protocol().transport(), l.port()));
    let relayed = validated.relayed_transports();
    let relayed = relayed.map(|protocol| range(protocol, validated.relay_ports()));
    let open =
        NetworkPolicyIngressRule { from: None, ports: Some(listeners.chain(relayed).collect()) };
    let any_namespace = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    let admin = NetworkPolicyIngressRule {
        from: Some(vec![any_namespace]),
        ports: Some(vec![port(Protocol::Tcp, validated.admin_port())]),
    };
    NetworkPolicy {
        metadata: names::metadata(validated, names::relay(name), names::labels(name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(names::selector(name, None)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![open, admin]),
            egress: None,
        }),
    }
}

fn port(protocol: Protocol, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.as_str().to_owned()),
        port: Some(IntOrString::Int(number.into())),
        end_port: None,
    }
}

fn range(protocol: Protocol, ports: RelayPorts) -> NetworkPolicyPort {
    NetworkPolicyPort { end_port: Some(ports.to.into()), ..port(protocol, ports.from) }
}
