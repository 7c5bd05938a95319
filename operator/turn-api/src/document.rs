//! A `TurnServer` in a file, checked as the API server would check it, without one.

use serde_json::Value;

use crate::{Invalid, TurnServer, Validated, Violation, crd, schema};

/// Why a document is no good `TurnServer`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The text is not YAML.
    #[error("{0}")]
    Syntax(String),
    /// The document is of another kind.
    #[error("{api_version} {kind} is not turnpike.dev/v1alpha1 TurnServer")]
    OtherKind {
        /// Its `apiVersion`, or nothing.
        api_version: String,
        /// Its `kind`, or nothing.
        kind: String,
    },
    /// Some fields are wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// A `TurnServer` that the API server would take, with its defaults filled in.
#[derive(Debug, Clone)]
pub struct Document {
    /// As the API server would store it.
    pub turn_server: TurnServer,
    /// The same, checked.
    pub validated: Validated,
}

impl Document {
    /// Reads all `TurnServer`s of a file, which may hold several documents. Empty documents are
    /// passed over.
    ///
    /// # Errors
    /// One error for each document that is not YAML, not a `TurnServer`, or has a wrong field.
    pub fn read_all(text: &str) -> Vec<Result<Self, DocumentError>> {
        let values: Vec<Value> = match serde_saphyr::from_multiple(text) {
            Ok(values) => values,
            Err(error) => return vec![Err(DocumentError::Syntax(error.to_string()))],
        };
        values.into_iter().filter(|value| !value.is_null()).map(Self::from_value).collect()
    }

    /// Reads one `TurnServer`: unknown fields, wrong types and values out of bounds are refused,
    /// defaults are filled in, every rule is checked.
    ///
    /// # Errors
    /// When it is of another kind, or has a wrong field; then all wrong fields are named.
    pub fn from_value(mut value: Value) -> Result<Self, DocumentError> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if api_version != "turnpike.dev/v1alpha1" || kind != "TurnServer" {
            return Err(DocumentError::OtherKind { api_version, kind });
        }
        let mut found = check_top(&value);
        // The API server takes a status from its own subresource only.
        if let Some(object) = value.as_object_mut() {
            object.remove("status");
        }
        found.extend(check_metadata(&value["metadata"]));
        found.extend(check_spec(&mut value));
        if !found.is_empty() {
            return Err(Invalid::new(found).into());
        }
        let turn_server: TurnServer = serde_json::from_value(value).map_err(|error| {
            Invalid::new(vec![Violation::new("metadata", Value::Null, error.to_string())])
        })?;
        let validated = Validated::try_from(&turn_server)?;
        Ok(Self { turn_server, validated })
    }
}

fn check_top(value: &Value) -> Vec<Violation> {
    const KNOWN: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    let fields = value.as_object().into_iter().flat_map(|object| object.keys());
    fields
        .filter(|field| !KNOWN.contains(&field.as_str()))
        .map(|field| {
            let message = format!("unknown field; the fields here are {}", KNOWN.join(", "));
            Violation::new(field.as_str(), Value::Null, message)
        })
        .collect()
}

fn check_metadata(metadata: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    match metadata["name"].as_str() {
        None => found.push(Violation::new("metadata.name", Value::Null, "is required")),
        Some(name) if !is_subdomain(name) => found.push(Violation::new(
            "metadata.name",
            name,
            "must be lower-case letters, digits, '-' and '.', begin and end with a letter or \
             digit, and have at most 253 characters",
        )),
        Some(_) => {}
    }
    if let Some(namespace) = metadata["namespace"].as_str()
        && !is_label(namespace)
    {
        found.push(Violation::new(
            "metadata.namespace",
            namespace,
            "must be lower-case letters, digits and '-', begin and end with a letter or digit, \
             and have at most 63 characters",
        ));
    }
    found
}

fn check_spec(value: &mut Value) -> Vec<Violation> {
    let crd = crd();
    let schema = crd
        .spec
        .versions
        .iter()
        .find_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref())
        .and_then(|schema| schema.properties.as_ref()?.get("spec"));
    match (schema, value.get_mut("spec")) {
        (Some(schema), Some(spec)) if !spec.is_null() => schema::check(schema, "spec", spec),
        _ => vec![Violation::new("spec", Value::Null, "is required; an empty one is `spec: {}`")],
    }
}

/// Whether `text` is a DNS label (RFC 1123).
pub(crate) fn is_label(text: &str) -> bool {
    let ends = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && ends(bytes.first().copied())
        && ends(bytes.last().copied())
        && bytes.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-')
}

/// Whether `text` is a DNS subdomain (RFC 1123), the name of most objects.
pub(crate) fn is_subdomain(text: &str) -> bool {
    let part = |part: &str| {
        let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(ends) && part.ends_with(ends) && part.chars().all(|c| ends(c) || c == '-')
    };
    text.len() <= 253 && text.split('.').all(part)
}
