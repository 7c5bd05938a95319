//! What the tests have in common: the operator by its chart, and a `TurnServer` in two regions.

use std::{fs, net::Ipv4Addr, sync::OnceLock, time::Duration};

use anyhow::{Context, Result, ensure};
use cluster::{
    ClientHost, Cluster, Running, deadline,
    images::{Image, workspace_folder},
};
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};

/// The namespaces of the operator and of the `TurnServer`s.
pub(crate) const SYSTEM: &str = "turnpike-system";
pub(crate) const MEDIA: &str = "media";

/// The release of the chart, and the Deployment and account that it makes.
pub(crate) const RELEASE: &str = "turnpike";
pub(crate) const OPERATOR: &str = "turnpike-operator";

/// The `TurnServer` of most tests.
pub(crate) const EDGE: &str = "edge";

/// How long a fleet may take to become what its `TurnServer` says: a leader that was killed holds
/// its Lease for a while, and a node runs a new relay only after the old one.
pub(crate) const CONVERGE_LIMIT: Duration = Duration::from_secs(120);

/// Resources of others that the chart and the operator write, as they publish them: version 0.75.0 of
/// the Prometheus operator, 0.15.0 of external-dns.
const DEFINITIONS: [(&str, &str); 2] = [
    ("prometheusrules.monitoring.coreos.com", include_str!("definitions/prometheusrules.yaml")),
    ("dnsendpoints.externaldns.k8s.io", include_str!("definitions/dnsendpoints.yaml")),
];

/// The chart's place.
pub(crate) fn chart() -> String {
    workspace_folder().join("charts/turnpike").to_string_lossy().into_owned()
}

/// Installs the chart, or upgrades to it, with the images of this workspace, and waits for the
/// operator to be ready.
///
/// # Errors
/// With Helm's message when it fails.
pub(crate) fn install_chart(cluster: &Cluster, chart: &str) -> Result<String> {
    for image in Image::ALL {
        cluster.load_image(&image.archive())?;
    }
    namespace(cluster, SYSTEM)?;
    let files = certificate(cluster)?.files();
    cluster.apply(&secret(SYSTEM, &format!("{OURS}api"), "kubernetes.io/tls", &files))?;
    for (name, definition) in DEFINITIONS {
        cluster.apply(definition)?;
        let definition = format!("customresourcedefinition/{name}");
        cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &definition])?;
    }
    let api = format!("api.tls.secretName={OURS}api,api.service.type=NodePort,alerts.install=true");
    let settings = Image::ALL.map(|image| {
        let name = image.name();
        let (repository, tag) = (image.repository(), Image::tag());
        format!("{name}.image.repository={repository},{name}.image.tag={tag}")
    });
    cluster.helm(&[
        "upgrade",
        RELEASE,
        chart,
        "--install",
        "--namespace",
        SYSTEM,
        "--create-namespace",
        "--wait",
        "--timeout",
        "2m",
        "--set",
        &settings[0],
        "--set",
        &settings[1],
        "--set",
        &api,
    ])
}

/// The operator by its chart, installed unless it is.
///
/// # Errors
/// With Helm's message when it fails.
pub(crate) fn operator(cluster: &Cluster) -> Result<()> {
    let installed = cluster.helm(&["list", "--namespace", SYSTEM, "--short"])?;
    if installed.lines().any(|release| release == RELEASE) {
        let deployment = format!("deployment/{OPERATOR}");
        let status = ["rollout", "status", "--namespace", SYSTEM, &deployment, "--timeout=2m"];
        return cluster.kubectl(&status).map(drop);
    }
    install_chart(cluster, &chart()).map(drop)
}

/// The `TurnServer` [`EDGE`] with a relay in each of two regions, which may relay to the host
/// `peer`; applied, ready, and as its manifest says.
///
/// # Errors
/// When it does not get ready in time; the message has its conditions.
pub(crate) fn edge(cluster: &Cluster) -> Result<TurnServer> {
    operator(cluster)?;
    namespace(cluster, MEDIA)?;
    cluster.apply(&edge_manifest(&allowed_peers(cluster)?, ""))?;
    wait_ready(cluster, EDGE)
}

