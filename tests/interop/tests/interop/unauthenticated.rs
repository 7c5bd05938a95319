//! Datagrams of senders who have proved nothing, each kind of them.

/// The magic cookie of RFC 8489, section 5.
const COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();

/// Of every message.
const TRANSACTION: [u8; 12] = *b"unauthentica";

/// Of the message that is answered by every server, after which no answer to another is awaited.
pub(crate) const MARKER: [u8; 12] = *b"marks an end";

/// The methods of the RFCs, and one of none.
const METHODS: [(&str, u16); 12] = [
    ("Binding", 0x001),
    ("Shared Secret", 0x002),
    ("Allocate", 0x003),
    ("Refresh", 0x004),
    ("Send", 0x006),
    ("Data", 0x007),
    ("CreatePermission", 0x008),
    ("ChannelBind", 0x009),
    ("Connect", 0x00A),
    ("ConnectionBind", 0x00B),
    ("ConnectionAttempt", 0x00C),
    ("unknown method", 0xABC),
];

/// The classes, in the order of their two bits.
const CLASSES: [&str; 4] = ["request", "indication", "success", "error"];

const REQUEST: u16 = 0;
const INDICATION: u16 = 1;

const BINDING: u16 = 0x001;
const ALLOCATE: u16 = 0x003;
const REFRESH: u16 = 0x004;
const SEND: u16 = 0x006;
const CREATE_PERMISSION: u16 = 0x008;
const CHANNEL_BIND: u16 = 0x009;
const CONNECT: u16 = 0x00A;

const CHANGE_REQUEST: u16 = 0x0003;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const CHANNEL_NUMBER: u16 = 0x000C;
const LIFETIME: u16 = 0x000D;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const DATA: u16 = 0x0013;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
const EVEN_PORT: u16 = 0x0018;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const DONT_FRAGMENT: u16 = 0x001A;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
const USERHASH: u16 = 0x001E;
const PADDING: u16 = 0x0026;
const RESPONSE_PORT: u16 = 0x0027;
const MOBILITY_TICKET: u16 = 0x8030;
const SOFTWARE: u16 = 0x8022;

type Attribute = (u16, Vec<u8>);

/// Realm and nonce of a server, which it gives to everybody.
#[derive(Debug, Clone, Default)]
pub(crate) struct Challenge {
    realm: Vec<u8>,
    nonce: Vec<u8>,
}

impl Challenge {
    /// Reads it from the answer to [`marker`]'s sibling, an Allocate request; empty where the
    /// answer has none.
    pub(crate) fn of(answer: &[u8]) -> Self {
        let mut challenge = Self::default();
        let mut rest = answer.get(20..).unwrap_or_default();
        while let [k0, k1, l0, l1, body @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let value = body.get(..length).unwrap_or_default().to_vec();
            match u16::from_be_bytes([*k0, *k1]) {
                REALM => challenge.realm = value,
                NONCE => challenge.nonce = value,
                _ => {}
            }
            rest = body.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        challenge
    }
}

/// One kind of datagram.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: String,
    /// Whether it is a header of 20 bytes and nothing else.
    pub(crate) is_bare: bool,
    /// Whether it goes to a listener for DTLS.
    pub(crate) is_dtls: bool,
    make: fn(&Challenge) -> Vec<u8>,
    fixed: Vec<u8>,
}

impl Kind {
    fn new(name: &str, datagram: Vec<u8>) -> Self {
        Self { fixed: datagram, ..Self::challenged(name, |_| Vec::new()) }
    }

    fn challenged(name: &str, make: fn(&Challenge) -> Vec<u8>) -> Self {
        let name = name.to_owned();
        Self { name, is_bare: false, is_dtls: false, make, fixed: Vec::new() }
    }

    fn dtls(name: &str, datagram: Vec<u8>) -> Self {
        Self { is_dtls: true, ..Self::new(name, datagram) }
    }

    /// Its bytes for a server with this challenge.
    pub(crate) fn datagram(&self, challenge: &Challenge) -> Vec<u8> {
        let made = (self.make)(challenge);
        if made.is_empty() { self.fixed.clone() } else { made }
    }
}

/// A Binding request that every server answers.
pub(crate) fn marker() -> Vec<u8> {
    let mut message = message(REQUEST, BINDING, &[]);
    message[8..20].copy_from_slice(&MARKER);
    message
}

/// A request that is answered by a challenge.
pub(crate) fn allocate() -> Vec<u8> {
    message(REQUEST, ALLOCATE, &[requested_transport()])
}

/// All kinds.
pub(crate) fn kinds() -> Vec<Kind> {
    let mut kinds = bare_headers();
    kinds.extend(with_attributes());
    kinds.extend(with_unknown_attributes());
    kinds.extend(with_credentials());
    kinds.extend(malformed());
    kinds.extend(other_protocols());
    kinds.extend(client_hellos());
    kinds
}

