//! What is written is read again.

use proptest::{collection::vec, prelude::*};
use turn_wire::{
    Attribute, AttributeType, ChannelData, ChannelNumber, ErrorCode, Message, MessageWriter,
    attribute::{
        AdditionalAddressFamily, AddressErrorCode, AlternateDomain, AlternateServer, Channel,
        ConnectionId, Data, DontFragment, EvenPort, Lifetime, MappedAddress, Nonce,
        PasswordAlgorithm, PasswordAlgorithms, Realm, RelayPort, RequestedAddressFamily,
        RequestedTransport, ReservationToken, ResponsePort, Software, UnknownAttributes, Userhash,
        Username, XorMappedAddress, XorPeerAddress, XorRelayedAddress,
    },
    padded,
};

use crate::generated::{Generated, KEY, Owned, attribute, message, type_bytes};

/// Whether the attributes of this type are there, and the last one is this one.
fn holds<'a, A: Attribute<'a> + PartialEq>(message: &Message<'a>, expected: &A) -> bool {
    message.has::<A>()
        && message.all::<A>().last().is_some_and(|found| found.as_ref() == Ok(expected))
}

/// Whether the message, of which the last attribute is this one, says so.
fn holds_owned(message: &Message<'_>, owned: &Owned) -> bool {
    match owned {
        Owned::MappedAddress(address) => holds(message, &MappedAddress(*address)),
        Owned::XorMappedAddress(address) => holds(message, &XorMappedAddress(*address)),
        Owned::XorPeerAddress(address) => holds(message, &XorPeerAddress(*address)),
        Owned::XorRelayedAddress(address) => holds(message, &XorRelayedAddress(*address)),
        Owned::AlternateServer(address) => holds(message, &AlternateServer(*address)),
        Owned::Userhash(hash) => holds(message, &Userhash(*hash)),
        Owned::ReservationToken(token) => holds(message, &ReservationToken(*token)),
        Owned::Lifetime(seconds) => holds(message, &Lifetime(*seconds)),
        Owned::RequestedTransport(protocol) => holds(message, &RequestedTransport(*protocol)),
        Owned::ConnectionId(id) => holds(message, &ConnectionId(*id)),
        Owned::Channel(number) => holds(message, &Channel(*number)),
        Owned::RequestedAddressFamily(family) => holds(message, &RequestedAddressFamily(*family)),
        Owned::AdditionalAddressFamily(family) => holds(message, &AdditionalAddressFamily(*family)),
        Owned::EvenPort(reserve) => holds(message, &EvenPort { reserve: *reserve }),
        Owned::DontFragment => holds(message, &DontFragment),
        Owned::PasswordAlgorithms => holds(message, &PasswordAlgorithms::default()),
        Owned::Icmp(icmp) => holds(message, icmp),
        Owned::ChangeRequest(change) => holds(message, change),
        Owned::ResponsePort(port) => holds(message, &ResponsePort(*port)),
        Owned::RelayPort(port) => holds(message, &RelayPort(*port)),
        Owned::Username(_)
        | Owned::Realm(_)
        | Owned::Nonce(_)
        | Owned::Software(_)
        | Owned::AlternateDomain(_)
        | Owned::Data(_)
        | Owned::ErrorCode(..)
        | Owned::AddressErrorCode(..)
        | Owned::UnknownAttributes(_)
        | Owned::PasswordAlgorithm(..)
        | Owned::Unknown(..) => holds_bytes(message, owned),
    }
}

