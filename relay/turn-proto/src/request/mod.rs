//! Requests, one file for each method.

mod allocate;
mod alternate;
mod binding;
mod channel_bind;
mod connect;
mod connection_bind;
mod create_permission;
mod opening;
mod refresh;

use std::sync::Arc;

use turn_auth::Authenticated;
use turn_wire::{
    AttributeType, Class, DecodeError, HEADER_LEN, Message, Method,
    attribute::{
        Attribute, Family, MessageIntegrity, MessageIntegritySha256, Nonce, PasswordAlgorithm,
        Realm, RequestedTransport, Userhash, Username, XorPeerAddress,
    },
};

use crate::{
    AllocationId, ClientStep, DropReason, FiveTuple, Now, PeerConnectionId, Refusal, Server,
    Transport, Verdict,
    allocation::Allocation,
    authenticate::{Proof, authenticate},
    client_step::{of_challenge, of_client},
    probe_user::is_probe,
    reply::{Reply, Request, Signer},
};

pub(crate) use refresh::Wish;

/// What each request may have.
const CREDENTIALS: [AttributeType; 7] = [
    Username::TYPE,
    Userhash::TYPE,
    PasswordAlgorithm::TYPE,
    Realm::TYPE,
    Nonce::TYPE,
    MessageIntegrity::TYPE,
    MessageIntegritySha256::TYPE,
];

/// A request of a client that has proved who it is.
struct Signed<'m, 'a> {
    message: &'m Message<'a>,
    request: Request,
    from: FiveTuple,
    proof: Proof,
    signer: Signer,
}

/// What comes of a request that was not refused.
enum Outcome {
    /// An answer of so many bytes.
    Answer(usize),
    /// The answer comes when the relayed socket, or the connection to a peer, is there, or not.
    Opening,
    /// An answer of so many bytes, and behind it what the peer sends.
    Bind { connection: PeerConnectionId, len: usize },
    /// The answer comes with the allocation, from the shard that has it.
    Moving,
    /// Nothing.
    Drop(DropReason),
}

impl Server {
    pub(crate) fn handle_message(
        &mut self,
        now: Now,
        from: &FiveTuple,
        datagram: &[u8],
        mut reply: Reply<'_>,
    ) -> Verdict {
        let message = match Message::decode(datagram) {
            Ok(message) => message,
            Err(DecodeError::Fingerprint) => return Verdict::Drop(DropReason::WrongFingerprint),
            Err(_) => return Verdict::Drop(DropReason::MalformedMessage),
        };
        match message.class() {
            Class::Request if message.method() == Method::BINDING => {
                self.unauthenticated(now, from, |server| server.binding(from, &message, &mut reply))
            }
            Class::Request => self.handle_signed(now, from, &message, &mut reply),
            Class::Indication => self.relay_send(now, from, &message),
            Class::Success | Class::Error => Verdict::Drop(DropReason::Response),
        }
    }

    fn handle_signed(
        &mut self,
        now: Now,
        from: &FiveTuple,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
    ) -> Verdict {
        let request = Request::of(message);
        let id = self.allocations.find(from);
        let kept = id.and_then(|id| self.allocations.get(id)).map(|found| &found.client);
        let credentials = &self.settings.credentials;
        let proof = authenticate(credentials, message, from, kept, now.unix);
        let proof = proof.or_else(|refusal| {
            let kept = self.kept_elsewhere(from, message).ok_or(refusal)?;
            authenticate(credentials, message, from, Some(&kept), now.unix)
        });
        match proof {
            Ok(proof) => {
                let signer = Some((proof.signature, proof.client.key));
                let signed = Signed { message, request, from: *from, proof, signer };
                self.dispatch(now, id, &signed, reply)
            }
            Err(refusal) => self.unauthenticated(now, from, |server| {
                let len = server.challenge(now, from, message, refusal, reply);
                Verdict::Respond { len }
            }),
        }
    }

    /// Who made an allocation of another five-tuple, and maybe of another shard, that a request is
    /// about: the credential that it was made with is good for it as long as it lives.
    fn kept_elsewhere(
        &self,
        from: &FiveTuple,
        message: &Message<'_>,
    ) -> Option<Arc<Authenticated>> {
        let owner = self.owner_to_bind(from, message).map(|owner| Arc::clone(&owner.client));
        owner.or_else(|| self.holder_of_ticket(message).map(|holder| holder.client))
    }

    /// Refuses a request whose sender has not proved who he is.
    fn challenge(
        &mut self,
        now: Now,
        from: &FiveTuple,
        message: &Message<'_>,
        refusal: Refusal,
        reply: &mut Reply<'_>,
    ) -> usize {
        self.counters.refused(refusal);
        self.client_step = of_challenge(from, message, refusal);
        let request = Request::of(message);
        let credentials = &self.settings.credentials;
        if refusal == Refusal::BadRequest {
            return reply.refuse(request, refusal, &None);
        }
        if is_no_clients(from, message) {
            return reply.challenge_briefly(request, credentials.realm());
        }
        let nonce = credentials.nonces().issue(from.client.0, now.unix);
        reply.challenge(request, refusal, credentials.realm(), &nonce)
    }

