//! No bytes make the codec panic, or never end.

use proptest::{collection::vec, prelude::*};
use turn_wire::{
    Attribute, AttributeType, ChannelData, ErrorCode, Message, TransactionId,
    attribute::{
        AdditionalAddressFamily, AddressErrorCode, AlternateDomain, AlternateServer, ChangeRequest,
        Channel, ConnectionId, Data, DontFragment, EvenPort, Fingerprint, Icmp, Lifetime,
        MappedAddress, MessageIntegrity, MessageIntegritySha256, Nonce, OtherAddress, Padding,
        PasswordAlgorithm, PasswordAlgorithms, Realm, RelayPort, RequestedAddressFamily,
        RequestedTransport, ReservationToken, ResponseOrigin, ResponsePort, Software,
        UnknownAttributes, Userhash, Username, XorMappedAddress, XorPeerAddress, XorRelayedAddress,
    },
    kind, stream,
};

use crate::generated::{KEY, mutated};

macro_rules! for_each_attribute {
    ($check:ident, $($argument:expr),*) => {
        $check::<MappedAddress>($($argument),*);
        $check::<XorMappedAddress>($($argument),*);
        $check::<XorPeerAddress>($($argument),*);
        $check::<XorRelayedAddress>($($argument),*);
        $check::<AlternateServer>($($argument),*);
        $check::<Username<'_>>($($argument),*);
        $check::<Realm<'_>>($($argument),*);
        $check::<Nonce<'_>>($($argument),*);
        $check::<Software<'_>>($($argument),*);
        $check::<AlternateDomain<'_>>($($argument),*);
        $check::<Data<'_>>($($argument),*);
        $check::<MessageIntegrity>($($argument),*);
        $check::<MessageIntegritySha256<'_>>($($argument),*);
        $check::<Userhash>($($argument),*);
        $check::<ReservationToken>($($argument),*);
        $check::<Fingerprint>($($argument),*);
        $check::<Lifetime>($($argument),*);
        $check::<RequestedTransport>($($argument),*);
        $check::<ConnectionId>($($argument),*);
        $check::<Channel>($($argument),*);
        $check::<RequestedAddressFamily>($($argument),*);
        $check::<AdditionalAddressFamily>($($argument),*);
        $check::<EvenPort>($($argument),*);
        $check::<DontFragment>($($argument),*);
        $check::<ErrorCode<'_>>($($argument),*);
        $check::<AddressErrorCode<'_>>($($argument),*);
        $check::<UnknownAttributes<'_>>($($argument),*);
        $check::<PasswordAlgorithm<'_>>($($argument),*);
        $check::<PasswordAlgorithms<'_>>($($argument),*);
        $check::<Icmp>($($argument),*);
        $check::<ChangeRequest>($($argument),*);
        $check::<ResponsePort>($($argument),*);
        $check::<RelayPort>($($argument),*);
        $check::<Padding<'_>>($($argument),*);
        $check::<ResponseOrigin>($($argument),*);
        $check::<OtherAddress>($($argument),*);
    };
}

/// Asks a message for an attribute in each way.
fn ask<'a, A: Attribute<'a>>(message: &Message<'a>) {
    let found = message.get::<A>().map(|found| found.is_some());
    assert_eq!(message.has::<A>(), found != Ok(false));
    assert_eq!(
        message.all::<A>().next().map(|first| first.is_ok()),
        match found {
            Ok(true) => Some(true),
            Ok(false) => None,
            Err(_) => Some(false),
        }
    );
}

/// What decodes is written into exactly the length that it says.
fn decode_value<'a, A: Attribute<'a>>(value: &'a [u8], transaction: &TransactionId) {
    if let Some(attribute) = A::decode(value, transaction) {
        let mut out = vec![0xEE; attribute.value_len()];
        attribute.encode(&mut out, transaction);
    }
}

/// Everything that can be asked of bytes.
fn exercise(bytes: &[u8]) {
    let _ = kind(bytes);
    let _ = ChannelData::decode(bytes);
    let _ = stream::frame(bytes);
    let Ok(message) = Message::decode(bytes) else { return };
    let _ = (message.class(), message.method(), message.transaction_id());
    let _ = message.verify_integrity(KEY);
    let _ = message.verify_integrity_sha256(KEY);
    assert!(message.attributes().count() <= bytes.len() / 4);
    assert!(message.unknown_required(&[AttributeType(6)]).count() <= bytes.len() / 4);
    for_each_attribute!(ask, &message);
    if let Ok(Some(algorithms)) = message.get::<PasswordAlgorithms<'_>>() {
        assert!(algorithms.iter().count() > 0);
    }
}

/// A header that is right about whatever follows it: else hardly any random bytes get further.
fn with_header(message_type: u16, mut body: Vec<u8>) -> Vec<u8> {
    body.resize(turn_wire::padded(body.len()), 0);
    let mut bytes = (message_type & 0x3FFF).to_be_bytes().to_vec();
    bytes.extend_from_slice(&u16::try_from(body.len()).expect("it is short").to_be_bytes());
    bytes.extend_from_slice(&turn_wire::MAGIC_COOKIE.to_be_bytes());
    bytes.extend_from_slice(&[9; 12]);
    bytes.extend_from_slice(&body);
    bytes
}

/// One attribute with a value of any bytes, of a type that is known to the codec.
fn one_attribute() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![0..0x30u16, 0x8000..0x8005u16, 0x8022..0x802Au16];
    (kind, vec(any::<u8>(), 0..40)).prop_map(|(kind, value)| {
        let mut body = kind.to_be_bytes().to_vec();
        body.extend_from_slice(&u16::try_from(value.len()).expect("it is short").to_be_bytes());
        body.extend_from_slice(&value);
        with_header(0x0001, body)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..200)) {
        exercise(&bytes);
    }

    #[test]
    fn random_bytes_behind_a_header(kind: u16, body in vec(any::<u8>(), 0..200)) {
        exercise(&with_header(kind, body));
    }

    #[test]
    fn random_values(bytes in one_attribute()) {
        prop_assert!(
            Message::decode(&bytes).is_ok() || matches!(bytes[21], 0x08 | 0x1C | 0x28),
            "a value of any shape is the getter's matter, those that seal excepted"
        );
        exercise(&bytes);
    }

    #[test]
    fn values_of_any_length(value in vec(any::<u8>(), 0..48), transaction: [u8; 12]) {
        let transaction = TransactionId(transaction);
        for_each_attribute!(decode_value, &value, &transaction);
    }

    #[test]
    fn valid_messages_with_changes(bytes in mutated()) {
        exercise(&bytes);
    }
}
