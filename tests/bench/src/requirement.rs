//! What a run needs of the machine.

use std::path::Path;

use anyhow::{Result, bail};

/// Programs, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 8] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("taskset", "util-linux"),
    ("chrt", "util-linux"),
    ("setsid", "util-linux"),
    ("setpriv", "util-linux"),
    ("nice", "coreutils"),
    ("turnserver", "coturn"),
];

/// Names all that is missing.
///
/// # Errors
/// When anything is.
pub(crate) fn check() -> Result<()> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root, for network namespaces".to_owned());
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        missing.push("two cores, one for the server and one for the load".to_owned());
    }
    for (program, package) in PROGRAMS {
        if !is_on_path(program) {
            missing.push(format!("{program}, from the Debian package {package}"));
        }
    }
    if !missing.is_empty() {
        bail!("this benchmark needs {}", missing.join("; "));
    }
    Ok(())
}

/// The path with the system's folders, which a user's path may lack.
pub(crate) fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}

fn is_on_path(program: &str) -> bool {
    search_path().split(':').any(|folder| Path::new(folder).join(program).is_file())
}