    fn dispatch(
        &mut self,
        now: Now,
        id: Option<AllocationId>,
        signed: &Signed<'_, '_>,
        reply: &mut Reply<'_>,
    ) -> Verdict {
        let relays_tcp = self.relays_tcp_for(&signed.proof.client);
        let outcome = match signed.request.method {
            Method::ALLOCATE => self.allocate(now, id, signed, reply),
            Method::REFRESH => self.refresh(now, id, signed, reply),
            Method::CREATE_PERMISSION => self.create_permission(now, id, signed, reply),
            Method::CHANNEL_BIND => self.channel_bind(now, id, signed, reply),
            Method::CONNECT if relays_tcp => self.connect(now, id, signed),
            Method::CONNECTION_BIND if relays_tcp => self.connection_bind(id, signed, reply),
            _ => Err(Refusal::BadRequest),
        };
        match outcome {
            Ok(Outcome::Answer(len)) => {
                self.counters.succeeded += 1;
                Verdict::Respond { len }
            }
            Ok(Outcome::Opening) => Verdict::Opening,
            Ok(Outcome::Moving) => Verdict::Moving,
            Ok(Outcome::Bind { connection, len }) => {
                self.counters.succeeded += 1;
                Verdict::Bind { connection, len }
            }
            Ok(Outcome::Drop(reason)) => Verdict::Drop(reason),
            Err(refusal) => Verdict::Respond { len: self.refuse(signed, refusal, reply) },
        }
    }

    /// Whether a client may have connections relayed (RFC 6062): a prober may not.
    fn relays_tcp_for(&self, client: &Authenticated) -> bool {
        self.settings.tcp_relaying.is_some() && !is_probe(client)
    }

    fn refuse(
        &mut self,
        signed: &Signed<'_, '_>,
        refusal: Refusal,
        reply: &mut Reply<'_>,
    ) -> usize {
        self.counters.refused(refusal);
        if signed.request.method == Method::ALLOCATE && !is_probe(&signed.proof.client) {
            self.client_step = of_client(ClientStep::Refused, signed.message);
        }
        if refusal == Refusal::UnknownAttribute {
            let unknown = unknown(signed.message);
            return reply.unknown_attributes(signed.request, &signed.signer, unknown);
        }
        if refusal == Refusal::TryAlternate
            && let Some((address, domain)) = self.draw_alternate(&signed.from)
        {
            return reply.alternate(signed.request, &signed.signer, address, domain.as_deref());
        }
        reply.refuse(signed.request, refusal, &signed.signer)
    }

    /// Answers somebody who has proved nothing: over UDP the source may be forged, so there is a
    /// budget for it.
    fn unauthenticated(
        &mut self,
        now: Now,
        from: &FiveTuple,
        answer: impl FnOnce(&mut Self) -> Verdict,
    ) -> Verdict {
        let per_second = self.settings.limits.unauthenticated_replies_per_second_per_prefix;
        let source = from.client.0.ip();
        if from.transport == Transport::Udp && !self.replies.take(source, per_second, now.instant) {
            return Verdict::Drop(DropReason::ReplyBudget);
        }
        answer(self)
    }

    /// The allocation that a request other than Allocate is about: there has to be one, of the same
    /// user.
    fn own_allocation(
        &self,
        id: Option<AllocationId>,
        signed: &Signed<'_, '_>,
    ) -> Result<(AllocationId, &Allocation), Refusal> {
        let id = id.ok_or(Refusal::AllocationMismatch)?;
        let allocation = self.allocations.get(id).ok_or(Refusal::AllocationMismatch)?;
        if allocation.client.user == signed.proof.client.user {
            Ok((id, allocation))
        } else {
            Err(Refusal::WrongCredentials)
        }
    }
}

/// Whether a request is nothing that a client begins with, so that only somebody sends it who wants a
/// large answer sent to somebody else. What clients do not sign is an Allocate that says what to
/// relay; and nobody forges the source of a stream.
pub(crate) fn is_no_clients(from: &FiveTuple, message: &Message<'_>) -> bool {
    let begins = message.method() == Method::ALLOCATE && message.has::<RequestedTransport>();
    let is_signed = message.has_integrity() || message.has_integrity_sha256();
    let is_clients = begins || is_signed || from.transport != Transport::Udp;
    message.as_bytes().len() == HEADER_LEN || !is_clients
}

/// The attributes that are understood in a request of a method, beside those of credentials.
fn known(method: Method) -> &'static [AttributeType] {
    match method {
        Method::ALLOCATE => allocate::KNOWN,
        Method::REFRESH => refresh::KNOWN,
        Method::CREATE_PERMISSION => create_permission::KNOWN,
        Method::CHANNEL_BIND => channel_bind::KNOWN,
        Method::CONNECT => connect::KNOWN,
        Method::CONNECTION_BIND => connection_bind::KNOWN,
        _ => &[],
    }
}

/// The attributes of a request that have to be understood and are not.
fn unknown<'a>(message: &Message<'a>) -> impl Iterator<Item = AttributeType> + use<'a> {
    let known = known(message.method());
    message.unknown_required(&CREDENTIALS).filter(move |kind| !known.contains(kind))
}

fn refuse_unknown(message: &Message<'_>) -> Result<(), Refusal> {
    match unknown(message).next() {
        Some(_) => Err(Refusal::UnknownAttribute),
        None => Ok(()),
    }
}

/// A peer has to be of the family of a relayed address (RFC 8656, section 10.2).
fn same_family(peer: XorPeerAddress, allocation: &Allocation) -> Result<XorPeerAddress, Refusal> {
    match allocation.relayed.get(Family::of(&peer.0)) {
        Some(_) => Ok(peer),
        None => Err(Refusal::PeerAddressFamilyMismatch),
    }
}
