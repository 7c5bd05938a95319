//! The manifests in `accepted` are taken and those in `refused` are refused, each with the field
//! and the text that stand in its first two lines. What they expect is what the API server says
//! (`kubectl create -f`), so the same files test both.

use std::{fs, path::Path};

use turn_api::{Document, DocumentError, TurnServer, Validated, Violation};

fn manifests(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut found: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of manifests is there")
        .map(|entry| {
            let path = entry.expect("the folder can be read").path();
            let text = fs::read_to_string(&path).expect("the manifest can be read");
            (path.file_name().expect("a file has a name").to_string_lossy().into_owned(), text)
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{} is empty", folder.display());
    found
}

fn header<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(key)).expect("the header is there").trim()
}

fn violations(text: &str) -> Vec<Violation> {
    match Document::read_all(text).remove(0) {
        Ok(_) => Vec::new(),
        Err(DocumentError::Invalid(invalid)) => invalid.violations().to_vec(),
        Err(error @ (DocumentError::Syntax(_) | DocumentError::OtherKind { .. })) => {
            panic!("{error}")
        }
    }
}

#[test]
fn what_is_right_is_accepted() {
    for (name, text) in manifests("accepted") {
        assert_eq!(violations(&text), Vec::new(), "{name}");
    }
}

#[test]
fn the_samples_are_accepted() {
    for (name, text) in manifests("../../../charts/turnpike/examples") {
        assert_eq!(violations(&text), Vec::new(), "{name}");
    }
}

#[test]
fn what_is_wrong_is_refused_and_the_field_named() {
    for (name, text) in manifests("refused") {
        let (field, says) = (header(&text, "# field:"), header(&text, "# says:"));
        let found = violations(&text);
        assert!(
            found.iter().any(|v| v.field.starts_with(field) && v.to_string().contains(says)),
            "{name}: expected {field} and {says:?}, found {found:#?}"
        );
    }
}

/// The operator does not see the schema: an object that was stored under another one must be
/// refused by the rules in Rust alone, unless it cannot even be read.
#[test]
fn what_is_wrong_is_refused_without_the_schema_too() {
    for (name, text) in manifests("refused") {
        if name.starts_with("unknown-") {
            continue;
        }
        let Ok(turn_server) = serde_saphyr::from_str::<TurnServer>(&text) else { continue };
        let field = header(&text, "# field:");
        let found = Validated::try_from(&turn_server).expect_err(&name).violations().to_vec();
        assert!(found.iter().any(|v| v.field.starts_with(field)), "{name}: {found:#?}");
    }
}

#[test]
fn an_empty_spec_means_the_defaults() {
    let (_, text) = manifests("accepted").remove(0);
    let document = Document::read_all(&text).remove(0).expect("it is accepted");
    let validated = document.validated;
    assert_eq!(validated.regions().len(), 1);
    assert_eq!(validated.regions()[0].replicas(), 1);
    assert_eq!(validated.listeners().len(), 2);
    assert_eq!(validated.relay_ports().from, 61000);
    assert_eq!(document.turn_server.spec, turn_api::TurnServerSpec::default());
}

#[test]
fn another_kind_and_no_yaml_are_said_to_be_so() {
    let says = |text: &str| match Document::read_all(text).remove(0) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    };
    assert!(says("{apiVersion: v1, kind: Pod}").contains("v1 Pod is not"));
    assert!(says("{").contains("line") || !says("{").is_empty());
    let nameless = "{apiVersion: turnpike.dev/v1alpha1, kind: TurnServer, spec: {}}";
    assert_eq!(says(nameless), "metadata.name: is required");
    let specless = "{apiVersion: turnpike.dev/v1alpha1, kind: TurnServer, metadata: {name: a}}";
    assert!(says(specless).contains("spec: is required"));
}
