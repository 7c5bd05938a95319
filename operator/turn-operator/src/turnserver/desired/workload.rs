//! What runs the relays of a region.

use k8s_openapi::{
    api::{
        apps::v1::{
            DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, Deployment, DeploymentSpec,
            DeploymentStrategy, RollingUpdateDaemonSet, RollingUpdateDeployment,
        },
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use turn_api::{Validated, ValidatedRegion};

use crate::turnserver::names;

/// How long a replaced relay may take to start, in seconds, beyond the time that its predecessor
/// may take to drain.
const PROGRESS_SECONDS: i32 = 600;

/// One relay at a time, and the old one goes first: both want the same ports of the node.
const AT_ONCE: (IntOrString, IntOrString) = (IntOrString::Int(0), IntOrString::Int(1));

pub(super) fn deployment(
    validated: &Validated,
    region: &ValidatedRegion,
    replicas: usize,
    template: PodTemplateSpec,
) -> Deployment {
    let (max_surge, max_unavailable) = AT_ONCE;
    let drain = i32::try_from(validated.drain().timeout_seconds).unwrap_or(i32::MAX);
    Deployment {
        metadata: metadata(validated, region),
        spec: Some(DeploymentSpec {
            replicas: i32::try_from(replicas).ok(),
            revision_history_limit: Some(3),
            progress_deadline_seconds: Some(drain.saturating_add(PROGRESS_SECONDS)),
            selector: names::selector(validated.name(), Some(region.name())),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(max_surge),
                    max_unavailable: Some(max_unavailable),
                }),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

pub(super) fn daemon_set(
    validated: &Validated,
    region: &ValidatedRegion,
    template: PodTemplateSpec,
) -> DaemonSet {
    let (max_surge, max_unavailable) = AT_ONCE;
    DaemonSet {
        metadata: metadata(validated, region),
        spec: Some(DaemonSetSpec {
            revision_history_limit: Some(3),
            selector: names::selector(validated.name(), Some(region.name())),
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDaemonSet {
                    max_surge: Some(max_surge),
                    max_unavailable: Some(max_unavailable),
                }),
            }),
            template,
            ..DaemonSetSpec::default()
        }),
        status: None,
    }
}

fn metadata(validated: &Validated, region: &ValidatedRegion) -> ObjectMeta {
    let (name, region) = (validated.name(), region.name());
    let labels = names::region_labels(name, region);
    names::metadata(validated, names::workload(name, region), labels)
}
