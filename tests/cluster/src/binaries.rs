//! Kubernetes, etcd and Helm, built by Go from the module in `kubernetes/`.

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    cache::{self, say},
    image_archive, images,
};

/// How often the build says how far it has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(15);

/// The lines of the build's output that a failure shows.
const SHOWN_LINES: usize = 30;

/// The module's own name for the executable of etcd, and the name that everybody knows.
const ETCD_BUILT_AS: &str = "server";
const ETCD: &str = "etcd";

/// The programs of a control plane and of a node, ready to run.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
    sandbox_archive: PathBuf,
}

impl Binaries {
    /// Takes the programs from the cache, or builds them: some nine minutes on two cores, once for
    /// each change of the module's `go.mod` and `go.sum`.
    ///
    /// # Errors
    /// When Go is missing or its build fails; the error has the end of its output.
    pub fn obtain() -> Result<Self> {
        let module = module_folder();
        let key = cache::key(&[module.join("go.mod"), module.join("go.sum")])?;
        let folder = cache::entry(&format!("kubernetes-{key}"), build_kubernetes)?;
        Ok(Self { folder, sandbox_archive: obtain_sandbox()? })
    }

    /// Whether [`Self::obtain`] would find the programs in the cache.
    ///
    /// # Errors
    /// When the module cannot be read.
    pub fn are_cached() -> Result<bool> {
        let module = module_folder();
        let key = cache::key(&[module.join("go.mod"), module.join("go.sum")])?;
        Ok(cache::folder()?.join(format!("kubernetes-{key}")).is_dir())
    }

    /// Where a program is: `kube-apiserver`, `kubectl`, `helm`, `etcd` …
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    /// The OCI archive of the image that holds a pod's namespaces.
    pub(crate) fn sandbox_archive(&self) -> &Path {
        &self.sandbox_archive
    }
}

fn module_folder() -> PathBuf {
    images::workspace_folder().join("tests/cluster/kubernetes")
}

fn obtain_sandbox() -> Result<PathBuf> {
    let source = module_folder().join("sandbox/main.go");
    let key = cache::key(&[source, module_folder().join("go.mod")])?;
    let folder = cache::entry(&format!("sandbox-{key}"), |folder| {
        let binary = folder.join("sandbox");
        go_build(&binary, "-s -w", "./sandbox")?;
        let layer = fs::read(&binary)?;
        image_archive::write(&folder.join("sandbox.tar"), SANDBOX_IMAGE, "sandbox", &layer)
    })?;
    Ok(folder.join("sandbox.tar"))
}

/// The name of the image that holds a pod's namespaces, and serves in the harness's own tests.
pub const SANDBOX_IMAGE: &str = "localhost/turnpike/sandbox:1";

fn build_kubernetes(folder: &Path) -> Result<()> {
    let version = kubernetes_version()?;
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    // Without these a program calls itself v0.0.0, and clients refuse it as too old.
    let package = "k8s.io/component-base/version";
    let flags = format!(
        "-s -w -X {package}.gitVersion={version} \
         -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    );
    say(&format!("Building Kubernetes {version}, etcd and Helm (once; about 9 minutes)"));
    go_build(folder, &flags, "tool")?;
    fs::rename(folder.join(ETCD_BUILT_AS), folder.join(ETCD)).context("rename etcd")?;
    Ok(())
}

/// The version in the module's requirement of Kubernetes, as `v1.37.2`.
fn kubernetes_version() -> Result<String> {
    let text = fs::read_to_string(module_folder().join("go.mod"))?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes ")?.split(' ').next())
        .map(str::to_owned)
        .context("go.mod requires no k8s.io/kubernetes")
}

/// Builds `packages` of the module into `output`: a file, or a folder that ends in a slash.
fn go_build(output: &Path, linker_flags: &str, packages: &str) -> Result<()> {
    let started = Instant::now();
    let mut output = output.as_os_str().to_owned();
    if Path::new(&output).is_dir() {
        output.push("/");
    }
    let mut child = Command::new("go")
        .args(["build", "-v", "-trimpath", "-ldflags", linker_flags, "-o"])
        .arg(output)
        .arg(packages)
        .current_dir(module_folder())
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start go build: is Go installed?")?;
    let output = child.stderr.take().context("go's standard error")?;
    let tail = follow(output, started);
    let status = child.wait()?;
    if !status.success() {
        bail!("go build ended with {status}:\n{}", Vec::from(tail).join("\n"));
    }
    Ok(())
}

/// Reads the build's output, which names each package when it is compiled; returns its end.
fn follow(output: impl Read, started: Instant) -> VecDeque<String> {
    let mut tail = VecDeque::with_capacity(SHOWN_LINES + 1);
    let mut said = Instant::now();
    for (index, line) in BufReader::new(output).lines().map_while(Result::ok).enumerate() {
        if said.elapsed() >= PROGRESS_INTERVAL {
            said = Instant::now();
            let packages = index + 1;
            say(&format!("  {packages} packages compiled, {} s", started.elapsed().as_secs()));
        }
        tail.push_back(line);
        if tail.len() > SHOWN_LINES {
            tail.pop_front();
        }
    }
    tail
}
