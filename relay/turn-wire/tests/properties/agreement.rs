//! The decoder accepts what an independent one accepts: that of the crate `stun-types`.
//!
//! It is somewhat more generous, in three ways that are left to it on purpose:
//! - it takes bytes behind the message's end, and a length that is no multiple of four (a datagram
//!   is one message: RFC 8489, section 6.3);
//! - it does not look at the length of MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 until they are
//!   verified;
//! - it stops at an attribute that may not stand behind those that seal, or at the second of a
//!   kind, and so takes whatever follows, even attributes longer than the message or a wrong
//!   FINGERPRINT.

use proptest::prelude::*;
use stun_types::{
    attribute::Attribute as _,
    message::{Message as Other, MessageClass},
};
use turn_wire::{Class, DecodeError, Message};

use crate::generated::{message, mutated};

const SEALS: [u16; 3] = [0x0008, 0x001C, 0x8028];

/// Whether a reader that stops where `stun-types` does would stop before the end: at an attribute
/// that seals nothing, or seals anew, behind one that seals. Also when FINGERPRINT is not last.
fn stops_early(bytes: &[u8]) -> bool {
    let mut seals: Vec<u16> = Vec::new();
    let mut rest = bytes.get(20..).unwrap_or_default();
    while let [a, b, c, d, body @ ..] = rest {
        let kind = u16::from_be_bytes([*a, *b]);
        let len = usize::from(u16::from_be_bytes([*c, *d])).next_multiple_of(4);
        let is_seal = SEALS.contains(&kind);
        if seals.contains(&0x8028) || (!seals.is_empty() && (!is_seal || seals.contains(&kind))) {
            return true;
        }
        if is_seal {
            seals.push(kind);
        }
        rest = body.get(len..).unwrap_or_default();
    }
    false
}

const fn class(class: MessageClass) -> Class {
    match class {
        MessageClass::Request => Class::Request,
        MessageClass::Indication => Class::Indication,
        MessageClass::Success => Class::Success,
        MessageClass::Error => Class::Error,
    }
}

/// Holds the two decoders against each other; says why they differ where they may.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let other = Other::from_bytes(bytes);
    let error = match Message::decode(bytes) {
        Ok(ours) => {
            let other = other.map_err(|error| TestCaseError::fail(error.to_string()))?;
            return check_same(&ours, &other);
        }
        Err(error) => error,
    };
    let may_differ = match error {
        DecodeError::Short | DecodeError::NotStun | DecodeError::Cookie => false,
        DecodeError::Length | DecodeError::Integrity => true,
        DecodeError::Attribute | DecodeError::Fingerprint => stops_early(bytes),
    };
    prop_assert!(other.is_err() || may_differ, "{error} here, accepted there");
    Ok(())
}

fn check_same(ours: &Message<'_>, other: &Other<'_>) -> Result<(), TestCaseError> {
    prop_assert_eq!(ours.class(), class(other.class()));
    prop_assert_eq!(ours.method().number(), other.method().value());
    let id = ours.transaction_id().0.iter().fold(0u128, |id, byte| (id << 8) | u128::from(*byte));
    prop_assert_eq!(id, u128::from(other.transaction_id()));
    let theirs = other.iter_attributes().map(|(_, attribute)| attribute);
    let theirs = theirs.filter(|attribute| !SEALS.contains(&attribute.get_type().value()));
    let theirs: Vec<_> =
        theirs.map(|attribute| (attribute.get_type().value(), attribute.value.to_vec())).collect();
    let ours: Vec<_> =
        ours.attributes().map(|attribute| (attribute.kind.0, attribute.value.to_vec())).collect();
    prop_assert_eq!(ours, theirs);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn on_valid_messages(message in message()) {
        let bytes = message.encode();
        prop_assert!(Message::decode(&bytes).is_ok());
        check(&bytes)?;
    }

    #[test]
    fn on_changed_messages(bytes in mutated()) {
        check(&bytes)?;
    }

    #[test]
    fn on_messages_with_one_field_changed(message in message(), at in 0..64usize, value: u8) {
        let mut bytes = message.encode();
        // Over the header and the first attributes' types and lengths, where changes tell most.
        let at = at.min(bytes.len() - 1);
        bytes[at] = value;
        check(&bytes)?;
    }
}