fn bare_headers() -> Vec<Kind> {
    let of_class = |(class, class_name): (u16, &str)| {
        let of_method = move |(name, method)| Kind {
            is_bare: true,
            ..Kind::new(&format!("bare {name} {class_name}"), message(class, method, &[]))
        };
        METHODS.map(of_method)
    };
    (0..).zip(CLASSES).flat_map(of_class).collect()
}

fn with_attributes() -> Vec<Kind> {
    let request = |name: &str, method, attributes: &[Attribute]| {
        Kind::new(name, message(REQUEST, method, attributes))
    };
    let peer = || (XOR_PEER_ADDRESS, vec![0, 1, 0x2C, 0x8A, 0x29, 0x13, 0xA4, 0x43]);
    vec![
        Kind::new("Binding, FINGERPRINT", fingerprinted(message(REQUEST, BINDING, &[]))),
        request("Binding, SOFTWARE of 500", BINDING, &[(SOFTWARE, vec![b's'; 500])]),
        request("Binding, CHANGE-REQUEST", BINDING, &[(CHANGE_REQUEST, vec![0, 0, 0, 6])]),
        request("Binding, RESPONSE-PORT", BINDING, &[(RESPONSE_PORT, vec![0x30, 0x39, 0, 0])]),
        request("Binding, PADDING of 1000", BINDING, &[(PADDING, vec![0; 1000])]),
        request(
            "Allocate of a browser",
            ALLOCATE,
            &[requested_transport(), (0xC058, vec![0, 0, 0, 1]), (0xC057, vec![0, 1, 0, 0])],
        ),
        Kind::new("Allocate, FINGERPRINT", fingerprinted(allocate())),
        request(
            "Allocate, LIFETIME, IPv6",
            ALLOCATE,
            &[
                requested_transport(),
                (LIFETIME, vec![0, 0, 0x0E, 0x10]),
                (REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0]),
            ],
        ),
        request(
            "Allocate, EVEN-PORT, DONT-FRAGMENT",
            ALLOCATE,
            &[requested_transport(), (EVEN_PORT, vec![0x80]), (DONT_FRAGMENT, Vec::new())],
        ),
        request("Allocate over TCP to peers", ALLOCATE, &[(REQUESTED_TRANSPORT, vec![6, 0, 0, 0])]),
        request("Allocate, RESPONSE-PORT", ALLOCATE, &[(RESPONSE_PORT, vec![0x30, 0x39, 0, 0])]),
        request("Allocate, empty NONCE", ALLOCATE, &[(NONCE, Vec::new())]),
        request("Refresh, LIFETIME 0", REFRESH, &[(LIFETIME, vec![0; 4])]),
        request("Refresh, MOBILITY-TICKET", REFRESH, &[(MOBILITY_TICKET, vec![7; 32])]),
        request("CreatePermission, peer", CREATE_PERMISSION, &[peer()]),
        request("CreatePermission, 40 peers", CREATE_PERMISSION, &vec![peer(); 40]),
        request(
            "ChannelBind, channel, peer",
            CHANNEL_BIND,
            &[(CHANNEL_NUMBER, vec![0x40, 0, 0, 0]), peer()],
        ),
        request("Connect, peer", CONNECT, &[peer()]),
        Kind::new(
            "Send indication, peer, DATA of 100",
            message(INDICATION, SEND, &[peer(), (DATA, vec![b'd'; 100])]),
        ),
    ]
}

fn with_unknown_attributes() -> Vec<Kind> {
    let unknown = |first: u16, count: u16| -> Vec<Attribute> {
        (first..first + count).map(|kind| (kind, Vec::new())).collect()
    };
    let kind = |name: &str, class, method, first, count| {
        Kind::new(name, message(class, method, &unknown(first, count)))
    };
    vec![
        kind("Binding, 1 unknown attribute", REQUEST, BINDING, 0x7000, 1),
        kind("Binding, 2 unknown attributes", REQUEST, BINDING, 0x7000, 2),
        kind("Binding, 3 unknown attributes", REQUEST, BINDING, 0x7000, 3),
        kind("Binding, 300 unknown attributes", REQUEST, BINDING, 0x7000, 300),
        kind("Binding, 300 optional attributes", REQUEST, BINDING, 0xE000, 300),
        kind("Binding indication, unknown attribute", INDICATION, BINDING, 0x7000, 1),
        kind("Allocate, 1 unknown attribute", REQUEST, ALLOCATE, 0x7000, 1),
        kind("Allocate, 300 unknown attributes", REQUEST, ALLOCATE, 0x7000, 300),
        kind("Refresh, 1 unknown attribute", REQUEST, REFRESH, 0x7000, 1),
    ]
}

