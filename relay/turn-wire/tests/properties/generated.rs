//! Messages to try things with.

use std::net::SocketAddr;

use proptest::{collection::vec, prelude::*};
use turn_wire::{
    AttributeType, ChannelNumber, Class, ErrorCode, MessageWriter, Method, TransactionId,
    attribute::{
        AdditionalAddressFamily, AddressErrorCode, AlternateDomain, AlternateServer, ChangeRequest,
        Channel, ConnectionId, Data, DontFragment, EvenPort, Family, Icmp, Lifetime, MappedAddress,
        Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, RelayPort, RequestedAddressFamily,
        RequestedTransport, ReservationToken, ResponsePort, Software, UnknownAttributes, Userhash,
        Username, XorMappedAddress, XorPeerAddress, XorRelayedAddress,
    },
};

/// The key of every sealed message.
pub(crate) const KEY: &[u8] = b"sixteen byte key";

/// An attribute, with what it borrows.
#[derive(Debug, Clone)]
pub(crate) enum Owned {
    MappedAddress(SocketAddr),
    XorMappedAddress(SocketAddr),
    XorPeerAddress(SocketAddr),
    XorRelayedAddress(SocketAddr),
    AlternateServer(SocketAddr),
    Username(Vec<u8>),
    Realm(Vec<u8>),
    Nonce(Vec<u8>),
    Software(Vec<u8>),
    AlternateDomain(Vec<u8>),
    Data(Vec<u8>),
    Userhash([u8; 32]),
    ReservationToken([u8; 8]),
    Lifetime(u32),
    RequestedTransport(u8),
    ConnectionId(u32),
    Channel(ChannelNumber),
    RequestedAddressFamily(Option<Family>),
    AdditionalAddressFamily(Option<Family>),
    EvenPort(bool),
    DontFragment,
    ErrorCode(u16, Vec<u8>),
    AddressErrorCode(Family, u16, Vec<u8>),
    UnknownAttributes(Vec<u16>),
    PasswordAlgorithm(u16, Vec<u8>),
    PasswordAlgorithms,
    Icmp(Icmp),
    ChangeRequest(ChangeRequest),
    ResponsePort(u16),
    RelayPort(u16),
    /// Of a type that nobody knows.
    Unknown(u16, Vec<u8>),
}

/// The two bytes of each type, as UNKNOWN-ATTRIBUTES has them.
pub(crate) fn type_bytes(types: &[u16]) -> Vec<u8> {
    types.iter().flat_map(|kind| kind.to_be_bytes()).collect()
}

impl Owned {
    /// Writes it.
    pub(crate) fn put<'b>(&self, writer: MessageWriter<'b>) -> MessageWriter<'b> {
        match self {
            Self::MappedAddress(address) => writer.put(&MappedAddress(*address)),
            Self::XorMappedAddress(address) => writer.put(&XorMappedAddress(*address)),
            Self::XorPeerAddress(address) => writer.put(&XorPeerAddress(*address)),
            Self::XorRelayedAddress(address) => writer.put(&XorRelayedAddress(*address)),
            Self::AlternateServer(address) => writer.put(&AlternateServer(*address)),
            Self::Username(bytes) => writer.put(&Username(bytes)),
            Self::Realm(bytes) => writer.put(&Realm(bytes)),
            Self::Nonce(bytes) => writer.put(&Nonce(bytes)),
            Self::Software(bytes) => writer.put(&Software(bytes)),
            Self::AlternateDomain(bytes) => writer.put(&AlternateDomain(bytes)),
            Self::Data(bytes) => writer.put(&Data(bytes)),
            Self::Userhash(hash) => writer.put(&Userhash(*hash)),
            Self::ReservationToken(token) => writer.put(&ReservationToken(*token)),
            Self::Lifetime(seconds) => writer.put(&Lifetime(*seconds)),
            Self::RequestedTransport(protocol) => writer.put(&RequestedTransport(*protocol)),
            Self::ConnectionId(id) => writer.put(&ConnectionId(*id)),
            Self::Channel(number) => writer.put(&Channel(*number)),
            Self::RequestedAddressFamily(family) => writer.put(&RequestedAddressFamily(*family)),
            Self::AdditionalAddressFamily(family) => writer.put(&AdditionalAddressFamily(*family)),
            Self::EvenPort(reserve) => writer.put(&EvenPort { reserve: *reserve }),
            Self::DontFragment => writer.put(&DontFragment),
            Self::ErrorCode(code, reason) => writer.put(&ErrorCode { code: *code, reason }),
            Self::AddressErrorCode(family, code, reason) => {
                writer.put(&AddressErrorCode { family: *family, code: *code, reason })
            }
            Self::UnknownAttributes(types) => {
                writer.put_some(UnknownAttributes::new(&type_bytes(types)).as_ref())
            }
            Self::PasswordAlgorithm(algorithm, parameters) => {
                writer.put(&PasswordAlgorithm { algorithm: *algorithm, parameters })
            }
            Self::PasswordAlgorithms => writer.put(&PasswordAlgorithms::default()),
            Self::Icmp(icmp) => writer.put(icmp),
            Self::ChangeRequest(change) => writer.put(change),
            Self::ResponsePort(port) => writer.put(&ResponsePort(*port)),
            Self::RelayPort(port) => writer.put(&RelayPort(*port)),
            Self::Unknown(kind, value) => writer.put_raw(AttributeType(*kind), value),
        }
    }
}

/// What a message ends with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seal {
    pub(crate) integrity: bool,
    pub(crate) integrity_sha256: bool,
    pub(crate) fingerprint: bool,
}

/// A message to be.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    pub(crate) class: Class,
    pub(crate) method: Method,
    pub(crate) transaction: TransactionId,
    pub(crate) attributes: Vec<Owned>,
    pub(crate) seal: Seal,
}

