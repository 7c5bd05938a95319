//! Makes the cluster what is desired: by server-side apply, and only where it is not so already.

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::{ConfigMap, Secret},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client,
    api::{
        ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
        PropagationPolicy,
    },
};
use turn_api::{Validated, conditions::Reason};

use super::{
    dereference::ObservedChild,
    desired::{Child, ChildKind, Desired},
    names::FIELD_MANAGER,
    plan::Plan,
    status::Failure,
    subset::is_subset,
};
use crate::{api_error, metrics::Metrics};

impl ChildKind {
    /// Its kind, as it stands in a manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::Deployment => "Deployment",
            Self::DaemonSet => "DaemonSet",
        }
    }

    fn resource(self) -> ApiResource {
        match self {
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
        }
    }
}

/// Writes for one `TurnServer`.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    /// The API server.
    pub client: &'a Client,
    /// Counts the writes.
    pub metrics: &'a Metrics,
    /// For whom.
    pub validated: &'a Validated,
}

/// What is to be written about one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It stands there as desired.
    Nothing,
    /// It differs, or is not among what the watches have seen.
    Apply,
    /// It is another's.
    Refuse,
}

fn step(child: &Child, observed: Option<&ObservedChild>) -> Step {
    match observed {
        None => Step::Apply,
        Some(observed) if !observed.owned => Step::Refuse,
        Some(observed) if is_subset(&child.manifest, &observed.manifest) => Step::Nothing,
        Some(_) => Step::Apply,
    }
}

/// What exists, was made for the `TurnServer`, and is no longer desired.
fn superfluous<'a>(
    desired: &'a Desired,
    children: &'a [ObservedChild],
) -> impl Iterator<Item = &'a ObservedChild> {
    let is_desired = |observed: &ObservedChild| {
        desired.children.iter().any(|c| c.kind == observed.kind && c.name == observed.name)
    };
    children
        .iter()
        .filter(move |observed| observed.owned && !observed.deleting && !is_desired(observed))
}

impl Writer<'_> {
    /// Creates the Secret. False when there is one by now: then it is to be looked at first.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create_secret(self, secret: &Secret) -> Result<bool, Failure> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), self.validated.namespace());
        let params =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&params, secret).await {
            Ok(_) => {
                self.metrics.wrote("Secret", "create");
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => {
                let message =
                    format!("the Secret cannot be created: {}", api_error::message(&error));
                Err(Failure::Credentials { reason: Reason::ApplyFailed, message })
            }
        }
    }

    /// Applies what differs and is not held back, in order, then removes what is no longer desired.
    ///
    /// # Errors
    /// At the first object that the API server refuses, or that belongs to someone else.
    pub async fn apply(self, plan: &Plan, children: &[ObservedChild]) -> Result<(), Failure> {
        let Plan { desired, held_back, .. } = plan;
        for child in &desired.children {
            if held_back.contains(&child.name) && child.template_digest().is_some() {
                continue;
            }
            let observed =
                children.iter().find(|o| o.kind == child.kind && o.name == child.name).cloned();
            let observed = match observed {
                Some(observed) => Some(observed),
                // The watches see only what carries the operator's label.
                None => self.read(child).await?,
            };
            match step(child, observed.as_ref()) {
                Step::Nothing => {}
                Step::Apply => self.apply_child(child).await?,
                Step::Refuse => return Err(self.not_owned(child)),
            }
        }
        for observed in superfluous(desired, children) {
            self.remove(observed).await?;
        }
        Ok(())
    }

    fn api(self, kind: ChildKind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.validated.namespace(), &kind.resource())
    }

    async fn read(self, child: &Child) -> Result<Option<ObservedChild>, Failure> {
        let found = self.api(child.kind).get_opt(&child.name).await;
        let found = found
            .map_err(|error| failed(Reason::ReadFailed, child.kind, &child.name, "read", &error))?;
        Ok(found.map(|object| {
            let manifest = serde_json::to_value(&object).unwrap_or_default();
            ObservedChild::new(child.kind, &object.metadata, manifest, self.validated.uid())
        }))
    }

    async fn apply_child(self, child: &Child) -> Result<(), Failure> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&child.manifest);
        self.api(child.kind).patch(&child.name, &params, &patch).await.map_err(|error| {
            failed(Reason::ApplyFailed, child.kind, &child.name, "applied", &error)
        })?;
        self.metrics.wrote(child.kind.as_str(), "apply");
        tracing::info!(kind = child.kind.as_str(), name = child.name, "applied");
        Ok(())
    }

    async fn remove(self, observed: &ObservedChild) -> Result<(), Failure> {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            // Not another one that has taken its name since.
            preconditions: Some(Preconditions {
                uid: Some(observed.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let ObservedChild { kind, name, .. } = observed;
        match self.api(*kind).delete(name, &params).await {
            Ok(_) => {
                self.metrics.wrote(kind.as_str(), "delete");
                tracing::info!(kind = kind.as_str(), name, "removed");
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(failed(Reason::ApplyFailed, *kind, name, "removed", &error)),
        }
    }

    fn not_owned(self, child: &Child) -> Failure {
        let (kind, name) = (child.kind.as_str(), &child.name);
        let message = format!(
            "{kind} {}/{name} exists and was not made for this TurnServer: remove it, or choose \
             another name for the TurnServer",
            self.validated.namespace()
        );
        Failure::Apply { reason: Reason::NotOwned, message }
    }
}

fn failed(reason: Reason, kind: ChildKind, name: &str, done: &str, error: &kube::Error) -> Failure {
    let message =
        format!("{} {name} cannot be {done}: {}", kind.as_str(), api_error::message(error));
    Failure::Apply { reason, message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn child(name: &str) -> Child {
        let manifest = json!({"metadata": {"name": name}, "spec": {"replicas": 1}});
        Child { kind: ChildKind::Deployment, name: name.to_owned(), manifest }
    }

    fn observed(name: &str, replicas: i32, owned: bool) -> ObservedChild {
        ObservedChild {
            kind: ChildKind::Deployment,
            name: name.to_owned(),
            uid: "1".to_owned(),
            deleting: false,
            owned,
            manifest: json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "x": 1}}),
        }
    }

    #[test]
    fn only_what_differs_is_written_and_only_what_is_ours() {
        assert_eq!(step(&child("a"), None), Step::Apply);
        assert_eq!(step(&child("a"), Some(&observed("a", 1, true))), Step::Nothing);
        assert_eq!(step(&child("a"), Some(&observed("a", 2, true))), Step::Apply);
        assert_eq!(step(&child("a"), Some(&observed("a", 1, false))), Step::Refuse);
    }

    #[test]
    fn only_what_is_ours_and_not_desired_is_removed() {
        let desired = Desired { children: vec![child("a")] };
        let mut going = observed("d", 1, true);
        going.deleting = true;
        let children =
            [observed("a", 1, true), observed("b", 1, true), observed("c", 1, false), going];
        let removed: Vec<&str> =
            superfluous(&desired, &children).map(|observed| observed.name.as_str()).collect();
        assert_eq!(removed, ["b"]);
    }
}
