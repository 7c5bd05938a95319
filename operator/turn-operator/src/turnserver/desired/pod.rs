//! The pod of a relay: on the network of its node, with as few rights as it can do with.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource,
        HTTPGetAction, LocalObjectReference, ObjectFieldSelector, PodReadinessGate,
        PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile,
        SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
    },
    apimachinery::pkg::{
        api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString,
    },
};
use turn_api::{Gate, PodSettings, Protocol, Validated, ValidatedRegion, Workload};

use super::{
    CERTIFICATE_DIRECTORY, CONFIG_DIRECTORY, CONFIG_FILE, CREDENTIALS_DIRECTORY,
    RESTART_ANNOTATION, Rendered, Settings,
};
use crate::turnserver::{credentials::SecretKeys, names, relay_pod::REACHABLE};

/// The user of the relay's process: `nonroot` of distroless images.
const USER: i64 = 65532;
/// How long the relay may take to end after its drain time-out, in seconds.
const END_SECONDS: i64 = 30;

pub(super) fn template(
    validated: &Validated,
    region: &ValidatedRegion,
    rendered: &Rendered,
    settings: &Settings,
) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(names::region_labels(validated.name(), region.name())),
            annotations: Some(
                [
                    (RESTART_ANNOTATION.to_owned(), rendered.restart_digest.clone()),
                    ("kubectl.kubernetes.io/default-container".to_owned(), "relay".to_owned()),
                ]
                .into(),
            ),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(validated, region, settings)),
    }
}

fn spec(validated: &Validated, region: &ValidatedRegion, settings: &Settings) -> PodSpec {
    let PodSettings { tolerations, priority_class_name, image_pull_secrets, .. } = validated.pod();
    let pull_secret =
        |secret: &turn_api::ImagePullSecret| LocalObjectReference { name: secret.name.clone() };
    PodSpec {
        host_network: Some(true),
        // The relay asks no name server: it is given addresses only.
        dns_policy: Some("Default".to_owned()),
        enable_service_links: Some(false),
        automount_service_account_token: Some(false),
        termination_grace_period_seconds: Some(
            i64::from(validated.drain().timeout_seconds) + END_SECONDS,
        ),
        node_selector: Some(region.node_selector().clone()).filter(|labels| !labels.is_empty()),
        tolerations: Some(tolerations.clone()).filter(|list| !list.is_empty()),
        priority_class_name: priority_class_name.clone(),
        image_pull_secrets: Some(image_pull_secrets.iter().map(pull_secret).collect())
            .filter(|list: &Vec<_>| !list.is_empty()),
        readiness_gates: gates(validated),
        topology_spread_constraints: spread(validated, region),
        security_context: Some(pod_security(validated)),
        volumes: Some(volumes(validated)),
        containers: vec![container(validated, settings)],
        ..PodSpec::default()
    }
}

/// A relay that is not reached is not Ready. Also where the operator only warns, so that changing
/// between the two replaces no relay.
fn gates(validated: &Validated) -> Option<Vec<PodReadinessGate>> {
    let gate = PodReadinessGate { condition_type: REACHABLE.to_owned() };
    (validated.reachability().gate != Gate::Disabled).then(|| vec![gate])
}

/// The host ports keep two relays off one node; over zones they are to be spread too.
fn spread(
    validated: &Validated,
    region: &ValidatedRegion,
) -> Option<Vec<TopologySpreadConstraint>> {
    if validated.workload() == Workload::DaemonSet {
        return None;
    }
    let over = |key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(names::selector(validated.name(), Some(region.name()))),
        ..TopologySpreadConstraint::default()
    };
    Some(vec![over("topology.kubernetes.io/zone"), over("kubernetes.io/hostname")])
}

