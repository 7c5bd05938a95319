//! A datagram.

use turn_wire::{
    Attribute, ChannelData, Message, MessageWriter,
    attribute::{
        AdditionalAddressFamily, AddressErrorCode, AlternateDomain, AlternateServer, Channel, Data,
        DontFragment, DraftAdditionalAddressFamily, ErrorCode, EvenPort, Icmp, Lifetime,
        MappedAddress, Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, RequestedAddressFamily,
        RequestedTransport, ReservationToken, Software, UnknownAttributes, Userhash, Username,
        XorMappedAddress, XorPeerAddress, XorRelayedAddress,
    },
};

/// A datagram that is read as a message of either kind: what is read and written again is the same.
pub fn message(bytes: &[u8]) {
    if let Ok(frame) = ChannelData::decode(bytes) {
        let len = u16::try_from(frame.data.len()).expect("the length is two bytes");
        assert_eq!(ChannelData::header(frame.channel, len), bytes[..ChannelData::HEADER_LEN]);
    }
    let Ok(message) = Message::decode(bytes) else { return };
    // Nobody signs with this.
    assert!(!message.verify_integrity(b"a key") && !message.verify_integrity_sha256(b"a key"));
    let known: usize = message.attributes().map(|attribute| attribute.value.len()).sum();
    assert!(known <= bytes.len());
    read_all(&message);
    written_again(&message);
}

/// Each attribute that is read is written so that it is read as the same.
macro_rules! survive {
    ($message:ident: $($name:ident)+) => {$(
        if let Ok(Some(attribute)) = $message.get::<$name>() {
            let id = $message.transaction_id();
            let mut value = vec![0; attribute.value_len()];
            attribute.encode(&mut value, &id);
            assert_eq!($name::decode(&value, &id), Some(attribute));
        }
    )+};
}

fn read_all(message: &Message<'_>) {
    survive!(message: AddressErrorCode AlternateDomain AlternateServer AdditionalAddressFamily);
    survive!(message: DraftAdditionalAddressFamily);
    survive!(message: Channel Data DontFragment ErrorCode EvenPort Icmp Lifetime MappedAddress);
    survive!(message: Nonce PasswordAlgorithm PasswordAlgorithms Realm RequestedAddressFamily);
    survive!(message: RequestedTransport ReservationToken Software UnknownAttributes Userhash);
    survive!(message: Username XorMappedAddress XorPeerAddress XorRelayedAddress);
}

/// The attributes that count, written as they are, make a message that says the same.
fn written_again(message: &Message<'_>) {
    let mut buffer = vec![0; 70_000];
    let id = message.transaction_id();
    let mut writer = MessageWriter::new(&mut buffer, message.class(), message.method(), id);
    for attribute in message.attributes() {
        writer = writer.put_raw(attribute.kind, attribute.value);
    }
    let len = writer.finish().expect("no longer than before");
    let again = Message::decode(&buffer[..len]).expect("well-formed");
    assert_eq!(again.class(), message.class());
    assert_eq!(again.method(), message.method());
    assert!(again.attributes().eq(message.attributes()));
}