/// The manifest of [`EDGE`], with `more` lines of its spec.
pub(crate) fn edge_manifest(allowed_peers: &str, more: &str) -> String {
    format!(
        "apiVersion: turnpike.dev/v1alpha1
kind: TurnServer
metadata: {{name: {EDGE}, namespace: {MEDIA}}}
spec:
  realm: turn.example.com
  regions:
  - {{name: east, nodeSelector: {{topology.kubernetes.io/region: east}}, replicas: 1}}
  - {{name: west, nodeSelector: {{topology.kubernetes.io/region: west}}, replicas: 1}}
  peers: {{allow: [{allowed_peers}]}}
  # The clients of some tests leave allocations behind, which a relay that ends waits for.
  drain: {{timeoutSeconds: {DRAIN_SECONDS}}}
{more}"
    )
}

/// [`edge`] as a product has it: with a listener for TLS on port 5349 beside UDP and TCP, the agent
/// [`AGENT`] outside, the caller [`CALLER`], a page of any origin, and the name [`DNS_NAME`].
///
/// # Errors
/// As [`edge`].
pub(crate) fn edge_outside(cluster: &Cluster) -> Result<()> {
    operator(cluster)?;
    namespace(cluster, MEDIA)?;
    let certificate = certificate(cluster)?;
    let secret = |name: &str, kind: &str, data: Value| {
        cluster.apply(&secret(MEDIA, &format!("{OURS}{name}"), kind, &data))
    };
    secret("tls", "kubernetes.io/tls", certificate.files())?;
    agents(cluster)?;
    secret("callers", "Opaque", json!({CALLER.0: CALLER.1}))?;
    let more = format!(
        "  dns: {{name: {DNS_NAME}, ttlSeconds: 30}}
  listeners:
  - {{name: udp, protocol: UDP, port: 3478}}
  - {{name: tcp, protocol: TCP, port: 3478}}
  - {{name: tls, protocol: TLS, port: 5349}}
  tls: {{secretRef: {{name: {OURS}tls}}}}
  reachability: {{vantages: {{secretRef: {{name: {OURS}vantages}}}}}}
  iceServers: {{apiKeys: {{secretRef: {{name: {OURS}callers}}}}, allowedOrigins: ['*']}}
"
    );
    let client = cluster.client_host("client")?.address();
    let peers = format!("{}, {client}/32", allowed_peers(cluster)?);
    cluster.apply(&edge_manifest(&peers, &more))?;
    wait_ready(cluster, EDGE).map(drop)
}

/// The Secret with the token of [`AGENT`]; its name.
pub(crate) fn agents(cluster: &Cluster) -> Result<String> {
    let name = format!("{OURS}vantages");
    cluster.apply(&secret(MEDIA, &name, "Opaque", &json!({AGENT.0: AGENT.1})))?;
    Ok(name)
}

/// What [`edge_outside`] is found by.
pub(crate) const DNS_NAME: &str = "turn.example.com";

/// What the names of Secrets begin with that the tests made.
pub(crate) const OURS: &str = "test-";
/// The names of an agent outside and of a caller, with their secrets.
pub(crate) const AGENT: (&str, &str) = ("outside", "token-of-the-agent-outside");
pub(crate) const CALLER: (&str, &str) = ("shop", "api-key-of-the-shop");

fn secret(namespace: &str, name: &str, kind: &str, data: &Value) -> String {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": kind,
        "metadata": {"name": name, "namespace": namespace},
        "stringData": data,
    });
    object.to_string()
}

/// A certificate for the addresses of all nodes that has signed itself.
pub(crate) struct Certificate {
    /// In PEM.
    certificate: String,
    key: String,
    /// SHA-256 of the public key, in base64: how a browser is told to trust it.
    pub(crate) fingerprint: String,
}

impl Certificate {
    fn files(&self) -> Value {
        json!({"tls.crt": self.certificate, "tls.key": self.key})
    }
}

/// That of the cluster which the tests share.
pub(crate) fn certificate(cluster: &Cluster) -> Result<&'static Certificate> {
    static MADE: OnceLock<Certificate> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Ok(made);
    }
    let addresses = cluster.nodes().iter().map(|node| node.address().to_string());
    let made = rcgen::generate_simple_self_signed(addresses.collect::<Vec<_>>())?;
    let public_key = made.signing_key.subject_public_key_info();
    Ok(MADE.get_or_init(|| Certificate {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        fingerprint: browser::fingerprint(&public_key),
    }))
}

