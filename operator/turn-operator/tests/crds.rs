//! The generated files are those that the types make.

use std::{fs, path::Path};

#[test]
fn the_crds_are_those_that_the_types_make() {
    let made = serde_saphyr::to_string(&turn_api::crd()).expect("a CRD is YAML");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for file in [
        "crds/turnservers.turnpike.dev.yaml",
        "charts/turnpike/files/turnservers.turnpike.dev.yaml",
    ] {
        let stored = fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(stored == made, "{file} is not what the types make: run `cargo xtask crds`");
    }
}
