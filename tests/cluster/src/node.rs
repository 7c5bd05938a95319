//! A node: a network namespace with its own containerd, kubelet and kube-proxy.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    binaries::SANDBOX_IMAGE,
    control_plane::Site,
    deadline,
    enclosure::{self, Enclosure},
    leftovers, network,
    options::Placement,
    pki::Subject,
    processes::{self, Running},
};

/// How long containerd may take until it answers.
const CONTAINERD_LIMIT: Duration = Duration::from_secs(60);

/// The file from which kubelet makes a pod's resolver configuration.
const RESOLVER: &str = "resolv.conf";

/// Where Debian keeps the plugins of the pods' network.
const CNI_FOLDER: &str = "/usr/lib/cni";

/// A node of a cluster that we made.
#[derive(Debug)]
pub struct Node {
    name: String,
    address: Ipv4Addr,
    placement: Placement,
    enclosure: Arc<Enclosure>,
    logs: PathBuf,
    containerd: Running,
    kubelet: Option<Running>,
    kube_proxy: Option<Running>,
}

impl Node {
    /// Starts containerd and gives it the sandbox image; the rest waits for [`Self::join`].
    pub(crate) fn start(
        site: &Site<'_>,
        enclosure: Arc<Enclosure>,
        index: u8,
        placement: Placement,
    ) -> Result<Self> {
        let name = network::node_name(index);
        let folder = site.folder.join(&name);
        fs::create_dir_all(folder.join("cni"))?;
        write_json(&folder.join("cni/10-pods.conflist"), &pod_network(site, index))?;
        // The pods' resolver: there is no DNS in the cluster.
        fs::write(folder.join(RESOLVER), "options timeout:1 attempts:1\n")?;
        let config = folder.join("containerd.toml");
        fs::write(&config, containerd_config(&folder, &name))?;
        let arguments = ["--config".to_owned(), config.to_string_lossy().into_owned()];
        let containerd = site.start(
            Some(&name),
            &format!("containerd-{name}"),
            Path::new("containerd"),
            &arguments,
        )?;
        let address = site.subnet.node(index);
        Ok(Self {
            name,
            logs: site.logs.to_owned(),
            address,
            placement,
            enclosure,
            containerd,
            kubelet: None,
            kube_proxy: None,
        })
    }

    /// Starts kubelet and kube-proxy, with the API server ready.
    pub(crate) fn join(&mut self, site: &Site<'_>) -> Result<()> {
        self.wait_containerd()?;
        self.load_image(site.binaries.sandbox_archive())?;
        self.start_kubelet(site)?;
        self.start_kube_proxy(site)
    }

    fn wait_containerd(&mut self) -> Result<()> {
        let log = self.containerd.log().to_owned();
        deadline::until_true("containerd to answer", CONTAINERD_LIMIT, || {
            self.containerd.check()?;
            Ok(processes::output(self.ctr().arg("version")).is_ok())
        })
        .with_context(|| processes::tail(&log))
    }

    fn start_kubelet(&mut self, site: &Site<'_>) -> Result<()> {
        let cgroup = format!("{}/{}", leftovers::cgroup_name(site.id), self.name);
        enclosure::make_cgroup(&cgroup)?;
        let folder = site.folder.join(&self.name);
        let user = format!("system:node:{}", self.name);
        let subject = Subject {
            name: &user,
            groups: &["system:nodes"],
            addresses: &[self.address.into()],
            dns_names: &[&self.name],
        };
        let kubeconfig = site.authority.kubeconfig(&self.name, &site.api_server(), &subject)?;
        let config = folder.join("kubelet.json");
        write_json(&config, &self.kubelet_config(site, &cgroup))?;
        let labels = format!(
            "topology.kubernetes.io/region={},topology.kubernetes.io/zone={}",
            self.placement.region, self.placement.zone
        );
        let arguments = [
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--root-dir={}", folder.join("kubelet").display()),
            format!("--cert-dir={}", folder.join("pki").display()),
            format!("--hostname-override={}", self.name),
            format!("--node-ip={}", self.address),
            format!("--node-labels={labels}"),
        ];
        let program = site.binaries.path("kubelet");
        let log = format!("kubelet-{}", self.name);
        self.kubelet = Some(site.start(Some(&self.name), &log, &program, &arguments)?);
        Ok(())
    }

