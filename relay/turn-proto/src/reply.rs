//! Answers: the one place that turns a success or a refusal into bytes.

use std::net::SocketAddr;

use turn_auth::{LongTermKey, NONCE_LEN};
use turn_wire::{
    AttributeType, Class, ErrorCode, HEADER_LEN, Message, MessageWriter, Method, TransactionId,
    attribute::{
        AlternateDomain, AlternateServer, Nonce, PasswordAlgorithms, Realm, UnknownAttributes,
    },
};

use crate::Refusal;

/// Which of the two integrity attributes a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signature {
    Sha1,
    Sha256,
}

/// What an answer takes from its request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) transaction: TransactionId,
    pub(crate) fingerprint: bool,
}

impl Request {
    pub(crate) fn of(message: &Message<'_>) -> Self {
        Self {
            method: message.method(),
            transaction: message.transaction_id(),
            fingerprint: message.has_fingerprint(),
        }
    }
}

/// What an answer is signed with.
pub(crate) type Signer = Option<(Signature, LongTermKey)>;

/// Where answers are written to. An answer never has more bytes than [`ANSWER_LEN`].
pub(crate) struct Reply<'o> {
    pub(crate) out: &'o mut [u8],
}

/// Room for each answer: a header, the longest realm, a nonce, some unknown attributes, a signature;
/// or a packet's worth of padding.
pub(crate) const ANSWER_LEN: usize = 2048;

/// A nonce that is stale from the start.
const STALE_NONCE: &[u8] = b"none";

/// The longest realm that leaves a brief challenge three times as long as a header: 20 bytes of
/// header, 8 of ERROR-CODE, 8 of NONCE and 4 of REALM's own header come beside it.
const BRIEF_REALM_LEN: usize = 3 * HEADER_LEN - (HEADER_LEN + 8 + 8 + 4);

/// How many unknown attributes an answer names.
const MAX_UNKNOWN: usize = 16;

impl Reply<'_> {
    /// Writes a success.
    pub(crate) fn success(
        &mut self,
        request: Request,
        signer: &Signer,
        body: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
    ) -> usize {
        let Request { method, transaction, fingerprint } = request;
        let writer = MessageWriter::new(self.out, Class::Success, method, transaction);
        finish(body(writer), signer, fingerprint)
    }

    /// Writes a refusal.
    pub(crate) fn refuse(&mut self, request: Request, refusal: Refusal, signer: &Signer) -> usize {
        self.error(request, refusal, signer, |writer| writer)
    }

    /// Writes a refusal that says what to sign the next request with, and how: 401 and 438.
    pub(crate) fn challenge(
        &mut self,
        request: Request,
        refusal: Refusal,
        realm: &str,
        nonce: &[u8; NONCE_LEN],
    ) -> usize {
        self.error(request, refusal, &None, |writer| {
            writer
                .put(&Realm(realm.as_bytes()))
                .put(&Nonce(nonce))
                .put(&PasswordAlgorithms::default())
        })
    }

    /// Writes the refusal of a request that no client begins with, but whoever wants a large answer
    /// sent to somebody else: at most three times as long as a header.
    ///
    /// The nonce is never a fresh one. Who does go on from here is told a real one with a 438; and
    /// nobody between gets a nonce without an offer in it to hand to others.
    pub(crate) fn challenge_briefly(&mut self, request: Request, realm: &str) -> usize {
        if realm.len() > BRIEF_REALM_LEN {
            return self.refuse(request, Refusal::BadRequest, &None);
        }
        self.error(request, Refusal::Unauthenticated, &None, |writer| {
            writer.put(&Realm(realm.as_bytes())).put(&Nonce(STALE_NONCE))
        })
    }

    /// Writes a 300 that names another relay.
    pub(crate) fn alternate(
        &mut self,
        request: Request,
        signer: &Signer,
        address: SocketAddr,
        domain: Option<&str>,
    ) -> usize {
        let domain = domain.map(|domain| AlternateDomain(domain.as_bytes()));
        self.error(request, Refusal::TryAlternate, signer, |writer| {
            writer.put(&AlternateServer(address)).put_some(domain.as_ref())
        })
    }

    /// Writes a 420 that names what was not understood.
    pub(crate) fn unknown_attributes(
        &mut self,
        request: Request,
        signer: &Signer,
        types: impl Iterator<Item = AttributeType>,
    ) -> usize {
        let bytes: arrayvec::ArrayVec<u8, { 2 * MAX_UNKNOWN }> =
            types.take(MAX_UNKNOWN).flat_map(|kind| kind.0.to_be_bytes()).collect();
        self.error(request, Refusal::UnknownAttribute, signer, |writer| {
            writer.put_some(UnknownAttributes::new(&bytes).as_ref())
        })
    }

    fn error(
        &mut self,
        request: Request,
        refusal: Refusal,
        signer: &Signer,
        body: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
    ) -> usize {
        let Request { method, transaction, fingerprint } = request;
        let reason = if signer.is_some() { refusal.phrase().as_bytes() } else { b"" };
        let writer = MessageWriter::new(self.out, Class::Error, method, transaction)
            .put(&ErrorCode { code: refusal.code(), reason });
        finish(body(writer), signer, fingerprint)
    }
}

fn finish(writer: MessageWriter<'_>, signer: &Signer, fingerprint: bool) -> usize {
    let writer = match signer {
        Some((Signature::Sha1, key)) => writer.put_integrity(key.as_bytes()),
        Some((Signature::Sha256, key)) => writer.put_integrity_sha256(key.as_bytes()),
        None => writer,
    };
    let writer = if fingerprint { writer.put_fingerprint() } else { writer };
    // The buffer has room for each answer; see `ANSWER_LEN`. Nothing would be sent if it had not.
    writer.finish().unwrap_or(0)
}
