//! A `TurnServer` as far as one machine can be it: one relay, at one address.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use super::manifest::Manifest;
use anyhow::{Context, bail};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
    jiff::Timestamp,
};
use relay_config::RawConfig;
use tempfile::TempDir;
use turn_api::{
    Addresses, CredentialsSource, TurnServer, TurnServerStatus, Validated, Workload,
    conditions::{ConditionType, Reason},
};
use turn_operator::turnserver::{
    certificate::{self, CERTIFICATE_KEY, CertificateState, PRIVATE_KEY_KEY},
    credentials::{CredentialsState, SecretKeys, state},
    desired::{Settings, generated_secret, relay_config, tls_files},
    observed::{NodeFacts, Observed, WorkloadFacts},
    plan::Plan,
    relay_pod::RelayPod,
    status::{Outcome, status},
};

/// What this machine is called in the status.
const NODE: &str = "localhost";

/// What stands for the identity that the API server gives.
const UID: &str = "00000000-0000-4000-8000-000000000000";

/// A `TurnServer` on this machine.
pub(super) struct Local {
    turn_server: TurnServer,
    validated: Validated,
    secret: Secret,
    tls_secret: Option<Secret>,
    /// The relay's configuration.
    pub(super) config: RawConfig,
    pub(super) credential_ttl_seconds: u32,
    /// What of the manifest is not so here.
    pub(super) notes: Vec<String>,
    /// Holds the secrets' files for as long as the relay runs.
    _secrets: TempDir,
}

/// Decides what the relay of a manifest is like on this machine.
pub(super) fn on_this_machine(manifest: Manifest, address: IpAddr) -> anyhow::Result<Local> {
    let Manifest { document, secrets } = manifest;
    let mut turn_server = document.turn_server;
    let notes = reduce(&mut turn_server);
    let validated = Validated::try_from(&turn_server)?;
    let tls_secret = tls_secret(&validated, &secrets)?;
    let secret = secret(&validated, &secrets)?;
    if let CredentialsState::Problem { message, .. } = state(&validated, Some(&secret)) {
        bail!(message);
    }
    let directory = tempfile::tempdir().context("no directory for the secret")?;
    let mut config = relay_config(&validated, &Observed::default());
    config.addresses = vec![address];
    config.admin.address.set_ip(address);
    config.auth.shared_secrets = Vec::new();
    for key in SecretKeys::of(&validated).keys {
        let path = directory.path().join(&key);
        write_value(&secret, &key, &path)?;
        config.auth.shared_secrets.push(path);
    }
    if let (Some(secret), Some(tls)) = (&tls_secret, &mut config.tls) {
        // A folder of its own: the keys of two Secrets may have the same names.
        let folder = directory.path().join("tls.secretRef");
        std::fs::create_dir(&folder).context("no folder for the certificate")?;
        *tls = tls_files(&folder);
        write_value(secret, CERTIFICATE_KEY, &tls.certificate_file)?;
        write_value(secret, PRIVATE_KEY_KEY, &tls.private_key_file)?;
    }
    Ok(Local {
        credential_ttl_seconds: validated.credential_ttl_seconds(),
        turn_server,
        validated,
        secret,
        tls_secret,
        config,
        notes,
        _secrets: directory,
    })
}

/// Writes what a Secret holds under a key.
fn write_value(secret: &Secret, key: &str, path: &Path) -> anyhow::Result<()> {
    let value = secret.data.as_ref().and_then(|data| data.get(key)).cloned().unwrap_or_default();
    std::fs::write(path, value.0).context("no file for the secret")
}

/// One machine is one node with one relay. What is left out is said.
fn reduce(turn_server: &mut TurnServer) -> Vec<String> {
    let mut notes = Vec::new();
    turn_server.metadata.uid = Some(UID.to_owned());
    turn_server.metadata.generation = Some(1);
    let spec = &mut turn_server.spec;
    let more = spec.regions.iter().any(|region| region.replicas.is_some_and(|count| count > 1));
    if spec.regions.len() > 1 || spec.replicas > 1 || more {
        notes.push("one relay runs here, whatever regions and replicas say".to_owned());
    }
    spec.replicas = 1;
    spec.workload = Workload::Deployment;
    spec.regions.truncate(1);
    for region in &mut spec.regions {
        region.replicas = Some(1);
        region.node_selector.clear();
    }
    if spec.addresses != Addresses::default() {
        notes.push("the address is that of --address, whatever addresses says".to_owned());
        spec.addresses = Addresses::default();
    }
    notes
}

