//! Names and passwords as they are compared: the OpaqueString profile (RFC 8265, section 4.2), as
//! RFC 8489 asks for in sections 9.2.2, 14.3 and 14.9.

use std::borrow::Cow;

use precis_profiles::{OpaqueString, precis_core::profile::PrecisFastInvocation};

/// A name or a password as it is compared: each form of a letter the same, each space a space. What
/// the profile does not allow, control characters say, stays as it is: a client that has the same
/// bytes still gets in.
pub(crate) fn prepared(text: &str) -> Cow<'_, str> {
    OpaqueString::enforce(text).unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_composed_and_spaces_are_spaces() {
        assert_eq!(prepared("e\u{301}a\u{a0}b"), "\u{e9}a b");
        assert_eq!(prepared("plain"), "plain");
        assert_eq!(prepared("bell\u{7}"), "bell\u{7}");
        assert_eq!(prepared(""), "");
    }
}
