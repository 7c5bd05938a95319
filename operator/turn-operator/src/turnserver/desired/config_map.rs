//! The relays' configuration, one for the fleet.

use k8s_openapi::api::core::v1::ConfigMap;
use turn_api::Validated;

use super::{CONFIG_FILE, Rendered};
use crate::turnserver::names;

pub(super) fn config_map(validated: &Validated, rendered: &Rendered) -> ConfigMap {
    let name = validated.name();
    ConfigMap {
        metadata: names::metadata(validated, names::relay(name), names::labels(name)),
        data: Some([(CONFIG_FILE.to_owned(), rendered.yaml.clone())].into()),
        ..ConfigMap::default()
    }
}
