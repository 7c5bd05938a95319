//! The name under which clients find the relays: what it leads to is written as a `DNSEndpoint`, which
//! external-dns brings to whoever serves the zone. So a name leads nowhere that is not reached either.
//!
//! The kind is external-dns', and need not be known to the cluster. So it is not watched, but read by
//! name at each visit of a `TurnServer` that asks for it.

use std::{collections::BTreeSet, net::IpAddr};

use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use turn_api::{Dns, DnsStatus, Reached, TurnServerStatus, Validated};

use super::names::{self, FIELD_MANAGER};
use crate::{api_error, metrics::Metrics};

const GROUP: &str = "externaldns.k8s.io";
const VERSION: &str = "v1alpha1";
const KIND: &str = "DNSEndpoint";

/// Why the addresses are not written.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The cluster has no such kind.
    #[error(
        "the cluster knows no {KIND} ({GROUP}/{VERSION}): install external-dns with its \
         CustomResourceDefinition and --source=crd, or remove spec.dns"
    )]
    UnknownKind,
    /// There is one of somebody else.
    #[error("{KIND} {0} exists and was not made for this TurnServer: remove it")]
    NotOwned(String),
    /// The API server says no.
    #[error("{KIND} {0} cannot be {1}: {2}")]
    Api(String, &'static str, String),
}

/// What the name leads to, where the spec asks for one: the addresses of each relay that clients may
/// be sent to, but those on which a listener is known not to be reached.
#[must_use]
pub fn published(validated: &Validated, status: &TurnServerStatus) -> Option<DnsStatus> {
    let Dns { name, .. } = validated.dns()?;
    let mut addresses = BTreeSet::new();
    for relay in status.relays.iter().filter(|relay| !relay.urls.is_empty() && !relay.draining) {
        let is_reached = |address: &&String| {
            let mut rows = relay.reachability.iter().filter(|row| row.address == **address);
            rows.all(|row| row.reached != Reached::False)
        };
        addresses.extend(relay.addresses.iter().filter(is_reached).cloned());
    }
    Some(DnsStatus { name: name.clone(), addresses: addresses.into_iter().collect() })
}

/// The object, for what the name leads to.
fn endpoint(validated: &Validated, dns: &Dns, published: &DnsStatus) -> Value {
    let is_ipv4 = |address: &&String| address.parse().is_ok_and(|ip: IpAddr| ip.is_ipv4());
    let (v4, v6): (Vec<_>, Vec<_>) = published.addresses.iter().partition(is_ipv4);
    let records = [("A", v4), ("AAAA", v6)].into_iter().filter(|(_, targets)| !targets.is_empty());
    let record = |(record_type, targets)| {
        json!({
            "dnsName": dns.name,
            "recordType": record_type,
            "recordTTL": dns.ttl_seconds,
            "targets": targets,
        })
    };
    let name = names::relay(validated.name());
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": KIND,
        "metadata": names::metadata(validated, name, names::labels(validated.name())),
        "spec": {"endpoints": records.map(record).collect::<Vec<_>>()},
    })
}

/// Writes what the name leads to if it is something else than before, and removes what was written for
/// a name that the spec asks for no more.
///
/// # Errors
/// When the cluster does not know the kind, or the API server refuses.
pub async fn publish(
    client: &Client,
    metrics: &Metrics,
    validated: &Validated,
    previous: Option<&DnsStatus>,
    published: Option<&DnsStatus>,
) -> Result<(), DnsError> {
    let name = names::relay(validated.name());
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, KIND));
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), validated.namespace(), &resource);
    let failed = |done| {
        let name = name.clone();
        move |error: kube::Error| DnsError::Api(name, done, api_error::message(&error))
    };
    let (Some(dns), Some(published)) = (validated.dns(), published) else {
        return match previous {
            Some(_) => remove(&api, &name, validated, metrics).await.map_err(failed("removed")),
            None => Ok(()),
        };
    };
    let wanted = endpoint(validated, dns, published);
    if let Some(object) = api.get_opt(&name).await.map_err(failed("read"))? {
        if !names::is_owned_by(&object.metadata, validated.uid()) {
            return Err(DnsError::NotOwned(name));
        }
        // An empty list is another one than none, unlike elsewhere.
        if object.data["spec"] == wanted["spec"] {
            return Ok(());
        }
    }
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch(&name, &params, &Patch::Apply(&wanted)).await {
        Ok(_) => {
            metrics.wrote(KIND, "apply");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Err(DnsError::UnknownKind),
        Err(error) => Err(failed("applied")(error)),
    }
}