    fn kubelet_config(&self, site: &Site<'_>, cgroup: &str) -> Value {
        let folder = site.folder.join(&self.name);
        // Issued together with the kubeconfig, under the node's name.
        let pki = site.folder.join("pki");
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": format!("unix://{}", self.socket()),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{cgroup}"),
            "enforceNodeAllocatable": [],
            "failCgroupV1": false,
            "failSwapOn": false,
            "localStorageCapacityIsolation": false,
            "oomScoreAdj": 0,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "0%", "nodefs.available": "0%",
                "nodefs.inodesFree": "0%", "imagefs.available": "0%",
            },
            "podLogsDir": site.logs.join("pods").join(&self.name),
            "volumePluginDir": folder.join("volume-plugins"),
            "resolvConf": folder.join(RESOLVER),
            "tlsCertFile": pki.join(format!("{}.crt", self.name)),
            "tlsPrivateKeyFile": pki.join(format!("{}.key", self.name)),
            "authentication": {
                "anonymous": {"enabled": false},
                "x509": {"clientCAFile": site.authority.certificate()},
                "webhook": {"enabled": true},
            },
            "authorization": {"mode": "Webhook"},
            "nodeStatusUpdateFrequency": "4s",
            // A changed ConfigMap reaches its pods at a sync, by default once a minute.
            "syncFrequency": "5s",
            "shutdownGracePeriod": "0s",
        })
    }

    fn start_kube_proxy(&mut self, site: &Site<'_>) -> Result<()> {
        let folder = site.folder.join(&self.name);
        let subject = Subject::user("system:kube-proxy", &[]);
        let file = format!("kube-proxy-{}", self.name);
        let kubeconfig = site.authority.kubeconfig(&file, &site.api_server(), &subject)?;
        let config = folder.join("kube-proxy.json");
        write_json(
            &config,
            &json!({
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "mode": "nftables",
                "clusterCIDR": site.subnet.all_pods(),
                "hostnameOverride": self.name,
                "bindAddress": self.address,
                "healthzBindAddress": "127.0.0.1:10256",
                "metricsBindAddress": "127.0.0.1:10249",
                "oomScoreAdj": 0,
                "clientConnection": {"kubeconfig": kubeconfig},
                // These settings are of the whole machine: leave them as they are.
                "conntrack": {
                    "maxPerCore": 0, "min": 0,
                    "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
                },
            }),
        )?;
        let arguments = [format!("--config={}", config.display())];
        let program = site.binaries.path("kube-proxy");
        self.kube_proxy = Some(site.start(Some(&self.name), &file, &program, &arguments)?);
        Ok(())
    }

    /// The node's name in the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's address, at which a pod with `hostNetwork` listens.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The region and zone in the node's labels.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// A command in the node's network namespace. Its arguments must be absolute paths.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.enclosure.command(Some(&self.name), program)
    }

    /// Starts a program on the node that runs until the returned value is dropped; its log is named
    /// by `name`, among the cluster's.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_program(&self, name: &str, program: &str, arguments: &[&str]) -> Result<Running> {
        let mut command = self.command(program);
        command.args(arguments);
        Running::start(name, command, &self.logs.join(format!("{name}.log")))
    }

    /// Runs `nft` with a ruleset in the node's network namespace: the node's own firewall.
    ///
    /// # Errors
    /// With nft's message when it refuses the rules.
    pub fn nft(&self, rules: &str) -> Result<String> {
        processes::output(self.command("nft").arg(rules))
    }

    /// Brings the images of an OCI archive onto the node.
    ///
    /// # Errors
    /// With containerd's message when it refuses the archive.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let archive = archive.canonicalize().with_context(|| archive.display().to_string())?;
        let mut ctr = self.ctr();
        processes::output(ctr.args(["images", "import"]).arg(archive)).map(drop)
    }

    /// The images that the node has, by name.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub fn images(&self) -> Result<Vec<String>> {
        let list = processes::output(self.ctr().args(["images", "list", "--quiet"]))?;
        Ok(list.lines().map(str::to_owned).collect())
    }

    /// containerd's own client on the node, in the namespace of Kubernetes.
    #[must_use]
    pub fn ctr(&self) -> Command {
        let mut command = self.command("ctr");
        command.args(["--address", &self.socket(), "--namespace", "k8s.io"]);
        command
    }

    fn socket(&self) -> String {
        socket(&self.name)
    }

    /// An error if a part has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.containerd.check()?;
        self.kubelet.iter_mut().chain(&mut self.kube_proxy).try_for_each(Running::check)
    }
}

/// containerd's socket, in the enclosure's own `/run`: a socket's path has a limit of 108 bytes.
fn socket(node: &str) -> String {
    format!("/run/{node}/containerd.sock")
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, value.to_string()).with_context(|| format!("write {}", path.display()))
}

/// The pods' network: each has a link of its own that the node routes. With a bridge instead, a
/// pod could not reach a Service whose endpoint is on the same node, because the answer would go
/// from pod to pod past the node's address translation.
fn pod_network(site: &Site<'_>, index: u8) -> Value {
    let name = network::node_name(index);
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": site.subnet.pods(index)}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": format!("/run/{name}/host-local"),
            },
        }],
    })
}

fn containerd_config(folder: &Path, name: &str) -> String {
    let folder = folder.display();
    let socket = socket(name);
    // Without restrict_oom_score_adj a machine that lacks CAP_SYS_RESOURCE starts no pod.
    format!(
        r#"version = 2
root = "{folder}/containerd"
state = "/run/{name}/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{SANDBOX_IMAGE}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_FOLDER}"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#
    )
}