/// Where the API is from outside: on the port that each node has for it, at the operator's own.
pub(crate) fn api(cluster: &Cluster, operators_node: &str) -> Result<String> {
    let node = cluster.nodes().iter().find(|node| node.name() == operators_node);
    let address = node.context("no such node")?.address();
    let name = format!("{OPERATOR}-api");
    let port = "jsonpath={.spec.ports[0].nodePort}";
    let port =
        cluster.kubectl(&["get", "service", &name, "--namespace", SYSTEM, "--output", port])?;
    Ok(format!("https://{address}:{port}"))
}

/// The node of the operator that leads.
pub(crate) fn leaders_node(cluster: &Cluster) -> Result<String> {
    let system = ["--namespace", SYSTEM, "--output"];
    let get = |kind: &str, name: &str, field: &str| {
        let field = format!("jsonpath={{{field}}}");
        cluster.kubectl(&[&["get", kind, name], &system[..], &[&field]].concat())
    };
    let leader = get("lease", OPERATOR, ".spec.holderIdentity")?;
    get("pod", &leader, ".spec.nodeName")
}

/// The API's URL of [`EDGE`].
pub(crate) fn ice_servers(api: &str) -> String {
    format!("{api}/v1/namespaces/{MEDIA}/turnservers/{EDGE}/iceservers")
}

/// The path of a file with the [`certificate`], for who is to believe it.
pub(crate) fn authority(cluster: &Cluster) -> Result<String> {
    file(cluster, "edge.pem", &certificate(cluster)?.certificate)
}

/// Starts the agent [`AGENT`] of a `TurnServer` on a host of the clients' network.
pub(crate) fn agent(
    cluster: &Cluster,
    client: &ClientHost,
    api: &str,
    server: &str,
) -> Result<Running> {
    let (name, token) = AGENT;
    let token_file = file(cluster, "agent.token", token)?;
    let authority = authority(cluster)?;
    let program = cluster::program("turnctl")?;
    let program = program.to_str().context("a path")?;
    let server = format!("{MEDIA}/{server}");
    let arguments = ["vantage", "--api", api, "--turnserver", &server, "--name", name];
    let files = ["--token-file", &token_file, "--ca-file", &authority];
    client.start("agent", program, &[&arguments[..], &files[..]].concat())
}

/// The path of a file with this content, which hosts of the cluster's network see too.
pub(crate) fn file(cluster: &Cluster, name: &str, content: &str) -> Result<String> {
    let path = cluster.logs_dir().context("a cluster of ours")?.join(name);
    fs::write(&path, content)?;
    path.to_str().map(str::to_owned).context("a path")
}

/// How long a relay that ends may wait for its clients.
pub(crate) const DRAIN_SECONDS: u64 = 45;

/// The range of addresses that relays may relay to: that of the host `peer`, which is a private
/// one, as all of a cluster of ours are.
pub(crate) fn allowed_peers(cluster: &Cluster) -> Result<String> {
    Ok(match cluster.nodes() {
        // A cluster that was given has no hosts of ours beside it, and nothing is relayed.
        [] => "192.0.2.1/32".to_owned(),
        _ => format!("{}/32", peer(cluster)?.address()),
    })
}

/// The host beside the nodes that sends everything back.
pub(crate) fn peer(cluster: &Cluster) -> Result<ClientHost> {
    cluster.client_host("peer")
}

/// Makes a namespace unless it is there.
pub(crate) fn namespace(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"))?;
    Ok(())
}

/// Waits until a `TurnServer` of [`MEDIA`] is ready as its present spec says.
///
/// # Errors
/// At the deadline; the message has its conditions.
pub(crate) fn wait_ready(cluster: &Cluster, name: &str) -> Result<TurnServer> {
    wait_until(cluster, name, "ready", |server| {
        server.is("Ready", "True") && server.relays().iter().all(|relay| relay.ready)
    })
}

