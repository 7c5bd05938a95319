//! What is dropped on a node.

use std::io::{Write as _, stderr};

use anyhow::Result;
use cluster::Node;

/// Rules of a node's firewall for what comes in, until they end.
pub(crate) struct Cut<'a> {
    node: &'a Node,
    is_over: bool,
}

impl<'a> Cut<'a> {
    pub(crate) fn new(node: &'a Node, rules: &str) -> Result<Self> {
        node.nft(&format!(
            "table ip incident {{\nchain input {{\ntype filter hook input priority filter\n{rules}\n}}\n}}"
        ))?;
        Ok(Self { node, is_over: false })
    }

    /// Lets everything in again.
    pub(crate) fn end(mut self) -> Result<()> {
        self.is_over = true;
        self.node.nft("delete table ip incident").map(drop)
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if !self.is_over
            && let Err(error) = self.node.nft("delete table ip incident")
        {
            let name = self.node.name();
            let _unread = writeln!(stderr(), "a rule is left on {name}: {error:#}");
        }
    }
}
