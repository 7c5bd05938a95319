//! A cluster from its start to its end.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    binaries::Binaries,
    cache,
    client_host::ClientHost,
    control_plane::{API_PORT, ControlPlane, Site},
    deadline,
    enclosure::Enclosure,
    interrupt, leftovers,
    loopback::Loopback,
    network::Subnet,
    node::Node,
    options::Options,
    pki::{Authority, Subject},
    processes, requirement,
};

/// How long the nodes may take until they are ready.
const NODES_LIMIT: Duration = Duration::from_secs(120);

/// A Kubernetes cluster: one that we made, or the one that `KUBECONFIG` names.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    kubeconfig: PathBuf,
    own: Option<Own>,
}

/// What only a cluster that we made has. The fields are dropped in this order.
#[derive(Debug)]
struct Own {
    // Connections end before the namespace that they lead into.
    _loopback: Loopback,
    clients: Mutex<BTreeMap<String, ClientHost>>,
    nodes: Vec<Node>,
    control_plane: Mutex<ControlPlane>,
    subnet: Subnet,
    logs: Logs,
    enclosure: Arc<Enclosure>,
}

/// The folder of a cluster's logs: it goes with the cluster unless something failed.
#[derive(Debug)]
struct Logs {
    folder: PathBuf,
    keep: Mutex<bool>,
}

impl Logs {
    fn keep(&self) {
        *self.keep.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let keep = *self.keep.lock().unwrap_or_else(PoisonError::into_inner);
        if keep || std::thread::panicking() {
            cache::say(&format!("The cluster's logs are in {}", self.folder.display()));
        } else {
            let _ = cache::remove_folder(&self.folder);
        }
    }
}

impl Cluster {
    /// The cluster that `KUBECONFIG` names, or else a new one as `options` say.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn given_or_start(options: &Options) -> Result<Self> {
        match requirement::given_kubeconfig() {
            Some(kubeconfig) => Ok(Self { binaries: Binaries::obtain()?, kubeconfig, own: None }),
            None => Self::start(options),
        }
    }

    /// Boots a control plane and its nodes, and returns when all of them are ready.
    ///
    /// Everything ends when the returned value is dropped, when this process is interrupted, and
    /// when this process ends in any other way.
    ///
    /// # Errors
    /// When a part does not start or does not get ready in time. The message has the end of its
    /// log; the logs are kept, and their place is printed.
    pub fn start(options: &Options) -> Result<Self> {
        leftovers::sweep()?;
        let binaries = Binaries::obtain()?;
        let id = format!("{:06x}", getrandom::u32()? & 0xff_ffff);
        let folder = leftovers::clusters_folder()?.join(&id);
        let logs = Logs { folder: leftovers::logs_folder()?.join(&id), keep: Mutex::new(true) };
        fs::create_dir_all(&folder)?;
        fs::create_dir_all(&logs.folder)?;
        let enclosure = Arc::new(Enclosure::start(&folder, &leftovers::cgroup_name(&id))?);
        interrupt::watch(Arc::downgrade(&enclosure))?;
        let booted = boot(&binaries, &id, &folder, logs, enclosure, options)?;
        booted.forget_logs();
        Ok(booted)
    }

    /// The kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs kubectl with the arguments, and returns what it printed.
    ///
    /// # Errors
    /// With kubectl's message when it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        processes::output(self.kubectl_command().args(arguments))
    }

    /// kubectl for this cluster, for a caller who wants its input or its exit code.
    #[must_use]
    pub fn kubectl_command(&self) -> Command {
        kubectl_command(&self.binaries, &self.kubeconfig)
    }

    /// Applies a manifest by kubectl, and returns what it printed.
    ///
    /// # Errors
    /// With the API server's message when it refuses the manifest.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        let folder = cache::folder()?.join("manifests");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{:08x}.yaml", getrandom::u32()?));
        fs::write(&path, manifest)?;
        let applied = self.kubectl(&["apply", "-f", &path.to_string_lossy()]);
        fs::remove_file(&path)?;
        applied
    }

    /// Runs Helm with the arguments, and returns what it printed.
    ///
    /// # Errors
    /// With Helm's message when it fails.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut helm = Command::new(self.binaries.path("helm"));
        helm.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        let home = cache::folder()?.join("helm");
        for (variable, folder) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            helm.env(variable, home.join(folder));
        }
        processes::output(&mut helm)
    }

    /// The nodes of a cluster that we made; none of one that was given.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        self.own.as_ref().map_or(&[], |own| &own.nodes)
    }

    /// Node `index`, from 0, of a cluster that we made.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, index: usize) -> Result<&Node> {
        self.nodes().get(index).with_context(|| format!("the cluster has no node {index} of ours"))
    }

    /// Brings the images of an OCI archive onto every node. A cluster that was given must have
    /// them already.
    ///
    /// # Errors
    /// With containerd's message when it refuses the archive.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        self.nodes().iter().try_for_each(|node| node.load_image(archive))
    }

    /// The host `name` outside the nodes, made when it is first asked for.
    ///
    /// # Errors
    /// When the cluster was given, and its network is not ours.
    pub fn client_host(&self, name: &str) -> Result<ClientHost> {
        let own = self.own.as_ref().context("a cluster that was given has no client hosts")?;
        let mut clients = own.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(name) {
            return Ok(client.clone());
        }
        let address = own.subnet.client(u8::try_from(clients.len())?)?;
        own.subnet.add_host(&own.enclosure, name, address)?;
        let enclosure = Arc::clone(&own.enclosure);
        let client = ClientHost::new(name, address, enclosure, own.logs.folder.clone());
        clients.insert(name.to_owned(), client.clone());
        Ok(client)
    }

    /// The API server's log of writes, a JSON object a line, of a cluster that we made.
    ///
    /// # Errors
    /// When the cluster was given.
    pub fn audit_log(&self) -> Result<PathBuf> {
        let own = self.own.as_ref().context("a cluster that was given has no audit log here")?;
        let control_plane = own.control_plane.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(control_plane.audit_log.clone())
    }

    /// The folder of the logs, of a cluster that we made.
    #[must_use]
    pub fn logs_dir(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.logs.folder.as_path())
    }

    /// Keeps the logs when the cluster ends, and prints then where they are: for a failed test.
    pub fn keep_logs(&self) {
        if let Some(own) = &self.own {
            own.logs.keep();
        }
    }

    fn forget_logs(&self) {
        if let Some(own) = &self.own {
            *own.logs.keep.lock().unwrap_or_else(PoisonError::into_inner) = false;
        }
    }

    /// An error if a part of a cluster that we made has ended, with the end of its log.
    ///
    /// # Errors
    /// See above.
    pub fn check(&mut self) -> Result<()> {
        let Some(own) = &mut self.own else { return Ok(()) };
        own.control_plane.get_mut().unwrap_or_else(PoisonError::into_inner).check()?;
        own.nodes.iter_mut().try_for_each(Node::check)
    }

    /// Ends the cluster, and waits until nothing is left of it. Dropping does the same, but keeps
    /// an error to itself.
    ///
    /// # Errors
    /// When something does not end in time.
    pub fn stop(self) -> Result<()> {
        self.own.as_ref().map_or(Ok(()), |own| own.enclosure.stop())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // A client host that somebody still holds must not keep the cluster alive.
        let _ = self.enclosure.stop();
    }
}

