//! The cluster's network: a range of addresses, a bridge, and a host on it for each node and client.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};

use crate::{enclosure::Enclosure, processes};

/// The second octets to choose from, in `10.0.0.0/8`.
const SECOND_OCTETS: std::ops::Range<u8> = 64..224;

/// The number of addresses for nodes, and of those for clients.
const MAX_NODES: u8 = 16;
const MAX_CLIENTS: u8 = 100;

/// The bridge of the cluster, in the control plane's namespace.
const BRIDGE: &str = "cluster0";

/// A /16 that is the cluster's own.
///
/// | addresses | whose |
/// | --- | --- |
/// | `10.x.0.1` | the control plane |
/// | `10.x.0.11` … | nodes |
/// | `10.x.0.101` … | clients and peers outside the nodes |
/// | `10.x.32.0/24` … | pods, a /24 for each node |
/// | `10.x.192.0/20` | Services |
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subnet {
    second_octet: u8,
}

impl Subnet {
    /// A range that no interface and no route of the machine touches: the cluster's own network is
    /// out of sight, but a test may compare its addresses with the machine's.
    pub(crate) fn choose() -> Result<Self> {
        let mut ip = std::process::Command::new("ip");
        let routes = processes::output(ip.args(["-4", "route", "show", "table", "all"]))?;
        Self::choose_beside(&routes)
    }

    fn choose_beside(routes: &str) -> Result<Self> {
        SECOND_OCTETS
            .map(|second_octet| Self { second_octet })
            .find(|subnet| !routes.contains(&format!("10.{}.", subnet.second_octet)))
            .context("every candidate for the cluster's range of addresses is in use")
    }

    fn address(self, third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.second_octet, third, fourth)
    }

    pub(crate) fn control_plane(self) -> Ipv4Addr {
        self.address(0, 1)
    }

    /// The address of node `index`, from 0.
    pub(crate) fn node(self, index: u8) -> Ipv4Addr {
        self.address(0, 11 + index)
    }

    /// The address of client `index`, from 0.
    pub(crate) fn client(self, index: u8) -> Result<Ipv4Addr> {
        ensure!(index < MAX_CLIENTS, "a cluster has room for {MAX_CLIENTS} client hosts");
        Ok(self.address(0, 101 + index))
    }

    /// The range of the pods of node `index`.
    pub(crate) fn pods(self, index: u8) -> String {
        format!("{}/24", self.address(32 + index, 0))
    }

    /// The range of the pods of all nodes.
    pub(crate) fn all_pods(self) -> String {
        format!("{}/19", self.address(32, 0))
    }

    pub(crate) fn services(self) -> String {
        format!("{}/20", self.address(192, 0))
    }

    /// The Service of the API server: the first address of the range.
    pub(crate) fn first_service(self) -> Ipv4Addr {
        self.address(192, 1)
    }

    /// Makes the bridge, and the control plane's address on it.
    pub(crate) fn build(self, enclosure: &Enclosure, nodes: u8) -> Result<()> {
        ensure!(nodes <= MAX_NODES, "a cluster has room for {MAX_NODES} nodes");
        let address = format!("{}/24", self.control_plane());
        let ip = |arguments: &str| run_ip(enclosure, None, arguments);
        ip(&format!("link add {BRIDGE} type bridge"))?;
        ip(&format!("address add {address} dev {BRIDGE}"))?;
        ip(&format!("link set {BRIDGE} up"))?;
        // The API server calls webhooks in pods, and forwards ports to them.
        (0..nodes).try_for_each(|index| self.route_pods(enclosure, None, index))
    }

    /// Makes the network namespace `name` with one link to the bridge.
    pub(crate) fn add_host(
        self,
        enclosure: &Enclosure,
        name: &str,
        address: Ipv4Addr,
    ) -> Result<()> {
        // A link's name has at most 15 bytes; the bridge's end is named by the address.
        let port = format!("port{}", address.octets()[3]);
        let ip = |arguments: &str| run_ip(enclosure, None, arguments);
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {port} type veth peer name eth0 netns {name}"))?;
        ip(&format!("link set {port} master {BRIDGE} up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        ip(&format!("-n {name} address add {address}/24 dev eth0"))?;
        ip(&format!("-n {name} link set eth0 up"))?;
        let default = format!("route add default via {}", self.control_plane());
        ip(&format!("-n {name} {default}"))
    }

    /// Makes a node of the host that `add_host` made: it forwards, and knows the others' pods.
    pub(crate) fn add_node(self, enclosure: &Enclosure, index: u8, nodes: u8) -> Result<()> {
        let name = node_name(index);
        self.add_host(enclosure, &name, self.node(index))?;
        for other in (0..nodes).filter(|other| *other != index) {
            self.route_pods(enclosure, Some(&name), other)?;
        }
        let forwarding = "echo 1 >/proc/sys/net/ipv4/ip_forward";
        enclosure.run(Some(&name), "bash", &["-c", forwarding])?;
        // A pod that talks to the outside has the node's address there, as with any provider.
        let pods = self.all_pods();
        let masquerade = format!(
            "table ip turnpike-pods {{\n\
             chain postrouting {{\n\
             type nat hook postrouting priority srcnat\n\
             ip saddr {} ip daddr != {pods} masquerade\n\
             }}\n}}",
            self.pods(index)
        );
        enclosure.run(Some(&name), "nft", &[&masquerade]).map(drop)
    }

    fn route_pods(self, enclosure: &Enclosure, network: Option<&str>, index: u8) -> Result<()> {
        let (pods, node) = (self.pods(index), self.node(index));
        // Before the node's link is up its address is not reachable yet: onlink.
        let device = if network.is_some() { "eth0" } else { BRIDGE };
        run_ip(enclosure, network, &format!("route add {pods} via {node} dev {device} onlink"))
    }
}

/// The name of node `index`, from 0, which is also that of its network namespace.
pub(crate) fn node_name(index: u8) -> String {
    format!("node{}", index + 1)
}

fn run_ip(enclosure: &Enclosure, network: Option<&str>, arguments: &str) -> Result<()> {
    let words: Vec<_> = arguments.split(' ').collect();
    enclosure.run(network, "ip", &words).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_the_machine_routes_is_left_alone() {
        let subnet =
            Subnet::choose_beside("10.64.0.0/16 dev eth0\n10.65.3.0/24 dev eth1\n").unwrap();
        assert_eq!(subnet.control_plane(), Ipv4Addr::new(10, 66, 0, 1));
    }
}
