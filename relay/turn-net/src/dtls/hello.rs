//! The ClientHello of DTLS (RFC 6347, section 4.2; RFC 9147, section 5), as far as a cookie needs it.

use std::ops::Range;

/// Of a record: type, version, epoch, sequence number, length.
const RECORD_HEADER: usize = 13;
/// Of a handshake message: type, length, number, offset and length of the fragment.
const HANDSHAKE_HEADER: usize = 12;
const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
const DTLS_1_0: [u8; 2] = [0xFE, 0xFF];
const DTLS_1_2: [u8; 2] = [0xFE, 0xFD];
const DTLS_1_3: [u8; 2] = [0xFE, 0xFC];

const PADDING: u16 = 21;
const COOKIE: u16 = 44;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// The groups and the cipher suites of TLS 1.3 that DTLS is spoken with here.
const GROUPS: [u16; 3] = [29, 23, 24];
const SUITES: [u16; 3] = [0x1301, 0x1302, 0x1303];

/// What a ServerHello has for a random number that asks to try again (RFC 8446, section 4.1.3).
const RETRY: [u8; 32] = [
    0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91,
    0xC2, 0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
];

/// What is said to a client that speaks nothing that is spoken here: a fatal alert, protocol_version.
/// Without it the client would ask again for a minute.
pub(crate) const NO_SUCH_VERSION: [u8; 15] = [21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 70];

/// A version that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// DTLS 1.2: the cookie goes back and forth in a HelloVerifyRequest.
    V12,
    /// DTLS 1.3: in a HelloRetryRequest that has chosen this cipher suite.
    V13 {
        /// The suite.
        suite: u16,
    },
}

/// What a datagram is that might begin an association.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beginning<'a> {
    /// A ClientHello in one piece.
    Hello(ClientHello<'a>),
    /// A part of one.
    Fragment,
    /// A ClientHello with nothing that is spoken here.
    NothingInCommon,
    /// Something else.
    Other,
}

/// A ClientHello.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientHello<'a> {
    pub(crate) version: Version,
    pub(crate) random: [u8; 32],
    /// The cookie that it brings back, if it does.
    pub(crate) cookie: Option<&'a [u8]>,
    /// The sequence number of its record.
    sequence: [u8; 6],
    body: &'a [u8],
    /// Where in the body the cookie of DTLS 1.2 stands.
    legacy_cookie: Range<usize>,
    /// Where in the body the extensions stand, after their length.
    extensions: Range<usize>,
    /// How many bytes of padding it has, if there is such an extension.
    pub(crate) padding: Option<u16>,
}

impl<'a> Beginning<'a> {
    /// Looks at a datagram.
    pub(crate) fn of(datagram: &'a [u8]) -> Self {
        let Some((header, rest)) = datagram.split_first_chunk::<RECORD_HEADER>() else {
            return Self::Other;
        };
        let [kind, major, minor, epoch @ .., high, low] = *header;
        let ([0, 0, sequence @ ..], HANDSHAKE_RECORD) = (epoch, kind) else { return Self::Other };
        if ![DTLS_1_0, DTLS_1_2].contains(&[major, minor]) {
            return Self::Other;
        }
        let len = usize::from(u16::from_be_bytes([high, low]));
        let Some(record) = rest.get(..len) else { return Self::Other };
        let Some((header, body)) = record.split_first_chunk::<HANDSHAKE_HEADER>() else {
            return Self::Other;
        };
        let [CLIENT_HELLO, l0, l1, l2, _, _, o0, o1, o2, f0, f1, f2] = *header else {
            return Self::Other;
        };
        let len = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
        if [o0, o1, o2] != [0; 3] || [f0, f1, f2] != [l0, l1, l2] {
            return Self::Fragment;
        }
        body.get(..len).map_or(Self::Other, |body| Self::of_body(body, sequence))
    }

    fn of_body(body: &'a [u8], sequence: [u8; 6]) -> Self {
        let Some(fields) = Fields::read(body) else { return Self::Other };
        let Some(version) = fields.version() else { return Self::NothingInCommon };
        let cookie = match version {
            Version::V12 => body.get(fields.legacy_cookie.clone()),
            Version::V13 { .. } => fields.cookie,
        };
        Self::Hello(ClientHello {
            version,
            random: fields.random,
            cookie: cookie.filter(|cookie| !cookie.is_empty()),
            sequence,
            body,
            legacy_cookie: fields.legacy_cookie,
            extensions: fields.extensions,
            padding: fields.padding,
        })
    }
}

