//! etcd, the API server, the controller manager and the scheduler.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use serde_json::json;

use crate::{
    binaries::Binaries,
    deadline,
    enclosure::Enclosure,
    network::Subnet,
    pki::{Authority, Subject},
    processes::Running,
};

/// Where the API server listens, on the control plane's address.
pub(crate) const API_PORT: u16 = 6443;

/// How long the API server may take until it serves.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// How long after its last sign of life a node is not ready: the shortest that the controller
/// manager takes beside the kubelet's usual ten seconds.
const NODE_GRACE: &str = "16s";

/// What the parts of a cluster are made with.
pub(crate) struct Site<'a> {
    pub(crate) enclosure: &'a Enclosure,
    pub(crate) binaries: &'a Binaries,
    pub(crate) authority: &'a Authority,
    pub(crate) subnet: Subnet,
    /// The cluster's short name.
    pub(crate) id: &'a str,
    /// Where state is kept, which goes with the cluster.
    pub(crate) folder: &'a Path,
    /// Where logs are kept, which may stay.
    pub(crate) logs: &'a Path,
}

impl Site<'_> {
    /// The API server's address as nodes and pods see it.
    pub(crate) fn api_server(&self) -> String {
        format!("https://{}:{API_PORT}", self.subnet.control_plane())
    }

    /// Starts a program of the cache in a network namespace of the cluster.
    pub(crate) fn start(
        &self,
        network: Option<&str>,
        name: &str,
        program: &Path,
        arguments: &[String],
    ) -> Result<Running> {
        let mut command = self.enclosure.command(network, program);
        command.args(arguments);
        Running::start(name, command, &self.logs.join(format!("{name}.log")))
    }

    fn start_part(&self, program: &str, flags: &[(&str, &str)]) -> Result<Running> {
        let arguments: Vec<_> =
            flags.iter().map(|(flag, value)| format!("--{flag}={value}")).collect();
        self.start(None, program, &self.binaries.path(program), &arguments)
    }
}

/// The running control plane.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    /// The API server's log of each write, one JSON object a line.
    pub(crate) audit_log: PathBuf,
    parts: Vec<Running>,
}

impl ControlPlane {
    /// Starts the control plane and waits until the API server is ready.
    ///
    /// `kubectl` asks the API server for a raw path and returns its answer.
    pub(crate) fn start(site: &Site<'_>, raw: impl Fn(&str) -> Result<String>) -> Result<Self> {
        let audit_log = site.logs.join("audit.log");
        let keys = Keys::new(site)?;
        let mut parts = vec![start_etcd(site)?, start_api_server(site, &keys, &audit_log)?];
        deadline::until("the API server to be ready", READY_LIMIT, || {
            parts.iter_mut().try_for_each(Running::check)?;
            Ok((raw("/readyz")? == "ok").then_some(()))
        })?;
        parts.push(start_controller_manager(site, &keys)?);
        parts.push(start_scheduler(site)?);
        Ok(Self { audit_log, parts })
    }

    /// An error if a part has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.parts.iter_mut().try_for_each(Running::check)
    }
}

/// The key that signs service account tokens: the API server and the controller manager share it.
struct Keys {
    verify: String,
    sign: String,
}

