//! The container images of this workspace: their names, and where `cargo xtask image` leaves them.

use std::path::{Path, PathBuf};

/// An image that the workspace builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// The TURN server.
    Relay,
    /// The controller of `TurnServer` resources.
    Operator,
}

impl Image {
    /// Every image, in the order in which they are built.
    pub const ALL: [Self; 2] = [Self::Relay, Self::Operator];

    /// The last part of the image's name, and the stem of its archive.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Operator => "operator",
        }
    }

    /// The crate whose binary the image holds.
    #[must_use]
    pub const fn package(self) -> &'static str {
        match self {
            Self::Relay => "turn-relay",
            Self::Operator => "turn-operator",
        }
    }

    /// The folder of that crate, from the root of the workspace; its `Containerfile` is there.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Relay => "relay/turn-relay",
            Self::Operator => "operator/turn-operator",
        }
    }

    /// The image's name without its tag.
    #[must_use]
    pub fn repository(self) -> String {
        format!("localhost/turnpike/{}", self.name())
    }

    /// The image's tag: the workspace's version.
    #[must_use]
    pub const fn tag() -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// The image's full name.
    #[must_use]
    pub fn reference(self) -> String {
        format!("{}:{}", self.repository(), Self::tag())
    }

    /// The OCI archive of the image.
    #[must_use]
    pub fn archive(self) -> PathBuf {
        target_folder().join("images").join(format!("{}.tar", self.name()))
    }
}

/// The root of the workspace.
#[must_use]
pub fn workspace_folder() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.ancestors().nth(2).unwrap_or(crate_folder).to_owned()
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, or `target` in the workspace.
#[must_use]
pub fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => workspace_folder().join(folder),
        None => workspace_folder().join("target"),
    }
}