impl ClientHello<'_> {
    /// How long its body is, in bytes.
    pub(crate) const fn len(&self) -> usize {
        self.body.len()
    }

    /// The body that the hello had before there was a cookie. A client may pad anew (RFC 8446, section
    /// 4.1.2): `padding` is how many bytes of it there were.
    pub(crate) fn body_without_cookie(&self, padding: Option<u16>) -> Vec<u8> {
        if self.version == Version::V12 {
            let (before, after) = (self.legacy_cookie.start, self.legacy_cookie.end);
            // Its length is the byte before it.
            let before = &self.body[..before.saturating_sub(1)];
            return [before, &[0], &self.body[after..]].concat();
        }
        let mut extensions = self.extensions_without_cookie(padding).unwrap_or_default();
        if let Some(padding) = padding.filter(|_| self.padding.is_none()) {
            put_padding(&mut extensions, padding);
        }
        // With less padding than a datagram it is shorter than that.
        let len = u16::try_from(extensions.len()).unwrap_or(0);
        let before = &self.body[..self.extensions.start.saturating_sub(2)];
        [before, &len.to_be_bytes(), &extensions].concat()
    }

    fn extensions_without_cookie(&self, padding: Option<u16>) -> Option<Vec<u8>> {
        let mut reader = Reader { bytes: &self.body[self.extensions.clone()], at: 0 };
        let mut extensions = Vec::with_capacity(reader.bytes.len());
        while !reader.is_at_end() {
            let start = reader.at;
            let (kind, _) = reader.extension()?;
            match kind {
                COOKIE => {}
                PADDING => {
                    if let Some(len) = padding {
                        put_padding(&mut extensions, len);
                    }
                }
                _ => extensions.extend(&reader.bytes[start..reader.at]),
            }
        }
        Some(extensions)
    }

    /// The datagram that the hello came in before there was a cookie.
    pub(crate) fn without_cookie(&self, padding: Option<u16>) -> Vec<u8> {
        handshake(CLIENT_HELLO, [0; 6], &self.body_without_cookie(padding))
    }

    /// What asks the client to come back with a cookie.
    pub(crate) fn request(&self, cookie: &[u8; 32]) -> Vec<u8> {
        match self.version {
            // RFC 6347, section 4.2.1: always of version 1.0, and with the record's number.
            Version::V12 => {
                let body = [&DTLS_1_0[..], &[32], cookie].concat();
                handshake(HELLO_VERIFY_REQUEST, self.sequence, &body)
            }
            Version::V13 { suite } => {
                handshake(SERVER_HELLO, [0; 6], &retry_request(suite, cookie))
            }
        }
    }
}

fn put_padding(extensions: &mut Vec<u8>, len: u16) {
    extensions.extend(PADDING.to_be_bytes());
    extensions.extend(len.to_be_bytes());
    extensions.resize(extensions.len() + usize::from(len), 0);
}

/// A HelloRetryRequest (RFC 8446, section 4.1.4).
fn retry_request(suite: u16, cookie: &[u8; 32]) -> Vec<u8> {
    let mut extensions = Vec::with_capacity(44);
    extensions.extend(SUPPORTED_VERSIONS.to_be_bytes());
    extensions.extend([0, 2]);
    extensions.extend(DTLS_1_3);
    extensions.extend(COOKIE.to_be_bytes());
    extensions.extend([0, 34, 0, 32]);
    extensions.extend(cookie);
    let mut body = Vec::with_capacity(84);
    body.extend(DTLS_1_2);
    body.extend(RETRY);
    // No session, the suite, no compression.
    body.push(0);
    body.extend(suite.to_be_bytes());
    body.extend([0, 0, extensions.len() as u8]);
    body.extend(extensions);
    body
}

