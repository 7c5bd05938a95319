//! Which crate may link which.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// The crates that end up in a build of `package` for Linux, with the features it asks for itself.
fn linked(package: &str) -> BTreeSet<String> {
    let target = "x86_64-unknown-linux-gnu";
    let tree = [
        "tree",
        "--package",
        package,
        "--target",
        target,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    cargo(&tree).lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn assert_never_links(package: &str, banned: &[&str]) {
    let linked = linked(package);
    assert!(linked.contains(package), "cargo tree lists the package itself");
    for name in banned {
        let found: Vec<_> =
            linked.iter().filter(|crate_name| is_of_family(crate_name, name)).collect();
        assert!(found.is_empty(), "{package} must never link {name}, and links {found:?}");
    }
}

/// Whether a crate is `name` or one of the crates that it is made of: kube-core is kube.
fn is_of_family(crate_name: &str, name: &str) -> bool {
    crate_name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[test]
fn pure_cores_link_no_runtime_and_no_system() {
    for package in ["turn-wire", "turn-auth", "turn-proto", "turn-client"] {
        assert_never_links(package, &["tokio", "socket2", "libc", "mio", "kube"]);
    }
}

#[test]
fn the_relay_links_no_kubernetes() {
    assert_never_links("turn-relay", &["kube", "k8s-openapi"]);
}

#[test]
fn the_operator_links_no_server() {
    assert_never_links("turn-operator", &["turn-proto", "turn-net", "turn-relay"]);
}

#[test]
fn nothing_depends_on_the_tests() {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"]))
            .expect("cargo metadata prints JSON");
    let root = metadata["workspace_root"].as_str().expect("a workspace root");
    let tests = format!("{root}/tests/");
    let is_of_tests = |path: &Value| path.as_str().is_some_and(|path| path.starts_with(&tests));
    for package in metadata["packages"].as_array().expect("packages") {
        if is_of_tests(&package["manifest_path"]) {
            continue;
        }
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let (package, name) = (&package["name"], &dependency["name"]);
            assert!(!is_of_tests(&dependency["path"]), "{package} depends on {name} of tests/");
        }
    }
}

#[test]
fn a_family_has_its_members_only() {
    assert!(is_of_family("kube", "kube") && is_of_family("kube-core", "kube"));
    assert!(!is_of_family("kubert", "kube") && !is_of_family("libcrux", "libc"));
}
