//! What the tests need of Debian.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use anyhow::{Context, Result};
use cluster::requirement::{Requirement, program_path};

use crate::console;

/// A file that tells whether a package is there, and the package.
const PACKAGES: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("turnutils_uclient", "coturn"),
    ("/var/lib/dpkg/info/python3-venv.list", "python3-venv"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("buildah", "buildah"),
    ("setpriv", "util-linux"),
];

/// Installs the packages that are missing. Without root it names them: the tests that need them
/// are then skipped, by their names.
///
/// # Errors
/// When apt-get fails.
pub(crate) fn install() -> Result<()> {
    let missing: Vec<_> =
        PACKAGES.iter().filter(|(file, _)| !is_there(file)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        console::line("All of Debian's packages are there");
        return Ok(());
    }
    let list = missing.join(" ");
    if Requirement::Root.unmet().is_some() || program_path("apt-get").is_none() {
        console::line(&format!("Missing, and only root on Debian can install them: {list}"));
        return Ok(());
    }
    console::line(&format!("Installing {list}"));
    let _stopped = ServicesStayStopped::new()?;
    console::run(apt_get().args(["update", "--quiet"]))?;
    let install = ["install", "--yes", "--quiet", "--no-install-recommends"];
    console::run(apt_get().args(install).args(missing))
}

fn is_there(file: &str) -> bool {
    if file.starts_with('/') { Path::new(file).is_file() } else { program_path(file).is_some() }
}

fn apt_get() -> Command {
    let mut apt_get = Command::new("apt-get");
    apt_get.env("DEBIAN_FRONTEND", "noninteractive");
    apt_get
}

/// While it lives, no package that is installed starts its service: coturn and containerd would.
struct ServicesStayStopped {
    policy: Option<&'static Path>,
}

impl ServicesStayStopped {
    /// The script that Debian asks before it starts a service; a machine may have its own.
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    fn new() -> Result<Self> {
        let policy = Path::new(Self::POLICY);
        if policy.exists() {
            return Ok(Self { policy: None });
        }
        // 101: the action is forbidden by policy.
        fs::write(policy, "#!/bin/sh\nexit 101\n").context("forbid packages to start services")?;
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755))?;
        Ok(Self { policy: Some(policy) })
    }
}

impl Drop for ServicesStayStopped {
    fn drop(&mut self) {
        if let Some(policy) = self.policy {
            let _ = fs::remove_file(policy);
        }
    }
}