/// Waits until the operator has looked at the present spec, and `holds` of what it says.
///
/// # Errors
/// At the deadline; the message has the conditions.
pub(crate) fn wait_until(
    cluster: &Cluster,
    name: &str,
    what: &str,
    holds: impl Fn(&TurnServer) -> bool,
) -> Result<TurnServer> {
    deadline::until(&format!("TurnServer {name} to be {what}"), CONVERGE_LIMIT, || {
        let server = TurnServer::get(cluster, name)?;
        ensure!(server.is_current() && holds(&server), "its status is {}", server.shown());
        Ok(Some(server))
    })
}

/// A `TurnServer` as the API server has it.
#[derive(Debug)]
pub(crate) struct TurnServer {
    pub(crate) object: Value,
}

/// A relay in a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relay {
    pub(crate) pod: String,
    pub(crate) node: String,
    pub(crate) region: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) ready: bool,
}

impl TurnServer {
    /// Reads one of [`MEDIA`].
    pub(crate) fn get(cluster: &Cluster, name: &str) -> Result<Self> {
        Ok(Self { object: get(cluster, "turnserver", name)? })
    }

    /// The condition of a type, as (status, reason, message).
    pub(crate) fn condition(&self, kind: &str) -> Option<(&str, &str, &str)> {
        let conditions = self.object["status"]["conditions"].as_array()?;
        let condition = conditions.iter().find(|condition| condition["type"] == kind)?;
        let text = |field: &str| condition[field].as_str();
        Some((text("status")?, text("reason")?, text("message")?))
    }

    /// Whether a condition has this status.
    pub(crate) fn is(&self, kind: &str, status: &str) -> bool {
        self.condition(kind).is_some_and(|condition| condition.0 == status)
    }

    /// Whether all who probe it, the operator and the other relay, reach every listener.
    pub(crate) fn is_settled(&self) -> bool {
        let relays = self.object["status"]["relays"].as_array().into_iter().flatten();
        let mut rows =
            relays.flat_map(|relay| relay["reachability"].as_array().into_iter().flatten());
        let by_both = |row: &Value| row["reachedFrom"].as_array().is_some_and(|by| by.len() >= 2);
        self.is("Ready", "True") && self.is("Reachable", "True") && rows.all(by_both)
    }

    /// Whether the status is about the present spec.
    fn is_current(&self) -> bool {
        self.object["status"]["observedGeneration"] == self.object["metadata"]["generation"]
    }

    /// The relays of the status, by region.
    pub(crate) fn relays(&self) -> Vec<Relay> {
        let relays = self.object["status"]["relays"].as_array();
        relays.into_iter().flatten().filter_map(relay).collect()
    }

    /// The shared secret that signs new credentials, from the Secret that the status names.
    pub(crate) fn secret(&self, cluster: &Cluster) -> Result<String> {
        let credentials = &self.object["status"]["credentials"];
        let text = |field: &str| {
            credentials[field].as_str().with_context(|| format!("status.credentials.{field}"))
        };
        let template =
            format!("go-template={{{{index .data \"{}\" | base64decode}}}}", text("activeKey")?);
        let name = text("secretName")?;
        cluster.kubectl(&["get", "secret", "--namespace", MEDIA, name, "--output", &template])
    }

    fn shown(&self) -> String {
        format!("{:#}", self.object["status"])
    }
}

fn relay(status: &Value) -> Option<Relay> {
    let text = |field: &str| Some(status[field].as_str()?.to_owned());
    Some(Relay {
        pod: text("pod")?,
        node: text("node")?,
        region: text("region")?,
        address: status["addresses"][0].as_str()?.parse().ok()?,
        ready: status["ready"].as_bool()?,
    })
}

/// An object of [`MEDIA`].
pub(crate) fn get(cluster: &Cluster, kind: &str, name: &str) -> Result<Value> {
    let get = ["get", kind, name, "--namespace", MEDIA, "--output", "json"];
    Ok(serde_json::from_str(&cluster.kubectl(&get)?)?)
}

/// All objects of [`MEDIA`] of these kinds, separated by commas.
pub(crate) fn list(cluster: &Cluster, kinds: &str) -> Result<Vec<Value>> {
    let get = ["get", kinds, "--namespace", MEDIA, "--output", "json"];
    let mut list: Value = serde_json::from_str(&cluster.kubectl(&get)?)?;
    serde_json::from_value(list["items"].take()).with_context(|| format!("the list of {kinds}"))
}

/// A text inside an object, by its JSON pointer; empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
