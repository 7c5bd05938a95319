//! How large a cluster is, and where its nodes say they are.

/// What a cluster is to be like.
#[derive(Debug, Clone)]
pub struct Options {
    /// One node for each, with these labels.
    pub nodes: Vec<Placement>,
}

/// A node's labels of topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// `topology.kubernetes.io/region`.
    pub region: String,
    /// `topology.kubernetes.io/zone`.
    pub zone: String,
}

impl Options {
    /// `count` nodes, alternately in the regions `east` and `west`, each in a zone of its own.
    #[must_use]
    pub fn with_nodes(count: u8) -> Self {
        let placement = |index: u8| {
            let region = if index.is_multiple_of(2) { "east" } else { "west" };
            let zone = char::from(b'a' + index / 2);
            Placement { region: region.to_owned(), zone: format!("{region}-{zone}") }
        };
        Self { nodes: (0..count).map(placement).collect() }
    }
}

impl Default for Options {
    /// Two nodes in two regions.
    fn default() -> Self {
        Self::with_nodes(2)
    }
}
