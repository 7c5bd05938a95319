//! What tests may leave behind on the machine: processes, network namespaces, mounts, links,
//! cgroups. Seen before and after, the difference is theirs.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// The programs that tests start; others of the machine come and go meanwhile.
const PROGRAMS: [&str; 8] =
    ["turn", "kube", "etcd", "containerd", "runc", "nsenter", "sandbox", "chrom"];

/// How long a process may take to go.
const MOMENT: Duration = Duration::from_secs(10);

/// What there is of such things at a moment.
#[derive(Debug)]
pub(crate) struct Leavings {
    seen: BTreeSet<String>,
}

impl Leavings {
    /// Looks at the machine.
    pub(crate) fn look() -> Self {
        let mut seen = BTreeSet::new();
        seen.extend(names("/sys/class/net").map(|name| format!("link {name}")));
        seen.extend(names("/run/netns").map(|name| format!("network namespace {name}")));
        seen.extend(mounts());
        seen.extend(cgroups());
        seen.extend(names("/proc").filter_map(|process| program(&process)));
        Self { seen }
    }

    /// What has come since then and stays: a process that a test has ended may take a moment.
    pub(crate) fn new_since(&self) -> Vec<String> {
        let deadline = Instant::now() + MOMENT;
        loop {
            let left: Vec<_> = Self::look().seen.difference(&self.seen).cloned().collect();
            if left.is_empty() || Instant::now() >= deadline {
                return left;
            }
            std::thread::sleep(MOMENT / 20);
        }
    }
}

/// The names in a folder; none if there is no such folder.
fn names(folder: impl AsRef<Path>) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn mounts() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let place = |line: &str| line.split(' ').nth(1).map(|place| format!("mount {place}"));
    mounts.lines().filter_map(place).collect()
}

/// The cgroups of each controller, as far as clusters and tests make them.
fn cgroups() -> Vec<String> {
    let root = Path::new("/sys/fs/cgroup");
    let of_controller = |controller: String| {
        let folders = names(root.join(&controller)).filter(|name| name.starts_with("turnpike-"));
        folders.map(move |name| format!("cgroup {controller}/{name}")).collect::<Vec<_>>()
    };
    names(root).flat_map(of_controller).collect()
}

/// A process that runs one of the programs, with its number.
fn program(process: &str) -> Option<String> {
    let number: u32 = process.parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{number}/comm")).ok()?;
    let name = name.trim_end();
    let is_ours = PROGRAMS.iter().any(|program| name.starts_with(program));
    is_ours.then(|| format!("process {number} {name}"))
}
