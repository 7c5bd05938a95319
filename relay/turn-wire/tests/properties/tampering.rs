//! A changed byte never verifies.

use proptest::prelude::*;
use turn_wire::{Attribute, Message, attribute::Fingerprint, padded};

use crate::generated::{Generated, KEY, Seal, message};

/// A message with a seal, a place in it, and a change.
fn sealed(seal: Seal) -> impl Strategy<Value = (Vec<u8>, usize)> {
    let message = message().prop_map(move |message| Generated { seal, ..message }.encode());
    message.prop_flat_map(|bytes| {
        let places = 0..bytes.len();
        (Just(bytes), places)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn under_message_integrity(
        (mut bytes, at) in sealed(Seal { integrity: true, ..Seal::default() }),
        change in 1..=255u8,
    ) {
        bytes[at] ^= change;
        prop_assert!(!Message::decode(&bytes).is_ok_and(|message| message.verify_integrity(KEY)));
    }

    #[test]
    fn under_message_integrity_sha256(
        (mut bytes, at) in sealed(Seal { integrity_sha256: true, ..Seal::default() }),
        change in 1..=255u8,
    ) {
        bytes[at] ^= change;
        let verifies = |message: Message<'_>| message.verify_integrity_sha256(KEY);
        prop_assert!(!Message::decode(&bytes).is_ok_and(verifies));
    }

    /// MESSAGE-INTEGRITY does not cover what stands behind it, MESSAGE-INTEGRITY-SHA256 covers
    /// MESSAGE-INTEGRITY: only both together cover all.
    #[test]
    fn under_both(
        (mut bytes, at) in
            sealed(Seal { integrity: true, integrity_sha256: true, fingerprint: false }),
        change in 1..=255u8,
    ) {
        bytes[at] ^= change;
        let verifies = |message: Message<'_>| {
            message.verify_integrity(KEY) && message.verify_integrity_sha256(KEY)
        };
        prop_assert!(!Message::decode(&bytes).is_ok_and(verifies));
    }

    /// Unless the change makes another attribute of FINGERPRINT, or hides it in one, the message is
    /// no message any more.
    #[test]
    fn under_fingerprint(
        (mut bytes, at) in sealed(Seal { fingerprint: true, ..Seal::default() }),
        change in 1..=255u8,
    ) {
        bytes[at] ^= change;
        prop_assert!(!Message::decode(&bytes).is_ok_and(|message| message.has_fingerprint()));
    }

    /// An attribute put in behind MESSAGE-INTEGRITY does not change what the message says.
    #[test]
    fn what_is_added_behind_integrity_is_not_seen(
        message in message(), kind: u16, value in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let seal = Seal { integrity: true, ..Seal::default() };
        let bytes = Generated { seal, ..message }.encode();
        let mut longer = bytes.clone();
        longer.extend_from_slice(&kind.to_be_bytes());
        longer.extend_from_slice(&u16::try_from(value.len()).expect("short").to_be_bytes());
        longer.extend_from_slice(&value);
        longer.resize(padded(longer.len()), 0);
        let len = u16::try_from(longer.len() - 20).expect("short").to_be_bytes();
        longer[2..4].copy_from_slice(&len);
        let Ok(decoded) = Message::decode(&longer) else {
            let sealing = [Fingerprint::TYPE.0, 0x001C];
            prop_assert!(sealing.contains(&kind), "only a wrong seal may make it unreadable");
            return Ok(());
        };
        let before = Message::decode(&bytes).expect("what is written decodes");
        prop_assert!(decoded.verify_integrity(KEY));
        prop_assert!(decoded.attributes().eq(before.attributes()));
    }
}