async fn remove(
    api: &Api<DynamicObject>,
    name: &str,
    validated: &Validated,
    metrics: &Metrics,
) -> kube::Result<()> {
    let Some(object) = api.get_opt(name).await? else { return Ok(()) };
    if !names::is_owned_by(&object.metadata, validated.uid()) {
        return Ok(());
    }
    let preconditions = Preconditions { uid: object.metadata.uid, resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(name, &params).await {
        Ok(_) => metrics.wrote(KIND, "delete"),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::http::{Request, Response};
    use kube::client::Body;
    use turn_api::{Document, ListenerReachability, RelayStatus};

    use super::*;

    fn relay(address: &str, reached: Reached) -> RelayStatus {
        let row = |listener: &str, reached| ListenerReachability {
            listener: listener.to_owned(),
            address: address.to_owned(),
            reached,
            ..ListenerReachability::default()
        };
        RelayStatus {
            pod: format!("relay-{address}"),
            addresses: vec![address.to_owned()],
            urls: vec![format!("turn:{address}:3478?transport=tcp")],
            reachability: vec![row("udp", reached), row("tcp", Reached::True)],
            ..RelayStatus::default()
        }
    }

    fn validated(spec: &str) -> Validated {
        let text = format!(
            "{{apiVersion: turnpike.dev/v1alpha1, kind: TurnServer, metadata: {{name: e, uid: u}}, \
             spec: {spec}}}"
        );
        Document::read_all(&text).remove(0).expect("a good one").validated
    }

    /// What is published with an API server that answers everything with this, and by which requests.
    async fn publishes(
        spec: &str,
        previous: Option<&DnsStatus>,
        answer: (u16, Value),
    ) -> (Result<(), DnsError>, Vec<String>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            seen.lock().expect("no panic").push(request.method().to_string());
            let (code, body) = answer.clone();
            async move {
                Response::builder().status(code).body(Body::from(body.to_string().into_bytes()))
            }
        });
        let client = Client::new(service, "default");
        let metrics = Metrics::new().expect("each name once");
        let validated = validated(spec);
        let status = published(&validated, &TurnServerStatus::default());
        let result = publish(&client, &metrics, &validated, previous, status.as_ref()).await;
        let asked = asked.lock().expect("no panic").clone();
        (result, asked)
    }

    const NAMED: &str = "{dns: {name: turn.example.com}}";

    #[tokio::test]
    async fn nothing_is_written_that_stands_there_and_nothing_of_somebody_else() {
        let object = |uid: &str, targets: &[&str]| {
            let owner = json!({
                "apiVersion": "v1", "kind": "K", "name": "e", "uid": uid, "controller": true,
            });
            json!({
                "apiVersion": "externaldns.k8s.io/v1alpha1",
                "kind": "DNSEndpoint",
                "metadata": {"name": "e-relay", "ownerReferences": [owner]},
                "spec": {"endpoints": targets},
            })
        };
        let (result, asked) = publishes(NAMED, None, (200, object("u", &[]))).await;
        assert!(result.is_ok() && asked == ["GET"], "{result:?} {asked:?}");
        let (result, asked) = publishes(NAMED, None, (200, object("u", &["old"]))).await;
        assert!(result.is_ok() && asked == ["GET", "PATCH"], "{result:?} {asked:?}");
        let (result, asked) = publishes(NAMED, None, (200, object("other", &["old"]))).await;
        assert!(matches!(result, Err(DnsError::NotOwned(_))) && asked == ["GET"], "{result:?}");
        // What was written for a name that is gone from the spec goes too, once.
        let before = DnsStatus::default();
        let (result, asked) = publishes("{}", Some(&before), (200, object("u", &[]))).await;
        assert!(result.is_ok() && asked == ["GET", "DELETE"], "{result:?} {asked:?}");
        let (result, asked) = publishes("{}", None, (200, object("u", &[]))).await;
        assert!(result.is_ok() && asked.is_empty(), "{result:?} {asked:?}");
    }

    #[tokio::test]
    async fn a_cluster_without_external_dns_is_told() {
        let missing = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
            "message": "the server could not find the requested resource", "reason": "NotFound",
        });
        let (result, _) = publishes(NAMED, None, (404, missing)).await;
        let says = result.expect_err("there is none").to_string();
        assert!(says.contains("--source=crd"), "{says}");
    }

    #[test]
    fn a_name_leads_to_the_relays_that_are_reached_and_to_no_others() {
        let validated = validated("{dns: {name: turn.example.com, ttlSeconds: 30}}");
        let gone = RelayStatus { urls: Vec::new(), ..relay("192.0.2.3", Reached::True) };
        let going = RelayStatus { draining: true, ..relay("192.0.2.4", Reached::True) };
        let status = TurnServerStatus {
            relays: vec![
                relay("192.0.2.1", Reached::True),
                relay("192.0.2.2", Reached::False),
                gone,
                going,
                relay("2001:db8::1", Reached::Unknown),
            ],
            ..TurnServerStatus::default()
        };
        let published = published(&validated, &status).expect("asked for");
        assert_eq!(published.addresses, ["192.0.2.1", "2001:db8::1"]);
        let endpoint = endpoint(&validated, validated.dns().expect("asked for"), &published);
        let record = |record_type: &str, target: &str| {
            let name = "turn.example.com";
            json!({"dnsName": name, "recordType": record_type, "recordTTL": 30, "targets": [target]})
        };
        let records = json!([record("A", "192.0.2.1"), record("AAAA", "2001:db8::1")]);
        assert_eq!(endpoint["spec"]["endpoints"], records);
    }
}
