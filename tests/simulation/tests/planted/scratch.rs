//! A copy of the crates that the simulation is made of, in which bugs are planted.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::bugs::{Bug, Change};

/// The crates, and where they are in the workspace.
const CRATES: [&str; 5] = [
    "relay/turn-auth",
    "relay/turn-client",
    "relay/turn-proto",
    "relay/turn-wire",
    "tests/simulation",
];

/// How many seeds a bug has to be found by.
const SEEDS: &str = "3000";

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A small workspace of its own, kept below the target directory.
pub(crate) struct Scratch {
    root: PathBuf,
}

impl Scratch {
    /// The crates as they are.
    pub(crate) fn copy() -> io::Result<Self> {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
        let from = workspace();
        for name in CRATES {
            let _old = fs::remove_dir_all(root.join(name).join("src"));
            copy(&from.join(name).join("src"), &root.join(name).join("src"))?;
            write_changed(&root.join(name).join("Cargo.toml"), &manifest(&from.join(name))?)?;
        }
        let manifest = fs::read_to_string(from.join("Cargo.toml"))?;
        write_changed(&root.join("Cargo.toml"), &with_members(&manifest))?;
        fs::copy(from.join("Cargo.lock"), root.join("Cargo.lock"))?;
        Ok(Self { root })
    }

    /// Builds the simulation and runs it: whether no promise was broken, and what it said.
    pub(crate) fn simulate(&self) -> io::Result<(bool, String)> {
        let target = self.root.join("target");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--package", "simulation", "--target-dir"])
            .arg(&target)
            .env_remove("CARGO_TARGET_DIR")
            // A bug may leave something unused.
            .env("RUSTFLAGS", "--cap-lints allow")
            .current_dir(&self.root)
            .output()?;
        if !built.status.success() {
            return Err(io::Error::other(format!("it does not build: {}", text(&built))));
        }
        let simulation = target.join("debug/simulation");
        let ran = Command::new(simulation).args(["--count", SEEDS]).output()?;
        Ok((ran.status.success(), text(&ran)))
    }

    /// The same, with a bug.
    pub(crate) fn simulate_with(&self, bug: &Bug) -> io::Result<(bool, String)> {
        let mut kept = Vec::new();
        for Change { file, text, instead } in bug.changes {
            let path = self.root.join("relay").join(file);
            let source = fs::read_to_string(&path)?;
            fs::write(&path, source.replacen(text, instead, 1))?;
            kept.push((path, source));
        }
        let outcome = self.simulate();
        for (path, source) in kept.into_iter().rev() {
            fs::write(path, source)?;
        }
        outcome
    }
}

/// What a crate is made of, without what only its tests need.
fn manifest(folder: &Path) -> io::Result<String> {
    let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
    Ok(manifest.split("[dev-dependencies]").next().unwrap_or_default().to_owned())
}

/// The workspace's manifest, with these crates only.
fn with_members(manifest: &str) -> String {
    let members = format!("members = {CRATES:?}");
    let line = |line: &str| {
        if line.starts_with("members = ") { members.clone() } else { line.to_owned() }
    };
    manifest.lines().map(|text| line(text) + "\n").collect()
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// What is not changed is not built again.
fn write_changed(path: &Path, content: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::write(path, content)
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}