/// A listener below 1024 needs NET_BIND_SERVICE in the process's *effective* set. Kubernetes puts
/// no capability into the ambient set, so a user other than root has it only through a file
/// capability; and a program with a file capability cannot be started where the capability is not
/// granted, so one image could not serve both cases. `net.ipv4.ip_unprivileged_port_start` is
/// forbidden on the node's network. So such a relay is root without any other capability: it owns
/// no file that it could write, and can do nothing else that `USER` could not.
fn pod_security(validated: &Validated) -> PodSecurityContext {
    let root = validated.has_privileged_port();
    PodSecurityContext {
        run_as_non_root: Some(!root),
        run_as_user: Some(if root { 0 } else { USER }),
        run_as_group: Some(USER),
        // Lets the process read the mounted Secret.
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

fn container_security(validated: &Validated) -> SecurityContext {
    let bind = validated.has_privileged_port().then(|| vec!["NET_BIND_SERVICE".to_owned()]);
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: bind }),
        ..SecurityContext::default()
    }
}

fn container(validated: &Validated, settings: &Settings) -> Container {
    let pod = validated.pod();
    Container {
        name: "relay".to_owned(),
        image: Some(pod.image.clone().unwrap_or_else(|| settings.relay_image.clone())),
        image_pull_policy: settings.relay_image_pull_policy.clone(),
        args: Some(vec!["--config".to_owned(), format!("{CONFIG_DIRECTORY}/{CONFIG_FILE}")]),
        env: Some(vec![addresses_variable()]),
        ports: Some(ports(validated)),
        resources: resources(pod),
        security_context: Some(container_security(validated)),
        startup_probe: Some(probe(validated, "/livez", 1, 60)),
        liveness_probe: Some(probe(validated, "/livez", 10, 3)),
        readiness_probe: Some(probe(validated, "/readyz", 2, 3)),
        // The relay's last log line, when it has written no other last words.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts(validated)),
        ..Container::default()
    }
}

/// On the network of its node a pod's addresses are those of the node.
fn addresses_variable() -> EnvVar {
    EnvVar {
        name: "TURN_RELAY_ADDRESSES".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: "status.podIPs".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// Every port of the node that the scheduler has to know of, so that it puts no two relays on one
/// node that would want the same. The first of the relayed ports stands for all of them.
fn ports(validated: &Validated) -> Vec<ContainerPort> {
    let port = |protocol: Protocol, number: u16, name: Option<&str>| ContainerPort {
        container_port: number.into(),
        host_port: Some(number.into()),
        protocol: Some(protocol.as_str().to_owned()),
        name: name.map(str::to_owned),
        host_ip: None,
    };
    let listeners = validated.listeners().iter();
    let listeners = listeners.map(|l| port(l.protocol().transport(), l.port(), None));
    listeners
        .chain([
            port(Protocol::Udp, validated.relay_ports().from, Some("relayed")),
            port(Protocol::Tcp, validated.admin_port(), Some("admin")),
        ])
        .collect()
}

fn resources(pod: &PodSettings) -> Option<ResourceRequirements> {
    let quantities = |map: &BTreeMap<String, IntOrString>| {
        let quantity = |value: &IntOrString| match value {
            IntOrString::Int(number) => Quantity(number.to_string()),
            IntOrString::String(text) => Quantity(text.clone()),
        };
        let map: BTreeMap<_, _> =
            map.iter().map(|(name, value)| (name.clone(), quantity(value))).collect();
        Some(map).filter(|map| !map.is_empty())
    };
    let resources = pod.resources.as_ref()?;
    Some(ResourceRequirements {
        requests: quantities(&resources.requests),
        limits: quantities(&resources.limits),
        claims: None,
    })
}

fn probe(validated: &Validated, path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(validated.admin_port().into()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failures),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

/// Whole directories, without `items` and `subPath`: so that a change reaches a running relay, and
/// a change of the keys does not replace it.
fn volumes(validated: &Validated) -> Vec<Volume> {
    let config = Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: names::relay(validated.name()),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    let credentials = secret_volume("credentials", &SecretKeys::of(validated).secret_name);
    let certificate = validated.tls_secret_name().map(|name| secret_volume("certificate", name));
    [config, credentials].into_iter().chain(certificate).collect()
}

fn secret_volume(name: &str, secret_name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret_name.to_owned()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn mounts(validated: &Validated) -> Vec<VolumeMount> {
    let certificate =
        validated.tls_secret_name().map(|_| mount("certificate", CERTIFICATE_DIRECTORY));
    [mount("config", CONFIG_DIRECTORY), mount("credentials", CREDENTIALS_DIRECTORY)]
        .into_iter()
        .chain(certificate)
        .collect()
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}
