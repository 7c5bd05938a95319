//! The file: a `TurnServer`, and maybe its Secret.

use std::path::Path;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;
use turn_api::Document;

use crate::input;

/// What a manifest holds.
pub(super) struct Manifest {
    pub(super) document: Document,
    pub(super) secrets: Vec<Secret>,
}

impl Manifest {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = input::read_text(path)?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let values: Vec<Value> = serde_saphyr::from_multiple(text)?;
        let (secrets, others): (Vec<_>, Vec<_>) = values
            .into_iter()
            .filter(|value| !value.is_null())
            .partition(|value| value["kind"] == "Secret" && value["apiVersion"] == "v1");
        let secrets = secrets.into_iter().map(|secret| {
            let name = secret["metadata"]["name"].clone();
            serde_json::from_value(secret).with_context(|| format!("Secret {name}"))
        });
        let secrets = secrets.collect::<Result<_, _>>()?;
        let found = others.len();
        let Ok([only]) = <[Value; 1]>::try_from(others) else {
            bail!("holds {found} resources beside Secrets; one TurnServer is needed");
        };
        Ok(Self { document: Document::from_value(only)?, secrets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str =
        "apiVersion: turnpike.dev/v1alpha1\nkind: TurnServer\nmetadata: {name: edge}\nspec: {}\n";

    #[test]
    fn one_turn_server_and_any_secrets_are_taken() {
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: north}\n";
        let manifest = Manifest::parse(&format!("{secret}---\n{SERVER}---\n")).expect("good");
        assert_eq!(manifest.document.validated.name(), "edge");
        assert_eq!(manifest.secrets.len(), 1);
    }

    #[test]
    fn anything_else_is_named() {
        for (text, expected) in [
            (String::new(), "holds 0 resources"),
            (format!("{SERVER}---\n{SERVER}"), "holds 2 resources"),
            ("kind: Pod\napiVersion: v1\n".to_owned(), "Pod"),
            (SERVER.replace("spec: {}", "spec: {colour: blue}"), "colour"),
        ] {
            let error = Manifest::parse(&text).err().expect("refused");
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
