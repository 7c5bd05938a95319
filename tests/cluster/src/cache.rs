//! What is built once and kept between runs, outside the checkout.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

/// The folder of everything that outlives a run: `turnpike` in the user's cache folder.
///
/// # Errors
/// When neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn folder() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = match (set("XDG_CACHE_HOME"), set("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => Path::new(&home).join(".cache"),
        (None, None) => anyhow::bail!("neither XDG_CACHE_HOME nor HOME is set"),
    };
    Ok(cache.join("turnpike"))
}

/// The first 16 hexadecimal digits of the SHA-256 of the files, one after another.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn key(files: &[PathBuf]) -> Result<String> {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(fs::read(file).with_context(|| format!("read {}", file.display()))?);
    }
    Ok(hex(&hash.finalize())[..16].to_owned())
}

/// The first 16 hexadecimal digits of the SHA-256 of a text.
#[must_use]
pub fn text_key(text: &str) -> String {
    hex(&Sha256::digest(text))[..16].to_owned()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The cache's entry `name`, made by `build` in a sibling folder that takes its name only when it
/// is whole. Of several processes that want the same entry one builds, and the others wait for it.
///
/// # Errors
/// When the build fails; the sibling is left for a look, and the next build starts anew.
pub fn entry(name: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let finished = folder()?.join(name);
    if finished.is_dir() {
        return Ok(finished);
    }
    fs::create_dir_all(folder()?)?;
    let lock = File::create(folder()?.join(format!("{name}.lock")))?;
    flock(&lock, FlockOperation::LockExclusive).context("wait for another build")?;
    if finished.is_dir() {
        return Ok(finished);
    }
    let unfinished = folder()?.join(format!("{name}.building"));
    remove_folder(&unfinished)?;
    fs::create_dir_all(&unfinished)?;
    build(&unfinished)?;
    fs::rename(&unfinished, &finished)?;
    Ok(finished)
}

/// Removes a folder with all that is in it; one that is not there is no error.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Says what is going on, on standard error: a test binary's standard output is its report.
pub(crate) fn say(line: &str) {
    // A closed standard error must not end a run that is going well.
    let _ = writeln!(std::io::stderr(), "{line}");
}
