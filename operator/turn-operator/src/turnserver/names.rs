//! The names and labels of what is made for a `TurnServer`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use sha2::{Digest, Sha256};
use turn_api::{REGION_LABEL, TURN_SERVER_LABEL, TurnServer, Validated};

/// The field manager of everything that the operator writes.
pub const FIELD_MANAGER: &str = "turnpike";
/// The label by which the operator finds what it made.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "turnpike-operator";
/// The longest name of an object whose name becomes a label or a host name, in bytes.
const LONGEST: usize = 63;

/// `text` if it has at most `longest` bytes, else its beginning and a hash of all of it.
fn shortened(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let hash = hash(text);
    let head: String = text.chars().take(longest - hash.len() - 1).collect();
    format!("{}-{hash}", head.trim_end_matches(['-', '.']))
}

/// Eight hexadecimal digits.
fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn with_suffix(name: &str, suffix: &str) -> String {
    format!("{}-{suffix}", shortened(name, LONGEST - suffix.len() - 1))
}

/// The value of the label that names the `TurnServer`.
#[must_use]
pub fn label_value(name: &str) -> String {
    shortened(name, LONGEST)
}

/// The name of the generated Secret.
#[must_use]
pub fn credentials(name: &str) -> String {
    with_suffix(name, "credentials")
}

/// The name of the ConfigMap and of the NetworkPolicy.
#[must_use]
pub fn relay(name: &str) -> String {
    with_suffix(name, "relay")
}

/// The name of a region's workload and of its PodDisruptionBudget. The hash keeps region `b-c` of
/// `a` apart from region `c` of `a-b`.
#[must_use]
pub fn workload(name: &str, region: &str) -> String {
    let suffix = hash(&format!("{name}/{region}"));
    with_suffix(&format!("{name}-{region}"), &suffix[..6])
}

/// The labels of everything that is made for a `TurnServer`.
#[must_use]
pub fn labels(name: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "turnpike-relay".to_owned()),
        ("app.kubernetes.io/instance", label_value(name)),
        ("app.kubernetes.io/component", "relay".to_owned()),
        ("app.kubernetes.io/part-of", "turnpike".to_owned()),
        (MANAGED_BY_LABEL, MANAGED_BY.to_owned()),
        (TURN_SERVER_LABEL, label_value(name)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The labels of everything that is made for a region.
#[must_use]
pub fn region_labels(name: &str, region: &str) -> BTreeMap<String, String> {
    let mut labels = labels(name);
    labels.insert(REGION_LABEL.to_owned(), region.to_owned());
    labels
}

/// The labels that select the relays of a `TurnServer`, or of one of its regions. Never change.
#[must_use]
pub fn selector(name: &str, region: Option<&str>) -> LabelSelector {
    let mut labels = BTreeMap::from([(TURN_SERVER_LABEL.to_owned(), label_value(name))]);
    labels.extend(region.map(|region| (REGION_LABEL.to_owned(), region.to_owned())));
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

/// [`selector`] as text, for the scale subresource.
#[must_use]
pub fn selector_text(name: &str) -> String {
    format!("{TURN_SERVER_LABEL}={}", label_value(name))
}

/// The reference from what is made to the `TurnServer`.
#[must_use]
pub fn owner_reference(validated: &Validated) -> OwnerReference {
    OwnerReference {
        api_version: TurnServer::api_version(&()).into_owned(),
        kind: TurnServer::kind(&()).into_owned(),
        name: validated.name().to_owned(),
        uid: validated.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The metadata of an object that is made for `validated`.
#[must_use]
pub fn metadata(
    validated: &Validated,
    name: String,
    labels: BTreeMap<String, String>,
) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(validated.namespace().to_owned()),
        labels: Some(labels),
        owner_references: Some(vec![owner_reference(validated)]),
        ..ObjectMeta::default()
    }
}

/// Whether the object was made for the `TurnServer` with this uid.
#[must_use]
pub fn is_owned_by(metadata: &ObjectMeta, uid: &str) -> bool {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.uid == uid && owner.controller == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_differ() {
        let long = "a".repeat(253);
        for name in [credentials(&long), relay(&long), workload(&long, &"b".repeat(63))] {
            assert!(name.len() <= LONGEST, "{name}");
        }
        assert_ne!(relay(&long), relay(&"a".repeat(252)));
        assert_ne!(workload("a", "b-c"), workload("a-b", "c"));
        assert!(workload("edge", "eu").starts_with("edge-eu-"));
        assert_eq!(relay("edge"), "edge-relay");
        assert!(label_value(&long).len() <= LONGEST);
    }
}