fn with_credentials() -> Vec<Kind> {
    let bogus = || Challenge { realm: b"elsewhere".to_vec(), nonce: vec![b'n'; 40] };
    let signed = |name: &str, method, attributes: &[Attribute]| {
        Kind::new(name, with_challenge(method, attributes, &bogus()))
    };
    let sha256 = (MESSAGE_INTEGRITY_SHA256, vec![5; 32]);
    let anonymous = message(
        REQUEST,
        ALLOCATE,
        &[
            requested_transport(),
            (USERHASH, vec![4; 32]),
            (REALM, bogus().realm),
            (NONCE, bogus().nonce),
            sha256.clone(),
        ],
    );
    vec![
        signed("Allocate, bogus nonce", ALLOCATE, &[requested_transport()]),
        signed("Refresh, bogus nonce", REFRESH, &[]),
        signed("CreatePermission, bogus nonce", CREATE_PERMISSION, &[]),
        signed("ChannelBind, bogus nonce", CHANNEL_BIND, &[]),
        signed("Connect, bogus nonce", CONNECT, &[]),
        signed("Binding, bogus nonce", BINDING, &[]),
        Kind::new("Allocate, USERHASH, SHA-256, bogus nonce", anonymous),
        Kind::challenged("Allocate, good nonce, wrong password", |challenge| {
            with_challenge(ALLOCATE, &[requested_transport()], challenge)
        }),
        Kind::challenged("Refresh, good nonce, wrong password", |challenge| {
            with_challenge(REFRESH, &[], challenge)
        }),
        Kind::new(
            "Allocate, MESSAGE-INTEGRITY alone",
            message(REQUEST, ALLOCATE, &[requested_transport(), (MESSAGE_INTEGRITY, vec![5; 20])]),
        ),
        Kind::new("Allocate, SHA-256 alone", message(REQUEST, ALLOCATE, &[sha256])),
    ]
}

fn malformed() -> Vec<Kind> {
    let with_length = |length: u16| {
        let mut message = allocate();
        message[2..4].copy_from_slice(&length.to_be_bytes());
        message
    };
    let mut old = message(REQUEST, BINDING, &[]);
    old[4..8].copy_from_slice(&[1, 2, 3, 4]);
    let mut long_attribute = allocate();
    long_attribute[22..24].copy_from_slice(&[0xFF, 0xFF]);
    let mut wrong_fingerprint = fingerprinted(message(REQUEST, BINDING, &[]));
    wrong_fingerprint[27] ^= 1;
    vec![
        Kind::new("RFC 3489 Binding, no cookie", old),
        Kind::new("Allocate, length too short", with_length(0)),
        Kind::new("Allocate, length too long", with_length(400)),
        Kind::new("Allocate, length of no words", with_length(7)),
        Kind::new("Allocate, attribute too long", long_attribute),
        Kind::new("Allocate cut after 19 bytes", allocate()[..19].to_vec()),
        Kind::new("Binding, wrong FINGERPRINT", wrong_fingerprint),
        Kind::new(
            "Binding of 60,000 bytes",
            message(REQUEST, BINDING, &[(SOFTWARE, vec![0; 60_000])]),
        ),
        Kind::new("empty datagram", Vec::new()),
        Kind::new("one byte", vec![0]),
        Kind::new("1,400 zero bytes", vec![0; 1400]),
        Kind::new("60,000 bytes of 0xFF", vec![0xFF; 60_000]),
    ]
}

