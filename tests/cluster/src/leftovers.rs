//! What a cluster leaves when even its keeper was killed, and the end of it.
//!
//! A cluster's folder is its record: its keeper holds a lock in it for as long as the cluster
//! lives. A folder whose lock is free belongs to a cluster that is dead. Its processes, mounts and
//! links went with its namespaces; its files and its empty cgroups are left, and are removed here.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::{cache, cache::remove_folder};

/// What the keeper calls itself in the list of processes.
pub(crate) const KEEPER_NAME: &str = "turnpike-cluster-keeper";

/// How many logs of failed runs are kept.
const KEPT_LOGS: usize = 5;

/// The folder with one folder for each cluster.
pub(crate) fn clusters_folder() -> Result<PathBuf> {
    Ok(cache::folder()?.join("clusters"))
}

/// The folder with the logs of each cluster, in its own folder: they may outlive it.
pub(crate) fn logs_folder() -> Result<PathBuf> {
    Ok(cache::folder()?.join("cluster-logs"))
}

/// The name of a cluster's cgroups.
pub(crate) fn cgroup_name(id: &str) -> String {
    format!("turnpike-{id}")
}

/// Removes what clusters left that are dead, and all but the newest logs.
///
/// # Errors
/// When something cannot be removed.
pub fn sweep() -> Result<()> {
    for folder in folders_in(&clusters_folder()?)? {
        if is_dead(&folder)? {
            let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            remove_cgroups(&cgroup_name(&id))?;
            remove_folder(&folder)?;
        }
    }
    let mut logs = folders_in(&logs_folder()?)?;
    logs.sort_by_key(|folder| folder.metadata().and_then(|meta| meta.modified()).ok());
    let old = logs.len().saturating_sub(KEPT_LOGS);
    logs[..old].iter().try_for_each(|folder| remove_folder(folder))
}

/// Whether nobody holds the lock of a cluster's folder.
fn is_dead(folder: &Path) -> Result<bool> {
    let Ok(lock) = File::open(folder.join("lock")) else {
        // Made just now, by a cluster whose keeper has not come so far; or by one that died then.
        let age = folder.metadata()?.modified()?.elapsed().unwrap_or_default();
        return Ok(age.as_secs() > 60);
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error).context("look at a cluster's lock"),
    }
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("list {}", folder.display())),
    }
}

/// Removes the cgroups `name` of every controller; they are empty when their processes have ended.
fn remove_cgroups(name: &str) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let mut tops = vec![root.join(name)];
    tops.extend(folders_in(root)?.into_iter().map(|controller| controller.join(name)));
    tops.iter().filter(|top| top.is_dir()).try_for_each(|top| remove_cgroup(top))
}

fn remove_cgroup(folder: &Path) -> Result<()> {
    for below in folders_in(folder)?.iter().filter(|below| below.is_dir()) {
        remove_cgroup(below)?;
    }
    fs::remove_dir(folder).with_context(|| format!("remove the cgroup {}", folder.display()))
}
