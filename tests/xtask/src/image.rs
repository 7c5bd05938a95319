//! The container images: static binaries on nothing, as OCI archives.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use cluster::images::{Image, target_folder, workspace_folder};

use crate::console;

/// Builds the images of the relay and the operator into `images` in the target folder.
///
/// # Errors
/// When a binary does not build, or buildah is missing or fails.
pub(crate) fn build() -> Result<()> {
    build_binaries()?;
    Image::ALL.iter().try_for_each(|image| build_image(*image))
}

/// The target of the static binaries: this machine's processor, and glibc.
fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Builds the binaries without any library of the system: an image then has nothing else in it.
/// Naming the target keeps the setting away from build scripts, which must load macros.
fn build_binaries() -> Result<()> {
    let target = target();
    let setting = format!("target.{target}.rustflags=['-C', 'target-feature=+crt-static']");
    let mut cargo = console::cargo(&["build", "--release", "--target", &target]);
    cargo.args(["--config", &setting, "--config", "profile.release.strip='debuginfo'"]);
    for image in Image::ALL {
        cargo.args(["--package", image.package()]);
    }
    console::run(&mut cargo)
}

fn build_image(image: Image) -> Result<()> {
    let context = fill_context(image)?;
    let archive = image.archive();
    let reference = image.reference();
    let containerfile = workspace_folder().join(image.folder()).join("Containerfile");
    let mut build = buildah();
    // The time is fixed so that the same binary makes the same image.
    build.args(["build", "--quiet", "--isolation", "chroot", "--timestamp", "0", "--tag"]);
    build.arg(&reference).arg("--file").arg(containerfile).arg(context);
    console::run(&mut build).context("build the image: is buildah installed?")?;
    // The archive's name is final only when it is whole.
    let unfinished = archive.with_extension("unfinished");
    remove(&unfinished)?;
    let destination = format!("oci-archive:{}:{reference}", unfinished.display());
    console::run(buildah().args(["push", "--quiet", &reference, &destination]))?;
    fs::rename(&unfinished, &archive)?;
    console::line(&format!("{reference}: {}", archive.display()));
    Ok(())
}

/// The folder with the binary: all that the Containerfile wants.
fn fill_context(image: Image) -> Result<PathBuf> {
    let context = target_folder().join("images").join(image.name());
    fs::create_dir_all(&context)?;
    let built = target_folder().join(target()).join("release").join(image.package());
    fs::copy(&built, context.join(image.package()))
        .with_context(|| format!("copy {}", built.display()))?;
    Ok(context)
}

/// buildah with a store of its own in the target folder: no container engine of the machine takes
/// part, and `cargo clean` removes it.
fn buildah() -> Command {
    let store = target_folder().join("images/store");
    let mut buildah = Command::new("buildah");
    buildah.args(["--storage-driver", "vfs"]);
    buildah.arg("--root").arg(store.join("root")).arg("--runroot").arg(store.join("run"));
    buildah
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