impl Keys {
    fn new(site: &Site<'_>) -> Result<Self> {
        let (public, private) = site.authority.plain_key("service-accounts")?;
        Ok(Self { verify: text(&public), sign: text(&private) })
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn start_etcd(site: &Site<'_>) -> Result<Running> {
    let data = text(&site.folder.join("etcd"));
    // Plain HTTP: its loopback is the control plane's, where nothing else runs.
    let flags = [
        ("name", "etcd"),
        ("data-dir", data.as_str()),
        ("listen-client-urls", "http://127.0.0.1:2379"),
        ("advertise-client-urls", "http://127.0.0.1:2379"),
        ("listen-peer-urls", "http://127.0.0.1:2380"),
        ("initial-advertise-peer-urls", "http://127.0.0.1:2380"),
        ("initial-cluster", "etcd=http://127.0.0.1:2380"),
        // A cluster that is lost with the machine need not survive it.
        ("unsafe-no-fsync", "true"),
        ("log-level", "warn"),
    ];
    site.start_part("etcd", &flags)
}

fn start_api_server(site: &Site<'_>, keys: &Keys, audit_log: &Path) -> Result<Running> {
    let address = site.subnet.control_plane();
    let serving = Subject {
        name: "kube-apiserver",
        groups: &[],
        addresses: &[
            address.into(),
            site.subnet.first_service().into(),
            std::net::Ipv4Addr::LOCALHOST.into(),
        ],
        dns_names: &["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"],
    };
    let (certificate, key) = site.authority.issue("kube-apiserver", &serving)?;
    let kubelet_client = Subject::user("kube-apiserver-kubelet-client", &["system:masters"]);
    let (client_certificate, client_key) =
        site.authority.issue("kubelet-client", &kubelet_client)?;
    let authority = text(&site.authority.certificate());
    let flags = [
        ("etcd-servers", "http://127.0.0.1:2379".to_owned()),
        ("bind-address", address.to_string()),
        ("advertise-address", address.to_string()),
        ("secure-port", API_PORT.to_string()),
        ("tls-cert-file", text(&certificate)),
        ("tls-private-key-file", text(&key)),
        ("client-ca-file", authority.clone()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("service-cluster-ip-range", site.subnet.services()),
        ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
        ("service-account-key-file", keys.verify.clone()),
        ("service-account-signing-key-file", keys.sign.clone()),
        ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        ("kubelet-certificate-authority", authority),
        ("kubelet-client-certificate", text(&client_certificate)),
        ("kubelet-client-key", text(&client_key)),
        ("allow-privileged", "true".to_owned()),
        ("audit-policy-file", text(&write_audit_policy(site)?)),
        ("audit-log-path", text(audit_log)),
        ("shutdown-delay-duration", "0s".to_owned()),
    ];
    let flags: Vec<_> = flags.iter().map(|(flag, value)| (*flag, value.as_str())).collect();
    site.start_part("kube-apiserver", &flags)
}

/// Each write is logged with who, what and when, once it is answered; reads are not.
fn write_audit_policy(site: &Site<'_>) -> Result<PathBuf> {
    let path = site.folder.join("audit-policy.json");
    let writes = ["create", "update", "patch", "delete", "deletecollection"];
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "verbs": writes}, {"level": "None"}],
    });
    fs::write(&path, policy.to_string())?;
    Ok(path)
}

fn start_controller_manager(site: &Site<'_>, keys: &Keys) -> Result<Running> {
    let subject = Subject::user("system:kube-controller-manager", &[]);
    let kubeconfig =
        site.authority.kubeconfig("kube-controller-manager", &site.api_server(), &subject)?;
    let authority = text(&site.authority.certificate());
    let flags = [
        ("kubeconfig", text(&kubeconfig)),
        ("bind-address", "127.0.0.1".to_owned()),
        ("use-service-account-credentials", "true".to_owned()),
        ("service-account-private-key-file", keys.sign.clone()),
        ("root-ca-file", authority.clone()),
        ("cluster-signing-cert-file", authority),
        ("cluster-signing-key-file", text(&site.authority.key())),
        ("node-monitor-grace-period", NODE_GRACE.to_owned()),
        ("node-monitor-period", "2s".to_owned()),
        ("leader-elect", "false".to_owned()),
    ];
    let flags: Vec<_> = flags.iter().map(|(flag, value)| (*flag, value.as_str())).collect();
    site.start_part("kube-controller-manager", &flags)
}

fn start_scheduler(site: &Site<'_>) -> Result<Running> {
    let subject = Subject::user("system:kube-scheduler", &[]);
    let kubeconfig = site.authority.kubeconfig("kube-scheduler", &site.api_server(), &subject)?;
    let flags = [
        ("kubeconfig", text(&kubeconfig)),
        ("bind-address", "127.0.0.1".to_owned()),
        ("leader-elect", "false".to_owned()),
    ];
    let flags: Vec<_> = flags.iter().map(|(flag, value)| (*flag, value.as_str())).collect();
    site.start_part("kube-scheduler", &flags)
}