fn boot(
    binaries: &Binaries,
    id: &str,
    folder: &Path,
    logs: Logs,
    enclosure: Arc<Enclosure>,
    options: &Options,
) -> Result<Cluster> {
    let authority = Authority::new(&folder.join("pki"))?;
    let subnet = Subnet::choose()?;
    let site = Site {
        enclosure: &enclosure,
        binaries,
        authority: &authority,
        subnet,
        id,
        folder,
        logs: &logs.folder,
    };
    let count = u8::try_from(options.nodes.len())?;
    subnet.build(&enclosure, count)?;
    let api_server = SocketAddr::from((subnet.control_plane(), API_PORT));
    let loopback = Loopback::open(&enclosure.network_file(None), api_server)?;
    let administrator = Subject::user("administrator", &["system:masters"]);
    let server = format!("https://{}", loopback.address());
    let kubeconfig = authority.kubeconfig("administrator", &server, &administrator)?;

    let mut nodes = start_nodes(&site, &enclosure, options)?;
    let control_plane = ControlPlane::start(&site, |path| {
        processes::output(kubectl_command(binaries, &kubeconfig).args(["get", "--raw", path]))
    })?;
    nodes.iter_mut().try_for_each(|node| node.join(&site))?;
    let own = Own {
        _loopback: loopback,
        clients: Mutex::default(),
        nodes,
        control_plane: Mutex::new(control_plane),
        subnet,
        logs,
        enclosure,
    };
    let mut cluster = Cluster { binaries: binaries.clone(), kubeconfig, own: Some(own) };
    wait_ready(&mut cluster, options.nodes.len())?;
    Ok(cluster)
}

/// Makes the nodes' networks and starts their containerds, which are ready before the API server.
fn start_nodes(
    site: &Site<'_>,
    enclosure: &Arc<Enclosure>,
    options: &Options,
) -> Result<Vec<Node>> {
    let count = u8::try_from(options.nodes.len())?;
    (0..count)
        .zip(&options.nodes)
        .map(|(index, placement)| {
            site.subnet.add_node(enclosure, index, count)?;
            Node::start(site, Arc::clone(enclosure), index, placement.clone())
        })
        .collect()
}

/// Waits until pods can run: every node is ready, and the default service account is there.
fn wait_ready(cluster: &mut Cluster, nodes: usize) -> Result<()> {
    let ready =
        r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {end}"#;
    let waited = deadline::until_true("the nodes to be ready", NODES_LIMIT, || {
        cluster.check()?;
        let statuses = cluster.kubectl(&["get", "nodes", "--output", ready])?;
        Ok(statuses.split_whitespace().filter(|status| *status == "True").count() == nodes)
    });
    let logs = cluster.logs_dir().map(Path::to_owned).unwrap_or_default();
    waited.with_context(|| processes::tail(&logs.join("kubelet-node1.log")))?;
    deadline::until_true("the default service account", NODES_LIMIT, || {
        let names = cluster.kubectl(&["get", "serviceaccounts", "--output", "name"])?;
        Ok(names.contains("serviceaccount/default"))
    })?;
    ensure!(cluster.nodes().len() == nodes, "a node is missing");
    Ok(())
}

fn kubectl_command(binaries: &Binaries, kubeconfig: &Path) -> Command {
    let mut kubectl = Command::new(binaries.path("kubectl"));
    kubectl.arg("--kubeconfig").arg(kubeconfig);
    // Its cache of the API would be the user's, and for a cluster that is soon gone.
    kubectl.arg("--cache-dir").arg(kubeconfig.with_extension("kubectl-cache"));
    kubectl
}
