//! A STUN message as it came in: checked once, then borrowed from.

use crate::{
    attribute::{
        Attribute, AttributeType, Fingerprint, Malformed, MessageIntegrity, MessageIntegritySha256,
    },
    header::{Class, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId, from_message_type},
    integrity, padded,
};

/// Why bytes are no STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than a header.
    #[error("shorter than a STUN header")]
    Short,
    /// The two top bits are not zero.
    #[error("the first two bits are not zero")]
    NotStun,
    /// Not the magic cookie: RFC 3489, or something else.
    #[error("no magic cookie")]
    Cookie,
    /// The length field is no multiple of four, or not what follows the header.
    #[error("the length field does not match the datagram")]
    Length,
    /// An attribute is longer than the message.
    #[error("an attribute is longer than the message")]
    Attribute,
    /// FINGERPRINT is wrong, or not the last attribute (RFC 8489, section 14.7).
    #[error("FINGERPRINT is wrong or not last")]
    Fingerprint,
    /// MESSAGE-INTEGRITY has not 20 bytes, or MESSAGE-INTEGRITY-SHA256 not 16 to 32.
    #[error("a message integrity of wrong length")]
    Integrity,
}

/// A STUN message whose shape has been checked: header, lengths of all attributes, FINGERPRINT.
///
/// Attributes behind MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 are not to be seen, those two
/// and FINGERPRINT excepted (RFC 8489, section 14.5). Whether the message is who it says it is from
/// is asked with [`Message::verify_integrity`].
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Where the attributes that count end.
    end: usize,
    integrity: Option<usize>,
    integrity_sha256: Option<usize>,
    fingerprint: bool,
}

/// An attribute as it stands in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawAttribute<'a> {
    /// Its type.
    pub kind: AttributeType,
    /// Its value, without padding.
    pub value: &'a [u8],
}

/// Walks attributes of which the lengths are known to be right; with their offsets.
#[derive(Debug, Clone)]
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<(usize, RawAttribute<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..)?;
        if rest.is_empty() {
            return None;
        }
        let Some((&[t0, t1, l0, l1], body)) = rest.split_first_chunk::<4>() else {
            return Some(Err(DecodeError::Attribute));
        };
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        // The message's length is a multiple of four, so the padding must be there too.
        if body.len() < padded(len) {
            return Some(Err(DecodeError::Attribute));
        }
        let offset = self.at;
        self.at += 4 + padded(len);
        let kind = AttributeType(u16::from_be_bytes([t0, t1]));
        Some(Ok((offset, RawAttribute { kind, value: &body[..len] })))
    }
}

