//! Two hosts and a cable between them, where a test may have any address that it likes.

use std::{
    fs::File,
    os::fd::AsRawFd,
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace without a name: it goes with the value, and with the processes in it.
pub(crate) struct Host {
    namespace: File,
}

impl Host {
    fn new() -> anyhow::Result<Self> {
        let namespace = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        })?;
        let host = Self { namespace };
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// Does something on the host, in a thread of its own. Sockets and processes that are made
    /// there stay there.
    pub(crate) fn run<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        in_thread(|| {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET).context("enter a namespace")?;
            work()
        })
    }

    /// Runs `ip` with arguments that hold no spaces.
    pub(crate) fn ip(&self, arguments: &str) -> anyhow::Result<()> {
        self.run(|| {
            let mut command = Command::new("ip");
            let output = command.args(arguments.split(' ')).stdin(Stdio::null()).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "ip {arguments}: {said}");
            Ok(())
        })
    }
}

fn in_thread<T: Send>(work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    let joined = std::thread::scope(|scope| scope.spawn(work).join());
    joined.unwrap_or_else(|_| bail!("a thread of a host has panicked"))
}

/// Two hosts, each with a link named `cable`.
pub(crate) fn two_hosts() -> anyhow::Result<[Host; 2]> {
    let hosts = [Host::new()?, Host::new()?];
    let descriptor = hosts[1].namespace.as_raw_fd();
    let other = format!("/proc/{}/fd/{descriptor}", std::process::id());
    hosts[0].ip(&format!("link add cable type veth peer name cable netns {other}"))?;
    for host in &hosts {
        host.ip("link set cable up")?;
    }
    Ok(hosts)
}
