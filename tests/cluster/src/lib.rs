//! A real Kubernetes cluster on one machine, for the end-to-end tests.
//!
//! [`Cluster::start`] boots etcd, the API server, the controller manager and the scheduler, and a
//! node for each [`Placement`]: a network namespace with its own containerd, kubelet and
//! kube-proxy. A pod with `hostNetwork` really listens on its node's address, `nft` in
//! [`Node::nft`] really is that node's firewall, and [`Cluster::client_host`] makes hosts beside the
//! nodes for clients and peers. No container engine and no virtual machine take part.
//!
//! Everything runs inside namespaces of the cluster's own (see `enclosure`), so several clusters
//! can live beside each other, the machine sees nothing of them, and nothing is left behind.
//! What listens on the machine itself is one port on its loopback that leads to the API server.
//!
//! When `KUBECONFIG` names a cluster, [`Cluster::given_or_start`] uses that one instead, and tests
//! that reach into a node are skipped by name (see [`requirement`]).

mod binaries;
pub mod cache;
mod client_host;
mod cluster;
mod control_plane;
pub mod deadline;
mod enclosure;
mod image_archive;
pub mod images;
mod interrupt;
mod leftovers;
mod loopback;
mod network;
mod node;
mod options;
mod pki;
mod processes;
mod programs;
pub mod requirement;

pub use binaries::{Binaries, SANDBOX_IMAGE};
pub use cache::folder as cache_folder;
pub use client_host::ClientHost;
pub use cluster::Cluster;
pub use leftovers::sweep;
pub use node::Node;
pub use options::{Options, Placement};
pub use processes::{Running, output};
pub use programs::program;