impl Generated {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut buffer = vec![0xEE; 65_600];
        let mut writer = MessageWriter::new(&mut buffer, self.class, self.method, self.transaction);
        for attribute in &self.attributes {
            writer = attribute.put(writer);
        }
        if self.seal.integrity {
            writer = writer.put_integrity(KEY);
        }
        if self.seal.integrity_sha256 {
            writer = writer.put_integrity_sha256(KEY);
        }
        if self.seal.fingerprint {
            writer = writer.put_fingerprint();
        }
        let len = writer.finish().expect("it fits");
        buffer.truncate(len);
        buffer
    }
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    // Mostly short, so that a case is quick; now and then as long as can be.
    prop_oneof![
        9 => vec(any::<u8>(), 0..most.min(40)),
        1 => Just(vec![0x5A; most]),
    ]
}

fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
        any::<([u8; 16], u16)>().prop_map(SocketAddr::from),
    ]
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn channel() -> impl Strategy<Value = ChannelNumber> {
    (ChannelNumber::MIN.number()..=ChannelNumber::MAX.number())
        .prop_map(|number| ChannelNumber::new(number).expect("a channel"))
}

fn addresses() -> impl Strategy<Value = Owned> {
    prop_oneof![
        address().prop_map(Owned::MappedAddress),
        address().prop_map(Owned::XorMappedAddress),
        address().prop_map(Owned::XorPeerAddress),
        address().prop_map(Owned::XorRelayedAddress),
        address().prop_map(Owned::AlternateServer),
    ]
}

fn strings() -> impl Strategy<Value = Owned> {
    prop_oneof![
        bytes(508).prop_map(Owned::Username),
        bytes(763).prop_map(Owned::Realm),
        bytes(763).prop_map(Owned::Nonce),
        bytes(763).prop_map(Owned::Software),
        bytes(255).prop_map(Owned::AlternateDomain),
        bytes(1500).prop_map(Owned::Data),
        any::<[u8; 32]>().prop_map(Owned::Userhash),
        any::<[u8; 8]>().prop_map(Owned::ReservationToken),
    ]
}

fn numbers() -> impl Strategy<Value = Owned> {
    prop_oneof![
        any::<u32>().prop_map(Owned::Lifetime),
        any::<u8>().prop_map(Owned::RequestedTransport),
        any::<u32>().prop_map(Owned::ConnectionId),
        channel().prop_map(Owned::Channel),
        proptest::option::of(family()).prop_map(Owned::RequestedAddressFamily),
        proptest::option::of(family()).prop_map(Owned::AdditionalAddressFamily),
        any::<bool>().prop_map(Owned::EvenPort),
        Just(Owned::DontFragment),
        (0..0x80u8, 0..0x200u16, any::<u32>())
            .prop_map(|(kind, code, error_data)| Owned::Icmp(Icmp { kind, code, error_data })),
        (any::<bool>(), any::<bool>())
            .prop_map(|(address, port)| Owned::ChangeRequest(ChangeRequest { address, port })),
        any::<u16>().prop_map(Owned::ResponsePort),
        any::<u16>().prop_map(Owned::RelayPort),
    ]
}

fn composites() -> impl Strategy<Value = Owned> {
    prop_oneof![
        (300..700u16, bytes(763)).prop_map(|(code, reason)| Owned::ErrorCode(code, reason)),
        (family(), 300..700u16, bytes(763))
            .prop_map(|(family, code, reason)| Owned::AddressErrorCode(family, code, reason)),
        vec(any::<u16>(), 0..8).prop_map(Owned::UnknownAttributes),
        (any::<u16>(), bytes(40))
            .prop_map(|(algorithm, parameters)| Owned::PasswordAlgorithm(algorithm, parameters)),
        Just(Owned::PasswordAlgorithms),
        (prop_oneof![0x0100..0x0200u16, 0x9000..0xFFFFu16], bytes(100))
            .prop_map(|(kind, value)| Owned::Unknown(kind, value)),
    ]
}

/// Any attribute but the three that seal.
pub(crate) fn attribute() -> impl Strategy<Value = Owned> {
    prop_oneof![addresses(), strings(), numbers(), composites()]
}

/// Any way to seal.
fn seal() -> impl Strategy<Value = Seal> {
    any::<(bool, bool, bool)>().prop_map(|(integrity, integrity_sha256, fingerprint)| Seal {
        integrity,
        integrity_sha256,
        fingerprint,
    })
}

/// Any message.
pub(crate) fn message() -> impl Strategy<Value = Generated> {
    let class = prop_oneof![
        Just(Class::Request),
        Just(Class::Indication),
        Just(Class::Success),
        Just(Class::Error)
    ];
    let method = (0..0x1000u16).prop_map(|number| Method::new(number).expect("twelve bits"));
    let transaction = any::<[u8; 12]>().prop_map(TransactionId);
    (class, method, transaction, vec(attribute(), 0..6), seal()).prop_map(
        |(class, method, transaction, attributes, seal)| Generated {
            class,
            method,
            transaction,
            attributes,
            seal,
        },
    )
}

/// Changes to bytes: positions are taken modulo the length, zero changes nothing; then a cut, or
/// more bytes behind.
pub(crate) fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let resize = prop_oneof![3 => Just(0i32), 1 => -30..30];
    (message(), vec((any::<u16>(), any::<u8>()), 0..4), resize).prop_map(
        |(message, changes, resize)| {
            let mut bytes = message.encode();
            for (at, change) in changes {
                let at = usize::from(at) % bytes.len();
                bytes[at] ^= change;
            }
            let len = bytes.len().saturating_add_signed(resize as isize);
            bytes.resize(len, 0x42);
            bytes
        },
    )
}
