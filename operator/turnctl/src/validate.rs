//! `turnctl validate`: what the API server would say, without one.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use turn_api::{Document, DocumentError};
use turn_operator::turnserver::{
    desired::{Rendered, relay_config},
    observed::Observed,
};

use crate::input;

/// What to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A file with one or more TurnServers, or `-` for standard input. May be repeated.
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
}

/// Checks every document of every file, and says of each what is wrong. The exit code is 1 when
/// something is.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut good = true;
    for path in &arguments.filename {
        let text = input::read_text(path)?;
        good &= check(&path.display().to_string(), &text, &mut io::stdout(), &mut io::stderr())?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether every document of `text` is a good `TurnServer`.
fn check(
    file: &str,
    text: &str,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<bool> {
    let documents = Document::read_all(text);
    if documents.is_empty() {
        writeln!(errors, "{file}: no document")?;
        return Ok(false);
    }
    let several = documents.len() > 1;
    let mut good = true;
    for (index, document) in documents.into_iter().enumerate() {
        let place = if several { format!("{file}, document {}", index + 1) } else { file.into() };
        match says(document) {
            Ok(name) => writeln!(out, "{place}: TurnServer {name} is valid")?,
            Err(messages) => {
                good = false;
                for message in messages {
                    writeln!(errors, "{place}: {message}")?;
                }
            }
        }
    }
    Ok(good)
}

/// The name of a good `TurnServer`, or what is wrong with it.
fn says(document: Result<Document, DocumentError>) -> Result<String, Vec<String>> {
    let document = document.map_err(|error| match error {
        DocumentError::Invalid(invalid) => {
            invalid.violations().iter().map(ToString::to_string).collect()
        }
        DocumentError::Syntax(_) | DocumentError::OtherKind { .. } => vec![error.to_string()],
    })?;
    // What the relay itself would refuse.
    Rendered::new(relay_config(&document.validated, &Observed::default()))
        .map_err(|error| vec![format!("the relay would refuse its configuration: {error}")])?;
    Ok(document.validated.name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn expect(text: &str, good: bool, out: &str, errors: &str) {
        let (mut found_out, mut found_errors) = (Vec::new(), Vec::new());
        let found = check("f", text, &mut found_out, &mut found_errors).expect("memory");
        assert_eq!(String::from_utf8_lossy(&found_out), out);
        assert_eq!(String::from_utf8_lossy(&found_errors), errors);
        assert_eq!(found, good);
    }

    const GOOD: &str =
        "{apiVersion: turnpike.dev/v1alpha1, kind: TurnServer, metadata: {name: a}, spec: {}}\n";

    #[test]
    fn each_document_is_judged() {
        expect(GOOD, true, "f: TurnServer a is valid\n", "");
        expect("", false, "", "f: no document\n");
        let wrong = GOOD.replace("spec: {}", "spec: {replicas: -1, colour: blue}");
        let (good, _) = (format!("{GOOD}---\n{wrong}"), ());
        let mut found = Vec::new();
        assert!(!check("f", &good, &mut Vec::new(), &mut found).expect("memory"));
        let found = String::from_utf8_lossy(&found);
        assert!(found.contains("f, document 2: spec.replicas: -1: must be between 0 and 1000"));
        assert!(found.contains("f, document 2: spec.colour: unknown field"));
    }
}