fn other_protocols() -> Vec<Kind> {
    let channel_data = |number: u16, length: u16| {
        let mut message = [number.to_be_bytes(), length.to_be_bytes()].concat();
        message.extend(vec![b'c'; length.into()]);
        message
    };
    let mut rtp = vec![0x80, 0x60];
    rtp.extend([7; 170]);
    vec![
        Kind::new("ChannelData, empty", channel_data(0x4000, 0)),
        Kind::new("ChannelData of 160", channel_data(0x4000, 160)),
        Kind::new("ChannelData, reserved number", channel_data(0x7000, 160)),
        Kind::new("RTP", rtp),
        Kind::new(
            "DNS query",
            b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\xFF\0\x01".to_vec(),
        ),
        Kind::new("DTLS alert", vec![21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 0]),
        Kind::new("DTLS record of nothing", vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Kind::new("SIP", b"OPTIONS sip:a@example.org SIP/2.0\r\n\r\n".to_vec()),
    ]
}

/// What DTLS begins with.
fn client_hellos() -> Vec<Kind> {
    let share = [&[0, 0x1D, 0, 32][..], &[9; 32]].concat();
    let signatures = || (13, vec![0, 4, 4, 3, 8, 4]);
    let of_version_1_3 = [
        (43, vec![2, 0xFE, 0xFC]),
        (10, vec![0, 2, 0, 0x1D]),
        signatures(),
        (51, [&length_of(&share).to_be_bytes()[..], &share].concat()),
    ];
    let of_version_1_2 = [(10, vec![0, 4, 0, 0x1D, 0, 0x17]), (11, vec![1, 0]), signatures()];
    let least = client_hello(0xFD, &[], 0xC02B, &[]);
    let padded = [of_version_1_2.to_vec(), vec![(21, vec![0; 1000])]].concat();
    vec![
        Kind::dtls("ClientHello of DTLS 1.0", client_hello(0xFF, &[], 0xC013, &[])),
        Kind::dtls("ClientHello of DTLS 1.2, the least", least.clone()),
        Kind::dtls("ClientHello of DTLS 1.2", client_hello(0xFD, &[], 0xC02B, &of_version_1_2)),
        Kind::dtls("ClientHello, padding of 1000", client_hello(0xFD, &[], 0xC02B, &padded)),
        Kind::dtls("ClientHello of DTLS 1.3", client_hello(0xFD, &[], 0x1301, &of_version_1_3)),
        Kind::dtls(
            "ClientHello, nobody's cookie",
            client_hello(0xFD, &[7; 32], 0xC02B, &of_version_1_2),
        ),
        Kind::dtls("ClientHello of no suite", client_hello(0xFD, &[], 0x0A0A, &of_version_1_2)),
        Kind::dtls("ClientHello cut after 30 bytes", least[..30].to_vec()),
        Kind::dtls("STUN to DTLS", message(REQUEST, ALLOCATE, &[requested_transport()])),
    ]
}

/// A ClientHello (RFC 6347, section 4.3.2), in a record of its own.
fn client_hello(version: u8, cookie: &[u8], suite: u16, extensions: &[Attribute]) -> Vec<u8> {
    let mut body = vec![0xFE, version];
    body.extend([7; 32]);
    // No session, the cookie, one suite, no compression.
    body.extend([0, u8::try_from(cookie.len()).unwrap_or(u8::MAX)]);
    body.extend(cookie);
    body.extend([0, 2]);
    body.extend(suite.to_be_bytes());
    body.extend([1, 0]);
    let mut coded = Vec::new();
    for (kind, value) in extensions {
        coded.extend(kind.to_be_bytes());
        coded.extend(length_of(value).to_be_bytes());
        coded.extend(value);
    }
    if !coded.is_empty() {
        body.extend(length_of(&coded).to_be_bytes());
        body.extend(coded);
    }
    let [high, low] = length_of(&body).to_be_bytes();
    // One message in one piece: its whole length is the length of the piece.
    let header = [1, 0, high, low, 0, 0, 0, 0, 0, 0, high, low];
    let len = length_of(&[&header[..], &body].concat()).to_be_bytes();
    [&[22, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0], &len[..], &header, &body].concat()
}

fn requested_transport() -> Attribute {
    (REQUESTED_TRANSPORT, vec![17, 0, 0, 0])
}

/// A message that says to know a password.
fn with_challenge(method: u16, attributes: &[Attribute], challenge: &Challenge) -> Vec<u8> {
    let mut attributes = attributes.to_vec();
    attributes.push((USERNAME, b"4000000000:mallory".to_vec()));
    attributes.push((REALM, challenge.realm.clone()));
    attributes.push((NONCE, challenge.nonce.clone()));
    attributes.push((MESSAGE_INTEGRITY, vec![5; 20]));
    message(REQUEST, method, &attributes)
}

fn message(class: u16, method: u16, attributes: &[Attribute]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend(length_of(value).to_be_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = message_type(class, method).to_be_bytes().to_vec();
    message.extend(length_of(&body).to_be_bytes());
    message.extend(COOKIE);
    message.extend(TRANSACTION);
    message.extend(body);
    message
}

/// The bits of both, interleaved as RFC 8489, section 5 has them.
fn message_type(class: u16, method: u16) -> u16 {
    let method = (method & 0x00F) | (method & 0x070) << 1 | (method & 0xF80) << 2;
    method | (class & 1) << 4 | (class & 2) << 7
}

fn length_of(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX)
}

/// Adds a FINGERPRINT (RFC 8489, section 14.7).
fn fingerprinted(mut message: Vec<u8>) -> Vec<u8> {
    let length = u16::from_be_bytes([message[2], message[3]]) + 8;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    let fingerprint = crc32fast::hash(&message) ^ 0x5354_554E;
    message.extend([0x80, 0x28, 0, 4]);
    message.extend(fingerprint.to_be_bytes());
    message
}
