//! What a test needs of the machine, and a test that names it when it is missing.
//!
//! An end-to-end test cannot run everywhere: it may need root, a program from the distribution, or
//! a node whose firewall it may change. Such a test must not fail where it cannot run, and must not
//! vanish either. [`trial`] makes a test that reports itself as *ignored, with the reason*, which
//! `cargo xtask test` counts and repeats at its end.

use std::path::{Path, PathBuf};

use libtest_mimic::{Completion, Failed, Trial};

use crate::images;

/// One thing that a test needs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// The effective user is root: network namespaces, nftables, mounts.
    Root,
    /// A program on the path, by its name; the second field is the Debian package that has it.
    Program(&'static str, &'static str),
    /// A cluster, ours or the one that `KUBECONFIG` names.
    Cluster,
    /// A cluster that we made: the test reaches into the nodes' network namespaces.
    OwnCluster,
    /// The images of the relay and the operator, as `cargo xtask image` leaves them.
    Images,
}

/// The programs that a cluster of ours consists of, and their Debian packages.
const CLUSTER_PROGRAMS: &[Requirement] = &[
    Requirement::Program("go", "golang-go"),
    Requirement::Program("containerd", "containerd"),
    Requirement::Program("runc", "runc"),
    Requirement::Program("nft", "nftables"),
    Requirement::Program("conntrack", "conntrack"),
    Requirement::Program("ip", "iproute2"),
    Requirement::Program("nsenter", "util-linux"),
];

impl Requirement {
    /// Why this is not met here, as a phrase for a person; none when it is met.
    #[must_use]
    pub fn unmet(self) -> Option<String> {
        match self {
            Self::Root => (!rustix::process::geteuid().is_root()).then(|| "needs root".to_owned()),
            Self::Program(program, package) => program_path(program)
                .is_none()
                .then(|| format!("needs the program {program} (Debian package {package})")),
            Self::Cluster if given_kubeconfig().is_some() => None,
            Self::Cluster => own_cluster_unmet(),
            Self::OwnCluster if given_kubeconfig().is_some() => {
                Some("reaches into a node, and KUBECONFIG names a cluster".to_owned())
            }
            Self::OwnCluster => own_cluster_unmet(),
            Self::Images if given_kubeconfig().is_some() => None,
            Self::Images => images::Image::ALL
                .iter()
                .find(|image| !image.archive().is_file())
                .map(|image| format!("needs the {} image: run cargo xtask image", image.name())),
        }
    }
}

fn own_cluster_unmet() -> Option<String> {
    Requirement::Root
        .unmet()
        .or_else(|| CLUSTER_PROGRAMS.iter().find_map(|program| program.unmet()))
}

/// The kubeconfig of the cluster that the user wants the tests to run on, from `KUBECONFIG`.
#[must_use]
pub fn given_kubeconfig() -> Option<PathBuf> {
    std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Where a program is, looked up as a shell does, and in the system folders besides: a user's path
/// often lacks `/usr/sbin`, where `nft` and `containerd`'s friends are.
#[must_use]
pub fn program_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The first of `requirements` that is not met, as the reason to skip a test.
#[must_use]
pub fn first_unmet(requirements: &[Requirement]) -> Option<String> {
    requirements.iter().find_map(|requirement| requirement.unmet())
}

/// A test that runs where its requirements are met, and is reported as ignored, by its name and
/// with the reason, where they are not.
///
/// The error of a failed test is printed with its whole chain of causes.
///
/// ```no_run
/// use cluster::requirement::{Requirement, trial};
/// let arguments = libtest_mimic::Arguments::from_args();
/// let trials = vec![trial("forwards", &[Requirement::Root], || Ok(()))];
/// libtest_mimic::run(&arguments, trials).exit();
/// ```
#[must_use]
pub fn trial(
    name: &str,
    requirements: &'static [Requirement],
    run: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || {
        if let Some(reason) = first_unmet(requirements) {
            return Ok(Completion::ignored_with(reason));
        }
        run().map(|()| Completion::Completed).map_err(|error| Failed::from(causes(&error)))
    })
}

/// An error and its causes, a line each; its backtrace would only show the harness.
fn causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join("\nbecause: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let reason = Requirement::Program("no-such-program", "its-package").unmet();
        assert_eq!(
            reason.as_deref(),
            Some("needs the program no-such-program (Debian package its-package)")
        );
        assert_eq!(Requirement::Program("sh", "dash").unmet(), None);
    }
}
