//! The custom resource definitions as files.

use std::fs;

use anyhow::{Context, Result};

use crate::console;

/// The file from the root of the workspace.
const FILE: &str = "crds/turnservers.turnpike.dev.yaml";

/// Writes the definitions that the operator prints from its types.
///
/// # Errors
/// When the operator does not build, or the file cannot be written.
pub(crate) fn write() -> Result<()> {
    let mut operator =
        console::cargo(&["run", "--quiet", "--package", "turn-operator", "--", "crd"]);
    let definitions = cluster::output(&mut operator)?;
    let path = cluster::images::workspace_folder().join(FILE);
    fs::write(&path, definitions).with_context(|| format!("write {}", path.display()))?;
    console::line(&format!("Wrote {FILE}"));
    Ok(())
}