/// [`holds_owned`] for those that borrow; they are compared by what they say.
fn holds_bytes(message: &Message<'_>, owned: &Owned) -> bool {
    fn last<'a, A: Attribute<'a>>(message: &Message<'a>) -> Option<A> {
        message.all::<A>().last()?.ok()
    }
    match owned {
        Owned::Username(bytes) => last::<Username<'_>>(message).is_some_and(|it| it.0 == bytes),
        Owned::Realm(bytes) => last::<Realm<'_>>(message).is_some_and(|it| it.0 == bytes),
        Owned::Nonce(bytes) => last::<Nonce<'_>>(message).is_some_and(|it| it.0 == bytes),
        Owned::Software(bytes) => last::<Software<'_>>(message).is_some_and(|it| it.0 == bytes),
        Owned::AlternateDomain(bytes) => {
            last::<AlternateDomain<'_>>(message).is_some_and(|it| it.0 == bytes)
        }
        Owned::Data(bytes) => last::<Data<'_>>(message).is_some_and(|it| it.0 == bytes),
        Owned::ErrorCode(code, reason) => {
            last::<ErrorCode<'_>>(message).is_some_and(|it| it.code == *code && it.reason == reason)
        }
        Owned::AddressErrorCode(family, code, reason) => last::<AddressErrorCode<'_>>(message)
            .is_some_and(|it| it.family == *family && it.code == *code && it.reason == reason),
        Owned::UnknownAttributes(types) => last::<UnknownAttributes<'_>>(message)
            .is_some_and(|it| it.types().map(|kind| kind.0).eq(types.iter().copied())),
        Owned::PasswordAlgorithm(algorithm, parameters) => last::<PasswordAlgorithm<'_>>(message)
            .is_some_and(|it| it.algorithm == *algorithm && it.parameters == parameters),
        Owned::Unknown(kind, value) => message
            .attributes()
            .last()
            .is_some_and(|it| it.kind == AttributeType(*kind) && it.value == value),
        Owned::MappedAddress(_)
        | Owned::XorMappedAddress(_)
        | Owned::XorPeerAddress(_)
        | Owned::XorRelayedAddress(_)
        | Owned::AlternateServer(_)
        | Owned::Userhash(_)
        | Owned::ReservationToken(_)
        | Owned::Lifetime(_)
        | Owned::RequestedTransport(_)
        | Owned::ConnectionId(_)
        | Owned::Channel(_)
        | Owned::RequestedAddressFamily(_)
        | Owned::AdditionalAddressFamily(_)
        | Owned::EvenPort(_)
        | Owned::DontFragment
        | Owned::PasswordAlgorithms
        | Owned::Icmp(_)
        | Owned::ChangeRequest(_)
        | Owned::ResponsePort(_)
        | Owned::RelayPort(_) => unreachable!("{owned:?} is compared by holds_owned"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_attribute(mut message in message(), attribute in attribute()) {
        message.attributes.push(attribute.clone());
        let bytes = message.encode();
        let decoded = Message::decode(&bytes).expect("what is written decodes");
        prop_assert!(holds_owned(&decoded, &attribute), "{decoded:?}");
    }

    #[test]
    fn a_message(message in message()) {
        let bytes = message.encode();
        prop_assert_eq!(bytes.len() % 4, 0);
        let decoded = Message::decode(&bytes).expect("what is written decodes");
        let Generated { class, method, transaction, attributes, seal } = &message;
        prop_assert_eq!(decoded.class(), *class);
        prop_assert_eq!(decoded.method(), *method);
        prop_assert_eq!(decoded.transaction_id(), *transaction);
        prop_assert_eq!(decoded.as_bytes(), &bytes);
        prop_assert_eq!(decoded.attributes().count(), attributes.len());
        prop_assert_eq!(decoded.has_integrity(), seal.integrity);
        prop_assert_eq!(decoded.has_integrity_sha256(), seal.integrity_sha256);
        prop_assert_eq!(decoded.has_fingerprint(), seal.fingerprint);
        prop_assert_eq!(decoded.verify_integrity(KEY), seal.integrity);
        prop_assert_eq!(decoded.verify_integrity_sha256(KEY), seal.integrity_sha256);
        prop_assert!(!decoded.verify_integrity(b"another key"));
        prop_assert!(!decoded.verify_integrity_sha256(b"another key"));
    }

    #[test]
    fn attributes_copied_as_bytes_are_the_same_message(message in message()) {
        let bytes = Generated { seal: Default::default(), ..message }.encode();
        let decoded = Message::decode(&bytes).expect("what is written decodes");
        let mut copy = vec![0xEE; bytes.len()];
        let (class, method) = (decoded.class(), decoded.method());
        let mut writer = MessageWriter::new(&mut copy, class, method, decoded.transaction_id());
        for attribute in decoded.attributes() {
            writer = writer.put_raw(attribute.kind, attribute.value);
        }
        prop_assert_eq!(writer.finish(), Ok(bytes.len()));
        prop_assert_eq!(copy, bytes);
    }

    #[test]
    fn a_buffer_that_is_too_short_is_full(message in message(), short in 1..200usize) {
        let needed = message.encode().len();
        let mut buffer = vec![0; needed.saturating_sub(short)];
        let mut writer =
            MessageWriter::new(&mut buffer, message.class, message.method, message.transaction);
        for attribute in &message.attributes {
            writer = attribute.put(writer);
        }
        if message.seal.integrity { writer = writer.put_integrity(KEY); }
        if message.seal.integrity_sha256 { writer = writer.put_integrity_sha256(KEY); }
        if message.seal.fingerprint { writer = writer.put_fingerprint(); }
        prop_assert!(writer.finish().is_err());
    }

    #[test]
    fn channel_data(number in 0x4000..=0x7FFFu16, data in vec(any::<u8>(), 0..64), pad: bool) {
        let channel = ChannelNumber::new(number).expect("a channel");
        let len = u16::try_from(data.len()).expect("it is short");
        let mut bytes = ChannelData::header(channel, len).to_vec();
        bytes.extend_from_slice(&data);
        if pad {
            bytes.resize(padded(bytes.len()), 0);
        }
        prop_assert_eq!(ChannelData::decode(&bytes), Ok(ChannelData { channel, data: &data }));
    }
}

#[test]
fn the_types_that_were_not_understood() {
    assert!(UnknownAttributes::new(&type_bytes(&[1, 2])).is_some());
    assert!(UnknownAttributes::new(&[0, 1, 0]).is_none(), "half a type is none");
}

/// The length field has two bytes: 65,532 is the most that is a multiple of four.
#[test]
fn a_message_longer_than_its_length_field_can_say_is_refused() {
    let transaction = turn_wire::TransactionId([1; 12]);
    let (class, method) = (turn_wire::Class::Indication, turn_wire::Method::SEND);
    let mut buffer = vec![0; 70_000];
    for (len, fits) in [(65_528, true), (65_529, false), (65_536, false)] {
        let data = vec![7; len];
        let written =
            MessageWriter::new(&mut buffer, class, method, transaction).put(&Data(&data)).finish();
        assert_eq!(written.is_ok(), fits, "{len} bytes of data");
    }
}
