//! What clients are given: `iceServers` as an `RTCPeerConnection` takes them.

use anyhow::{Context as _, bail};
use serde_json::Value;

/// An entry of `iceServers`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct IceServer {
    pub(super) urls: Vec<String>,
    pub(super) username: Option<String>,
    pub(super) credential: Option<String>,
}

/// Reads JSON: an object with `iceServers`, their list, or one of them.
///
/// # Errors
/// What is wrong, where, and what would be right.
pub(super) fn read(text: &str) -> anyhow::Result<Vec<IceServer>> {
    let document: Value = serde_json::from_str(text).context("no JSON")?;
    match &document {
        Value::Array(list) => servers("", list),
        Value::Object(fields) => match fields.get("iceServers") {
            Some(Value::Array(list)) => servers("iceServers", list),
            Some(other) => bail!("iceServers: {}: must be a list", brief(other)),
            None if fields.contains_key("urls") || fields.contains_key("url") => {
                Ok(vec![server("", &document)?])
            }
            None => bail!("iceServers: missing: must be a list of objects with urls"),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            bail!("{}: must be an object with iceServers, or their list", brief(&document))
        }
    }
}

fn servers(place: &str, list: &[Value]) -> anyhow::Result<Vec<IceServer>> {
    let entries = list.iter().enumerate();
    entries.map(|(index, entry)| server(&format!("{place}[{index}]."), entry)).collect()
}

fn server(place: &str, entry: &Value) -> anyhow::Result<IceServer> {
    if !entry.is_object() {
        let place = place.trim_end_matches('.');
        bail!("{place}: {}: must be an object with urls", brief(entry));
    }
    // What early drafts called it.
    let name =
        if entry.get("urls").is_none() && entry.get("url").is_some() { "url" } else { "urls" };
    Ok(IceServer {
        urls: urls(&format!("{place}{name}"), &entry[name])?,
        username: text(&format!("{place}username"), &entry["username"])?,
        credential: text(&format!("{place}credential"), &entry["credential"])?,
    })
}

fn urls(place: &str, value: &Value) -> anyhow::Result<Vec<String>> {
    const RIGHT: &str = "must be a URL or a list of URLs";
    match value {
        Value::String(url) => Ok(vec![url.clone()]),
        Value::Array(list) => list
            .iter()
            .map(|url| url.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .with_context(|| format!("{place}: {}: {RIGHT}", brief(value))),
        Value::Null => bail!("{place}: missing: {RIGHT}"),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            bail!("{place}: {}: {RIGHT}", brief(value))
        }
    }
}

fn text(place: &str, value: &Value) -> anyhow::Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        // It may be half a secret.
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            bail!("{place}: must be a string")
        }
    }
}

/// A value in a message: what kind it is, where it may hold a credential.
fn brief(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(_) => "a string".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str) -> Vec<Vec<String>> {
        read(text).expect("it is read").into_iter().map(|server| server.urls).collect()
    }

    #[test]
    fn each_form_is_read() {
        let one = r#"{"urls": "turn:a", "username": "u", "credential": "c"}"#;
        let several = r#"{"urls": ["turn:a", "turn:b"]}"#;
        assert_eq!(urls(one), [["turn:a"]]);
        assert_eq!(urls(&one.replace("urls", "url")), [["turn:a"]]);
        assert_eq!(
            urls(&format!("[{one}, {several}]")),
            [vec!["turn:a"], vec!["turn:a", "turn:b"]]
        );
        assert_eq!(urls(&format!(r#"{{"iceServers": [{one}], "ttlSeconds": 60}}"#)), [["turn:a"]]);
        let read = read(one).expect("it is read");
        assert_eq!(read[0].username.as_deref(), Some("u"));
        assert_eq!(read[0].credential.as_deref(), Some("c"));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        let says =
            |text: &str| read(text).err().map(|error| format!("{error:#}")).expect("refused");
        assert!(says("turn:a").starts_with("no JSON"));
        assert_eq!(says("7"), "7: must be an object with iceServers, or their list");
        assert_eq!(says("{}"), "iceServers: missing: must be a list of objects with urls");
        assert_eq!(says(r#"{"iceServers": {}}"#), "iceServers: an object: must be a list");
        assert_eq!(says("[7]"), "[0]: 7: must be an object with urls");
        let place = "iceServers[1].urls";
        let text = r#"{"iceServers": [{"urls": "turn:a"}, {"urls": 7}]}"#;
        assert_eq!(says(text), format!("{place}: 7: must be a URL or a list of URLs"));
        assert_eq!(
            says(r#"[{"url": "turn:a", "credential": 7}]"#),
            "[0].credential: must be a string"
        );
    }

    #[test]
    fn no_message_holds_a_credential() {
        let secret = r#"{"urls": "turn:a", "credential": "hidden"}"#;
        for text in [
            format!(r#"{{"iceServers": {secret}}}"#),
            format!(r#"[{{"urls": {secret}}}]"#),
            format!(r#"[{{"urls": ["turn:a", {secret}]}}]"#),
            format!("[[{secret}]]"),
            r#"["hidden"]"#.to_owned(),
            r#""hidden""#.to_owned(),
            r#"[{"urls": "turn:a", "credential": ["hidden"]}]"#.to_owned(),
        ] {
            let error = read(&text).err().unwrap_or_else(|| panic!("{text}: taken"));
            assert!(!format!("{error:#}").contains("hidden"), "{error:#}");
        }
    }
}
