//! Files as Kubernetes mounts a ConfigMap or a Secret: `name` is a symbolic link to `..data/name`, and
//! `..data` one to a folder that is never written to again.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// A mounted folder.
pub(crate) struct Mount(PathBuf);

static VERSION: AtomicU64 = AtomicU64::new(0);

impl Mount {
    /// An empty one.
    pub(crate) fn new(folder: &Path) -> Self {
        fs::create_dir(folder).expect("a folder");
        Self(folder.to_owned())
    }

    /// Where a file is found.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Replaces all files at once.
    pub(crate) fn put(&self, files: &[(&str, &str)]) {
        let version = format!("..version_{}", VERSION.fetch_add(1, Ordering::Relaxed));
        fs::create_dir(self.0.join(&version)).expect("a folder");
        for (name, text) in files {
            fs::write(self.0.join(&version).join(name), text).expect("written");
            if !self.path(name).is_symlink() {
                symlink(Path::new("..data").join(name), self.path(name)).expect("linked");
            }
        }
        symlink(&version, self.0.join("..data_tmp")).expect("linked");
        fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).expect("renamed");
    }
}
