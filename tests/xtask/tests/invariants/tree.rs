//! What the files of the repository may hold, and where.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).canonicalize().expect("the root")
}

/// The files under version control that are there, from the root.
fn files() -> Vec<String> {
    let output =
        Command::new("git").args(["ls-files"]).current_dir(root()).output().expect("git starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = String::from_utf8(output.stdout).expect("names in UTF-8");
    list.lines().filter(|file| root().join(file).is_file()).map(str::to_owned).collect()
}

/// The text of a file; none of one that is not text.
fn text(file: &str) -> Option<String> {
    String::from_utf8(fs::read(root().join(file)).expect(file)).ok()
}

#[test]
fn the_top_level_is_the_one_of_the_map() {
    let seen: BTreeSet<_> = files()
        .iter()
        .filter_map(|file| file.split('/').next())
        .filter(|name| !name.starts_with('.'))
        .map(str::to_owned)
        .collect();
    let expected =
        ["Cargo.lock", "Cargo.toml", "README.md", "charts", "crds", "operator", "relay", "tests"];
    assert_eq!(seen, expected.map(str::to_owned).into());
}

#[test]
fn unsafe_code_is_in_two_crates_only() {
    for file in files().iter().filter(|file| file.ends_with(".rs")) {
        if file.starts_with("relay/turn-net/") || file.starts_with("relay/turn-xdp/") {
            continue;
        }
        for (number, line) in text(file).unwrap_or_default().lines().enumerate() {
            assert!(!is_unsafe_code(line), "{file}:{}: {line}", number + 1);
        }
    }
}

/// Whether a line has the keyword before an item or a block, outside a comment.
fn is_unsafe_code(line: &str) -> bool {
    // In two parts, so that this file passes its own test.
    let keyword = concat!("un", "safe");
    let code = line.split("//").next().unwrap_or_default();
    ["{", "fn", "impl", "trait", "extern"].iter().any(|item| {
        code.match_indices(&format!("{keyword} {item}")).any(|(start, _)| {
            !code[..start].ends_with(|before: char| before.is_alphanumeric() || before == '_')
        })
    })
}

#[test]
fn no_file_names_a_machine() {
    // A path of somebody's machine, in whatever a path can stand behind.
    let folders = ["root", "home", "work"].map(|folder| format!("/{folder}/"));
    for_each_line(|place, line| {
        for folder in &folders {
            let found = line.match_indices(folder.as_str()).any(|(start, _)| {
                line[..start]
                    .chars()
                    .next_back()
                    .is_none_or(|before| before.is_whitespace() || "\"'`(=:".contains(before))
            });
            assert!(!found, "{place} names a path of a machine: {line}");
        }
    });
}

#[test]
fn no_file_names_a_registry_of_images() {
    let hosts = [
        ["docker", "io"],
        ["ghcr", "io"],
        ["quay", "io"],
        ["gcr", "io"],
        ["registry.k8s", "io"],
        ["mcr.microsoft", "com"],
        ["public.ecr", "aws"],
    ]
    .map(|host| host.join("."));
    for_each_line(|place, line| {
        for host in &hosts {
            assert!(!line.contains(host.as_str()), "{place} names {host}: {line}");
        }
    });
}

/// Calls `look` with the place and the text of each line of each file that people write.
fn for_each_line(mut look: impl FnMut(&str, &str)) {
    let generated = ["Cargo.lock", "go.mod", "go.sum"];
    for file in files() {
        if generated.iter().any(|name| file.ends_with(name)) {
            continue;
        }
        for (number, line) in text(&file).unwrap_or_default().lines().enumerate() {
            look(&format!("{file}:{}", number + 1), line);
        }
    }
}

/// The sources of what is shipped, up to their tests.
fn product() -> impl Iterator<Item = (String, String)> {
    let is_source = |file: &String| {
        let of_product = file.starts_with("relay/") || file.starts_with("operator/");
        of_product && file.contains("/src/") && file.ends_with(".rs")
    };
    files().into_iter().filter(is_source).map(|file| {
        let text = text(&file).unwrap_or_default();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        (file, code)
    })
}

/// What draws takes a `CryptoRng`, so that no other generator fits; and no generator that is grown
/// from a seed has one of 64 bits or of another generator.
#[test]
fn randomness_is_the_systems_or_grown_from_it_by_a_cryptographic_generator() {
    let weak = ["impl Rng", "impl RngExt", "impl RngCore", "dyn Rng", "fastrand", "seed_from_u64"];
    for (file, code) in product() {
        for name in weak.iter().chain(&["from_rng", "SmallRng", "Xoshiro", "Pcg"]) {
            assert!(!code.contains(name), "{file} has {name}");
        }
    }
}

/// Clippy refuses the bytes of a MAC, since `==` would compare them in a time that tells how many are
/// right: what is left are `verify_…` and `ct_eq`. Here stands who needs the bytes nonetheless, to
/// send them or to make a key of them.
#[test]
fn macs_are_compared_in_constant_time() {
    const EXCEPTIONS: [(&str, usize); 5] = [
        ("relay/turn-auth/src/credentials.rs", 1),
        ("relay/turn-auth/src/nonce.rs", 2),
        ("relay/turn-auth/src/time_limited.rs", 1),
        ("relay/turn-net/src/dtls/cookie.rs", 1),
        ("relay/turn-wire/src/integrity.rs", 2),
    ];
    let lints = text(".clippy.toml").unwrap_or_default();
    for method in ["into_bytes", "as_bytes"] {
        let refused = format!("path = \"digest::mac::CtOutput::{method}\"");
        assert!(lints.contains(&refused), "{refused} is not in .clippy.toml");
    }
    let allowed = |file: &str| EXCEPTIONS.iter().find(|(known, _)| *known == file);
    for (file, code) in product() {
        let exceptions = code.matches("clippy::disallowed_methods").count();
        assert_eq!(exceptions, allowed(&file).map_or(0, |(_, count)| *count), "{file}");
    }
}