/// The Secret of the manifest, or a new one as the operator would generate it.
fn secret(validated: &Validated, given: &[Secret]) -> anyhow::Result<Secret> {
    let mut secret = match validated.credentials() {
        CredentialsSource::Generated => {
            let mut entropy = [0; 32];
            getrandom::fill(&mut entropy).context("no random numbers")?;
            generated_secret(validated, &entropy)
        }
        CredentialsSource::Referenced { name, .. } => {
            find(given, name, "spec.auth.secretRef.name")?
        }
    };
    store(&mut secret);
    Ok(secret)
}

/// The Secret of the manifest with certificate and key, if a listener needs them.
fn tls_secret(validated: &Validated, given: &[Secret]) -> anyhow::Result<Option<Secret>> {
    let Some(name) = validated.tls_secret_name() else { return Ok(None) };
    let mut secret = find(given, name, "spec.tls.secretRef.name")?;
    store(&mut secret);
    if let CertificateState::Problem { message, .. } = certificate::state(validated, Some(&secret))
    {
        bail!(message);
    }
    Ok(Some(secret))
}

fn find(given: &[Secret], name: &str, field: &str) -> anyhow::Result<Secret> {
    let found = given.iter().find(|secret| secret.metadata.name.as_deref() == Some(name)).cloned();
    found.with_context(|| format!("{field}: {name:?} must be a Secret in the same file"))
}

/// As the API server does it.
fn store(secret: &mut Secret) {
    let texts = secret.string_data.take().unwrap_or_default();
    let texts = texts.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes())));
    secret.data.get_or_insert_default().extend(texts);
}

impl Local {
    /// The status, as the operator would write it: with one relay, which is ready.
    pub(super) fn status(&self, address: IpAddr) -> TurnServerStatus {
        let region = self.validated.regions().first();
        let region = region.map_or_else(String::new, |region| region.name().to_owned());
        let mut observed = Observed {
            nodes: vec![NodeFacts {
                name: NODE.to_owned(),
                labels: BTreeMap::new(),
                internal_addresses: vec![address],
                ..NodeFacts::default()
            }],
            secret: Some(self.owned_secret()),
            tls_secret: self.tls_secret.clone(),
            pods: vec![RelayPod {
                name: format!("{}-{NODE}", self.validated.name()),
                node: Some(NODE.to_owned()),
                region: region.clone(),
                ready: true,
                ..RelayPod::default()
            }],
            ..Observed::default()
        };
        let settings = Settings { relay_image: String::new(), relay_image_pull_policy: None };
        let plan = Plan::of_validated(self.validated.clone(), &observed, &settings);
        // The relay that runs is what the workload of the plan asks for.
        let children = plan.iter().flat_map(|plan| &plan.desired.children);
        observed.workloads = children
            .filter_map(|child| {
                Some(WorkloadFacts {
                    region: region.clone(),
                    name: child.name.clone(),
                    template_digest: child.template_digest()?.to_owned(),
                    desired: 1,
                    settled: true,
                })
            })
            .collect();
        let outcome = Outcome { plan, failure: None, dns_failure: None };
        let mut status = status(&self.turn_server, &observed, &outcome, Timestamp::now());
        status.selector = None;
        nobody_outside(&mut status);
        status
    }

    fn owned_secret(&self) -> Secret {
        let mut secret = self.secret.clone();
        let owner = OwnerReference {
            uid: UID.to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        };
        secret.metadata = ObjectMeta { owner_references: Some(vec![owner]), ..secret.metadata };
        secret
    }
}

/// What this machine finds of itself says nothing of who reaches it, and no one is waited for.
fn nobody_outside(status: &mut TurnServerStatus) {
    let reachable = ConditionType::Reachable.as_str();
    for condition in status.conditions.iter_mut().filter(|found| found.type_ == reachable) {
        Reason::NotProbed.as_str().clone_into(&mut condition.reason);
        "turnctl up tries its relay from its own machine alone: \
         run turnctl doctor where the clients are"
            .clone_into(&mut condition.message);
    }
}
