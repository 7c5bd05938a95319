//! An OCI image of a single static program, written without a container engine.

use std::{fs::File, path::Path};

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cache::hex;

/// A blob of the archive: its media type and its bytes.
struct Blob {
    media_type: &'static str,
    bytes: Vec<u8>,
}

impl Blob {
    fn digest(&self) -> String {
        hex(&Sha256::digest(&self.bytes))
    }

    fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.media_type,
            "digest": format!("sha256:{}", self.digest()),
            "size": self.bytes.len(),
        })
    }
}

/// Writes the OCI archive of image `name`, whose only file and entry point is `/program`.
///
/// # Errors
/// When the archive cannot be written.
pub(crate) fn write(archive: &Path, name: &str, program: &str, executable: &[u8]) -> Result<()> {
    let layer = Blob {
        media_type: "application/vnd.oci.image.layer.v1.tar",
        bytes: layer(program, executable)?,
    };
    let config = Blob {
        media_type: "application/vnd.oci.image.config.v1+json",
        bytes: config(program, &layer).to_string().into_bytes(),
    };
    let manifest = Blob {
        media_type: "application/vnd.oci.image.manifest.v1+json",
        bytes: manifest(&config, &layer).to_string().into_bytes(),
    };
    let mut tar = tar::Builder::new(File::create(archive)?);
    add(&mut tar, "oci-layout", 0o644, json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
    add(&mut tar, "index.json", 0o644, index(name, &manifest).to_string())?;
    for blob in [&layer, &config, &manifest] {
        add(&mut tar, &format!("blobs/sha256/{}", blob.digest()), 0o644, &blob.bytes)?;
    }
    tar.into_inner()?.sync_all()?;
    Ok(())
}

fn layer(program: &str, executable: &[u8]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, program, 0o755, executable)?;
    Ok(tar.into_inner()?)
}

fn config(program: &str, layer: &Blob) -> Value {
    json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Entrypoint": [format!("/{program}")], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest())]},
    })
}

fn manifest(config: &Blob, layer: &Blob) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    })
}

fn index(name: &str, manifest: &Blob) -> Value {
    let mut descriptor = manifest.descriptor();
    // The annotation by which containerd names an imported image.
    descriptor["annotations"] = json!({"io.containerd.image.name": name});
    json!({"schemaVersion": 2, "manifests": [descriptor]})
}

fn add<W: std::io::Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    mode: u32,
    bytes: impl AsRef<[u8]>,
) -> Result<()> {
    let bytes = bytes.as_ref();
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_cksum();
    tar.append_data(&mut header, path, bytes)?;
    Ok(())
}
