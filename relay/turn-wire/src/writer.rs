//! A STUN message as it goes out: written into a buffer of the caller's.

use crate::{
    attribute::{Attribute, AttributeType, Fingerprint, MessageIntegrity, MessageIntegritySha256},
    header::{Class, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId, message_type},
    integrity, padded,
};

/// The message does not fit into the buffer, or not into 65,555 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message does not fit into the buffer")]
pub struct BufferFull;

/// Writes a STUN message into a buffer.
///
/// Attributes are written in the order of the calls; what does not fit is remembered, so that only
/// [`MessageWriter::finish`] can fail.
#[derive(Debug)]
pub struct MessageWriter<'b> {
    buffer: &'b mut [u8],
    len: usize,
    transaction: TransactionId,
    full: bool,
}

impl<'b> MessageWriter<'b> {
    /// Starts a message.
    pub fn new(
        buffer: &'b mut [u8],
        class: Class,
        method: Method,
        transaction: TransactionId,
    ) -> Self {
        let full = match buffer.first_chunk_mut::<HEADER_LEN>() {
            Some(header) => {
                header[..2].copy_from_slice(&message_type(class, method).to_be_bytes());
                header[2..4].fill(0);
                header[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
                header[8..].copy_from_slice(&transaction.0);
                false
            }
            None => true,
        };
        Self { buffer, len: HEADER_LEN, transaction, full }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn put<'a, A: Attribute<'a>>(mut self, attribute: &A) -> Self {
        let transaction = self.transaction;
        self.append(A::TYPE, attribute.value_len(), |out| attribute.encode(out, &transaction));
        self
    }

    /// Adds an attribute, if there is one.
    #[must_use]
    pub fn put_some<'a, A: Attribute<'a>>(self, attribute: Option<&A>) -> Self {
        match attribute {
            Some(attribute) => self.put(attribute),
            None => self,
        }
    }

    /// Adds an attribute of any type, as bytes.
    #[must_use]
    pub fn put_raw(mut self, kind: AttributeType, value: &[u8]) -> Self {
        self.append(kind, value.len(), |out| out.copy_from_slice(value));
        self
    }

    /// Adds MESSAGE-INTEGRITY.
    #[must_use]
    pub fn put_integrity(mut self, key: &[u8]) -> Self {
        if !self.full {
            let mac = integrity::sha1(key, &self.buffer[..self.len]);
            self.append(MessageIntegrity::TYPE, mac.len(), |out| out.copy_from_slice(&mac));
        }
        self
    }

    /// Adds MESSAGE-INTEGRITY-SHA256, of full length.
    #[must_use]
    pub fn put_integrity_sha256(mut self, key: &[u8]) -> Self {
        if !self.full {
            let mac = integrity::sha256(key, &self.buffer[..self.len]);
            self.append(MessageIntegritySha256::TYPE, mac.len(), |out| out.copy_from_slice(&mac));
        }
        self
    }

    /// Adds FINGERPRINT. Nothing may follow it.
    #[must_use]
    pub fn put_fingerprint(mut self) -> Self {
        if !self.full {
            let crc = integrity::fingerprint(&self.buffer[..self.len]).to_be_bytes();
            self.append(Fingerprint::TYPE, crc.len(), |out| out.copy_from_slice(&crc));
        }
        self
    }

    /// The length of the message, in bytes.
    ///
    /// # Errors
    /// When it did not fit into the buffer.
    pub fn finish(self) -> Result<usize, BufferFull> {
        if self.full { Err(BufferFull) } else { Ok(self.len) }
    }

    fn append(&mut self, kind: AttributeType, value_len: usize, write: impl FnOnce(&mut [u8])) {
        let next = self.len + 4 + padded(value_len);
        let field = (u16::try_from(value_len), u16::try_from(next - HEADER_LEN));
        let (Ok(value_field), Ok(message_field)) = field else {
            self.full = true;
            return;
        };
        let Some(place) = self.buffer.get_mut(self.len..next).filter(|_| !self.full) else {
            self.full = true;
            return;
        };
        let (head, value) = place.split_at_mut(4);
        head[..2].copy_from_slice(&kind.0.to_be_bytes());
        head[2..].copy_from_slice(&value_field.to_be_bytes());
        write(&mut value[..value_len]);
        value[value_len..].fill(0);
        self.buffer[2..4].copy_from_slice(&message_field.to_be_bytes());
        self.len = next;
    }
}