/// A handshake message, the first of its sender, in a record of its own.
fn handshake(kind: u8, sequence: [u8; 6], body: &[u8]) -> Vec<u8> {
    // A body is shorter than a datagram.
    let len = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
    let [_, len @ ..] = len;
    let record_len = u16::try_from(HANDSHAKE_HEADER + body.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = Vec::with_capacity(RECORD_HEADER + HANDSHAKE_HEADER + body.len());
    bytes.push(HANDSHAKE_RECORD);
    // RFC 6347, section 4.2.1: a HelloVerifyRequest's record may be of version 1.0, for clients
    // that do not know yet what is spoken.
    bytes.extend(if kind == HELLO_VERIFY_REQUEST { DTLS_1_0 } else { DTLS_1_2 });
    bytes.extend([0, 0]);
    bytes.extend(sequence);
    bytes.extend(record_len);
    bytes.push(kind);
    bytes.extend(len);
    bytes.extend([0, 0, 0, 0, 0]);
    bytes.extend(len);
    bytes.extend(body);
    bytes
}

/// What stands where in a ClientHello.
#[derive(Default)]
struct Fields<'a> {
    legacy_version: [u8; 2],
    random: [u8; 32],
    legacy_cookie: Range<usize>,
    suites: &'a [u8],
    extensions: Range<usize>,
    versions: Option<&'a [u8]>,
    has_share: bool,
    cookie: Option<&'a [u8]>,
    padding: Option<u16>,
}

/// Reads one field after the other.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn u8(&mut self) -> Option<usize> {
        self.take(1).and_then(<[u8]>::first).map(|byte| usize::from(*byte))
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// Type and content.
    fn extension(&mut self) -> Option<(u16, &'a [u8])> {
        let kind = self.u16()?;
        let len = usize::from(self.u16()?);
        Some((kind, self.take(len)?))
    }

    const fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }
}

impl<'a> Fields<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader { bytes: body, at: 0 };
        let legacy_version = *reader.take(2)?.first_chunk()?;
        let random = *reader.take(32)?.first_chunk()?;
        let session_len = reader.u8()?;
        reader.take(session_len)?;
        let cookie_len = reader.u8()?;
        let legacy_cookie = reader.at..reader.at + cookie_len;
        reader.take(cookie_len)?;
        let suites_len = usize::from(reader.u16()?);
        let suites = reader.take(suites_len)?;
        let compression_len = reader.u8()?;
        reader.take(compression_len)?;
        let mut fields = Self { legacy_version, random, legacy_cookie, suites, ..Self::default() };
        if !reader.is_at_end() {
            let len = usize::from(reader.u16()?);
            fields.extensions = reader.at..body.len();
            if reader.at + len != body.len() {
                return None;
            }
            while !reader.is_at_end() {
                fields.read_extension(&mut reader)?;
            }
        }
        Some(fields)
    }

    fn read_extension(&mut self, reader: &mut Reader<'a>) -> Option<()> {
        let (kind, data) = reader.extension()?;
        match kind {
            SUPPORTED_VERSIONS => self.versions = data.get(1..),
            KEY_SHARE => self.has_share = has_share(data),
            // It has a length of its own.
            COOKIE => self.cookie = data.get(2..),
            PADDING => self.padding = u16::try_from(data.len()).ok(),
            _ => {}
        }
        Some(())
    }

    /// The newest version that both speak.
    fn version(&self) -> Option<Version> {
        if self.legacy_version != DTLS_1_2 {
            return None;
        }
        let offers = |version: [u8; 2]| {
            self.versions.is_some_and(|all| all.chunks_exact(2).any(|one| one == version))
        };
        let suites = self.suites.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]]));
        let suite = suites.into_iter().find(|suite| SUITES.contains(suite));
        match suite {
            // Without a share of a group that is known here the client would have to change its
            // hello, and what it said first would have to be kept.
            Some(suite) if offers(DTLS_1_3) && self.has_share => Some(Version::V13 { suite }),
            _ => (self.versions.is_none() || offers(DTLS_1_2)).then_some(Version::V12),
        }
    }
}

/// Whether one of the key shares is of a group that is known here.
fn has_share(data: &[u8]) -> bool {
    let mut reader = Reader { bytes: data, at: 2 };
    loop {
        let (Some(group), Some(len)) = (reader.u16(), reader.u16()) else { return false };
        if GROUPS.contains(&group) {
            return true;
        }
        if reader.take(usize::from(len)).is_none() {
            return false;
        }
    }
}
