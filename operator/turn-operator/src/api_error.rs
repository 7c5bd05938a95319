//! What the API server said, as one line for a person.

use std::{error::Error as _, fmt::Write as _};

/// The API server's own message when it refused something; else the error with its causes.
#[must_use]
pub fn message(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some of the client's errors repeat their causes.
        if !text.contains(&cause_text) {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}
