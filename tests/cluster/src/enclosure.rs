//! The namespaces that a whole cluster lives in, and a sure way to end them.
//!
//! Everything of a cluster runs below one first process in a PID namespace, a mount namespace and
//! a network namespace of its own, so nothing of it shows on the machine: no link, no route, no
//! firewall rule, no mount. The first process ends when a pipe closes that this process holds, so
//! the cluster cannot outlive its test, not even when the test is killed.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{deadline, leftovers, processes};

const KEEPER: &str = include_str!("enclosure/keeper.sh");
const INIT: &str = include_str!("enclosure/init.sh");

/// How long the keeper may take to end everything and to tidy up.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The namespaces of a cluster.
#[derive(Debug)]
pub(crate) struct Enclosure {
    /// The first process, by its number on the machine.
    init: u32,
    /// The process that tidies up, and the pipe that keeps the first process; taken by `stop`.
    keeper: Mutex<Option<(Child, ChildStdin)>>,
}

impl Enclosure {
    /// Makes the namespaces; `folder` is the cluster's, and goes when the enclosure ends.
    pub(crate) fn start(folder: &Path, cgroup: &str) -> Result<Self> {
        let mut keeper = Command::new("bash")
            .args(["-c", KEEPER, leftovers::KEEPER_NAME])
            .arg(folder)
            .args([cgroup, INIT])
            .env("PATH", search_path())
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start the keeper of the cluster's namespaces")?;
        let pipe = keeper.stdin.take().context("the keeper's standard input")?;
        wait_ready(&mut keeper)?;
        let init = processes::only_child(keeper.id())
            .and_then(processes::only_child)
            .context("find the first process of the cluster")?;
        Ok(Self { init, keeper: Mutex::new(Some((keeper, pipe))) })
    }

    /// The namespace file of a network of the enclosure: one that was made by `ip netns add`
    /// inside, or the control plane's.
    pub(crate) fn network_file(&self, network: Option<&str>) -> PathBuf {
        let process = format!("/proc/{}", self.init);
        match network {
            // Reached through the first process: the machine itself has no such file.
            Some(name) => PathBuf::from(format!("{process}/root/run/netns/{name}")),
            None => PathBuf::from(format!("{process}/ns/net")),
        }
    }

    /// A command inside: in the network namespace `network`, or in the control plane's.
    ///
    /// It sees the enclosure's mounts and starts in `/`, so its arguments must be absolute paths.
    /// It ends when the returned command's own process is killed.
    pub(crate) fn command(&self, network: Option<&str>, program: impl AsRef<OsStr>) -> Command {
        let mut network_argument = std::ffi::OsString::from("--net=");
        network_argument.push(self.network_file(network));
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init))
            .args(["--mount", "--pid", "--ipc"])
            .arg(network_argument)
            // nsenter waits outside for the program inside, which must not outlive it.
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program)
            .env("PATH", search_path());
        command
    }

    /// Runs a command inside to its end and returns what it printed.
    pub(crate) fn run(
        &self,
        network: Option<&str>,
        program: &str,
        arguments: &[&str],
    ) -> Result<String> {
        let mut command = self.command(network, program);
        processes::output(command.args(arguments))
    }

    /// Ends every process of the cluster and waits until nothing is left of it.
    pub(crate) fn stop(&self) -> Result<()> {
        let taken = self.keeper.lock().ok().and_then(|mut keeper| keeper.take());
        let Some((mut keeper, pipe)) = taken else { return Ok(()) };
        drop(pipe);
        let ended = deadline::until("the cluster's processes to end", STOP_LIMIT, || {
            Ok(keeper.try_wait()?)
        })?;
        ensure!(ended.success(), "the keeper could not tidy up: it ended with {ended}");
        Ok(())
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        // An error was for `stop` to report; here the pipe is closed in any case.
        let _ = self.stop();
    }
}

/// Waits for the first process to say that its mounts are made.
fn wait_ready(keeper: &mut Child) -> Result<()> {
    let stdout = keeper.stdout.take().context("the keeper's standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.trim() == "ready" {
        return Ok(());
    }
    let mut error = String::new();
    if let Some(mut stderr) = keeper.stderr.take() {
        stderr.read_to_string(&mut error)?;
    }
    bail!("cannot make the cluster's namespaces: {}", error.trim());
}

/// The path with the system's folders, which a user's path may lack.
fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}

/// Makes the cgroup `name` in every controller, for kubelet to put its pods in.
///
/// A cpuset of cgroup v1 starts empty, and nothing can run in it until it has processors and
/// memory. A folder of cgroup v2 has the controllers that its parent passes on.
pub(crate) fn make_cgroup(name: &str) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").is_file() {
        return make_unified(root, name);
    }
    for controller in fs::read_dir(root)?.filter_map(Result::ok) {
        // Combined controllers, as cpu,cpuacct, have links by their single names.
        if !controller.file_type()?.is_dir() {
            continue;
        }
        let mut folder = controller.path();
        for part in Path::new(name) {
            let parent = folder.clone();
            folder.push(part);
            fs::create_dir_all(&folder)?;
            for setting in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = fs::read_to_string(parent.join(setting)) {
                    fs::write(folder.join(setting), value)?;
                }
            }
        }
    }
    Ok(())
}

fn make_unified(root: &Path, name: &str) -> Result<()> {
    let mut folder = root.to_owned();
    for part in Path::new(name) {
        for controller in ["+cpuset", "+cpu", "+io", "+memory", "+pids", "+hugetlb"] {
            // A machine may lack a controller; kubelet names those that it misses.
            let _ = fs::write(folder.join("cgroup.subtree_control"), controller);
        }
        folder.push(part);
        fs::create_dir_all(&folder)?;
    }
    Ok(())
}
