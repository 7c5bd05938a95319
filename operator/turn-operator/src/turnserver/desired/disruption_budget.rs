//! One relay of a region may be evicted at a time: each drains before the next goes.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use turn_api::{Validated, ValidatedRegion};

use crate::turnserver::names;

pub(super) fn disruption_budget(
    validated: &Validated,
    region: &ValidatedRegion,
) -> PodDisruptionBudget {
    let (name, region) = (validated.name(), region.name());
    PodDisruptionBudget {
        metadata: names::metadata(
            validated,
            names::workload(name, region),
            names::region_labels(name, region),
        ),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(names::selector(name, Some(region))),
            // A relay that serves nobody must not keep a node from being emptied.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
