//! Machines outside the cluster's nodes, on the same network: clients and peers.

use std::{net::Ipv4Addr, path::PathBuf, process::Command, sync::Arc};

use anyhow::Result;

use crate::{enclosure::Enclosure, processes::Running};

/// A host beside the nodes: a network namespace with an address, and nothing of Kubernetes.
#[derive(Debug, Clone)]
pub struct ClientHost {
    name: String,
    address: Ipv4Addr,
    enclosure: Arc<Enclosure>,
    logs: PathBuf,
}

impl ClientHost {
    pub(crate) fn new(
        name: &str,
        address: Ipv4Addr,
        enclosure: Arc<Enclosure>,
        logs: PathBuf,
    ) -> Self {
        Self { name: name.to_owned(), address, enclosure, logs }
    }

    /// The host's name, that of its network namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A command on the host. Its arguments must be absolute paths.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.enclosure.command(Some(&self.name), program)
    }

    /// Starts a program on the host that runs until the returned value is dropped; its log is named
    /// by `name`, among the cluster's.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, name: &str, program: &str, arguments: &[&str]) -> Result<Running> {
        let mut command = self.command(program);
        command.args(arguments);
        Running::start(name, command, &self.logs.join(format!("{name}.log")))
    }
}