impl<'a> Message<'a> {
    /// Checks a datagram, or a frame of a stream.
    ///
    /// # Errors
    /// When it is no STUN message.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let header = bytes.first_chunk::<HEADER_LEN>().ok_or(DecodeError::Short)?;
        if header[0] & 0xC0 != 0 {
            return Err(DecodeError::NotStun);
        }
        if header[4..8] != MAGIC_COOKIE.to_be_bytes() {
            return Err(DecodeError::Cookie);
        }
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if len % 4 != 0 || HEADER_LEN + len != bytes.len() {
            return Err(DecodeError::Length);
        }
        let mut message = Self {
            bytes,
            end: bytes.len(),
            integrity: None,
            integrity_sha256: None,
            fingerprint: false,
        };
        for attribute in (Walk { bytes, at: HEADER_LEN }) {
            let (offset, attribute) = attribute?;
            message.note(offset, &attribute)?;
        }
        Ok(message)
    }

    /// Remembers the attributes that say something about the message as a whole.
    fn note(&mut self, offset: usize, attribute: &RawAttribute<'_>) -> Result<(), DecodeError> {
        if self.fingerprint {
            return Err(DecodeError::Fingerprint);
        }
        match attribute.kind {
            MessageIntegrity::TYPE
                if self.integrity.is_none() && self.integrity_sha256.is_none() =>
            {
                if attribute.value.len() != integrity::SHA1_LEN {
                    return Err(DecodeError::Integrity);
                }
                self.integrity = Some(offset);
                self.end = self.end.min(offset);
            }
            MessageIntegritySha256::TYPE if self.integrity_sha256.is_none() => {
                let len = attribute.value.len();
                if !(16..=integrity::SHA256_LEN).contains(&len) || !len.is_multiple_of(4) {
                    return Err(DecodeError::Integrity);
                }
                self.integrity_sha256 = Some(offset);
                self.end = self.end.min(offset);
            }
            Fingerprint::TYPE => {
                let value = u32::from_be_bytes(
                    attribute.value.try_into().map_err(|_| DecodeError::Fingerprint)?,
                );
                if integrity::fingerprint(&self.bytes[..offset]) != value {
                    return Err(DecodeError::Fingerprint);
                }
                self.fingerprint = true;
                self.end = self.end.min(offset);
            }
            _ => {}
        }
        Ok(())
    }

    /// Request, indication, or answer.
    #[must_use]
    pub fn class(&self) -> Class {
        from_message_type(u16::from_be_bytes([self.bytes[0], self.bytes[1]])).0
    }

    /// What it is about.
    #[must_use]
    pub fn method(&self) -> Method {
        from_message_type(u16::from_be_bytes([self.bytes[0], self.bytes[1]])).1
    }

    /// What tells it from others.
    #[must_use]
    pub fn transaction_id(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER_LEN]);
        TransactionId(id)
    }

    /// The whole message.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The attributes that count, in their order.
    pub fn attributes(&self) -> impl Iterator<Item = RawAttribute<'a>> + use<'a> {
        Walk { bytes: &self.bytes[..self.end], at: HEADER_LEN }
            .filter_map(|attribute| attribute.ok().map(|(_, attribute)| attribute))
    }

    /// The first attribute of a type; later ones of the same type do not count (RFC 8489,
    /// section 14).
    ///
    /// # Errors
    /// When it is there, but its value is none of the type's.
    pub fn get<A: Attribute<'a>>(&self) -> Result<Option<A>, Malformed> {
        let transaction = self.transaction_id();
        self.attributes()
            .find(|attribute| attribute.kind == A::TYPE)
            .map(|attribute| A::decode(attribute.value, &transaction).ok_or(Malformed(A::TYPE)))
            .transpose()
    }

    /// Every attribute of a type.
    pub fn all<A: Attribute<'a>>(&self) -> impl Iterator<Item = Result<A, Malformed>> + use<'a, A> {
        let transaction = self.transaction_id();
        self.attributes().filter(|attribute| attribute.kind == A::TYPE).map(move |attribute| {
            A::decode(attribute.value, &transaction).ok_or(Malformed(A::TYPE))
        })
    }

    /// Whether an attribute of the type is there, whatever its value.
    #[must_use]
    pub fn has<A: Attribute<'a>>(&self) -> bool {
        self.attributes().any(|attribute| attribute.kind == A::TYPE)
    }

    /// Whether there is a FINGERPRINT (which is right, or the message had been refused).
    #[must_use]
    pub const fn has_fingerprint(&self) -> bool {
        self.fingerprint
    }

    /// Whether there is a MESSAGE-INTEGRITY.
    #[must_use]
    pub const fn has_integrity(&self) -> bool {
        self.integrity.is_some()
    }

    /// Whether there is a MESSAGE-INTEGRITY-SHA256.
    #[must_use]
    pub const fn has_integrity_sha256(&self) -> bool {
        self.integrity_sha256.is_some()
    }

    /// Whether MESSAGE-INTEGRITY is there and right under a key. Takes the same time for each wrong
    /// value.
    #[must_use]
    pub fn verify_integrity(&self, key: &[u8]) -> bool {
        self.integrity.is_some_and(|offset| {
            let value = &self.bytes[offset + 4..offset + 4 + integrity::SHA1_LEN];
            integrity::verify_sha1(key, &self.bytes[..offset], value)
        })
    }

    /// Whether MESSAGE-INTEGRITY-SHA256 is there and right under a key; it may be cut to 16 bytes or
    /// more (RFC 8489, section 14.6). Takes the same time for each wrong value.
    #[must_use]
    pub fn verify_integrity_sha256(&self, key: &[u8]) -> bool {
        self.integrity_sha256.is_some_and(|offset| {
            let len =
                usize::from(u16::from_be_bytes([self.bytes[offset + 2], self.bytes[offset + 3]]));
            let value = &self.bytes[offset + 4..offset + 4 + len];
            integrity::verify_sha256(key, &self.bytes[..offset], value)
        })
    }

    /// The types of those attributes that a receiver has to understand and that `known` does not
    /// hold (RFC 8489, section 6.3): what UNKNOWN-ATTRIBUTES answers.
    pub fn unknown_required<'k>(
        &self,
        known: &'k [AttributeType],
    ) -> impl Iterator<Item = AttributeType> + use<'a, 'k> {
        self.attributes()
            .map(|attribute| attribute.kind)
            .filter(move |kind| kind.is_comprehension_required() && !known.contains(kind))
    }
}
