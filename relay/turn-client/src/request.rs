//! Requests as bytes.

use turn_wire::{
    Class, MessageWriter, TransactionId,
    attribute::{
        Channel, Lifetime, MobilityTicket, Nonce, Realm, RelayPort, RequestedAddressFamily,
        RequestedTransport, Software, Username, XorPeerAddress,
    },
};

use crate::{Operation, Profile, credentials::Challenge};

/// More than any request needs: user name, realm, nonce and ticket at their longest, and an address.
const MAX_LEN: usize = 3_072;

/// What a request is signed with, and by whom.
pub(crate) struct Signature<'a> {
    pub(crate) username: &'a str,
    pub(crate) challenge: &'a Challenge,
}

/// Writes a request.
pub(crate) fn encode(
    operation: &Operation,
    ticket: &[u8],
    id: TransactionId,
    signature: Option<&Signature<'_>>,
    profile: &Profile,
) -> Vec<u8> {
    let mut bytes = vec![0; MAX_LEN];
    let writer = MessageWriter::new(&mut bytes, Class::Request, operation.method(), id);
    let writer = put_arguments(writer, operation, ticket)
        .put_some(profile.probe.then_some(Software::PROBE).as_ref());
    let writer = sign(writer, signature);
    let writer = if profile.fingerprint { writer.put_fingerprint() } else { writer };
    #[expect(clippy::expect_used, reason = "the parts are bounded, and their sum is below MAX_LEN")]
    let len = writer.finish().expect("a request is shorter than its buffer");
    bytes.truncate(len);
    bytes
}

fn put_arguments<'b>(
    writer: MessageWriter<'b>,
    operation: &Operation,
    ticket: &[u8],
) -> MessageWriter<'b> {
    match *operation {
        Operation::Binding => writer,
        Operation::Allocate { lifetime_seconds, family, streams, mobile, relay_port } => writer
            .put(if streams { &RequestedTransport::TCP } else { &RequestedTransport::UDP })
            .put_some(lifetime_seconds.map(Lifetime).as_ref())
            .put_some(family.map(|family| RequestedAddressFamily(Some(family))).as_ref())
            .put_some(mobile.then_some(MobilityTicket(&[])).as_ref())
            .put_some(relay_port.map(RelayPort).as_ref()),
        Operation::Refresh { lifetime_seconds } => {
            writer.put_some(lifetime_seconds.map(Lifetime).as_ref())
        }
        Operation::Migrate { lifetime_seconds } => {
            writer.put_some(lifetime_seconds.map(Lifetime).as_ref()).put(&MobilityTicket(ticket))
        }
        Operation::CreatePermission { peer } | Operation::Connect { peer } => {
            writer.put(&XorPeerAddress(peer))
        }
        Operation::ConnectionBind { connection } => writer.put(&connection),
        Operation::ChannelBind { peer, channel } => {
            writer.put(&Channel(channel)).put(&XorPeerAddress(peer))
        }
    }
}

fn sign<'b>(writer: MessageWriter<'b>, signature: Option<&Signature<'_>>) -> MessageWriter<'b> {
    let Some(Signature { username, challenge }) = signature else {
        return writer;
    };
    writer
        .put(&Username(username.as_bytes()))
        .put(&Realm(&challenge.realm))
        .put(&Nonce(&challenge.nonce))
        .put_integrity(&challenge.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_request_fits() {
        let username = "u".repeat(508);
        let challenge = Challenge { realm: vec![1; 763], nonce: vec![2; 763], key: [3; 16] };
        let signature = Signature { username: &username, challenge: &challenge };
        let bind = Operation::ChannelBind {
            peer: "[2001:db8::1]:1".parse().expect("an address"),
            channel: turn_wire::ChannelNumber::MIN,
        };
        let profile = Profile { probe: true, ..Profile::RFC };
        for operation in [bind, Operation::Migrate { lifetime_seconds: Some(1) }] {
            let id = TransactionId([0; 12]);
            let bytes = encode(&operation, &[4; 763], id, Some(&signature), &profile);
            assert!(bytes.len() < MAX_LEN);
            assert!(turn_wire::Message::decode(&bytes).is_ok());
        }
    }
}
