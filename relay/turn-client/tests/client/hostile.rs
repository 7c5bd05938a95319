//! What a broken or hostile server sends changes nothing, and is counted.

use std::time::Instant;

use proptest::{collection::vec, prelude::*};
use turn_client::{Client, DropReason, Input, Profile};
use turn_wire::{
    Class, Method, TransactionId,
    attribute::{Data, XorMappedAddress, XorPeerAddress},
};

use crate::server::{Server, allocated, config, events, mapped, peer, sent, written};

const ID: TransactionId = TransactionId([3; 12]);

#[test]
fn what_is_dropped_has_a_reason() {
    let now = Instant::now();
    let mut client = allocated(Profile::NICER, &mut Server::new(), now);
    let message = |class, method| written(class, method, ID, |writer| writer);
    let peerless = written(Class::Indication, Method::DATA, ID, |writer| writer.put(&Data(b"x")));
    let empty =
        written(Class::Indication, Method::DATA, ID, |writer| writer.put(&XorPeerAddress(peer())));
    let cases = [
        (vec![], DropReason::NotStun),
        (b"\x16\x03\x01 TLS".to_vec(), DropReason::NotStun),
        (vec![0, 1, 0, 0], DropReason::Malformed),
        (vec![0x40, 0, 0, 9, 1], DropReason::Malformed),
        (vec![0x40, 0, 0, 0], DropReason::UnknownChannel),
        (message(Class::Request, Method::BINDING), DropReason::Unexpected),
        (message(Class::Indication, Method::SEND), DropReason::Unexpected),
        (message(Class::Success, Method::BINDING), DropReason::UnknownTransaction),
        (message(Class::Error, Method::ALLOCATE), DropReason::UnknownTransaction),
        (peerless, DropReason::IncompleteData),
        (empty, DropReason::IncompleteData),
    ];
    for (bytes, reason) in &cases {
        assert_eq!(client.handle_input(now, bytes), Input::Dropped(*reason), "{bytes:02x?}");
    }
    assert_eq!(client.dropped().total(), cases.len() as u64);
    assert!(events(&mut client).is_empty() && sent(&mut client).is_empty());
}

#[test]
fn an_answer_of_another_method_is_not_the_answer() {
    let now = Instant::now();
    let mut client = Client::new(config(Profile::LIBWEBRTC));
    client.binding(now);
    let request = sent(&mut client).remove(0);
    let id = turn_wire::Message::decode(&request).expect("a message").transaction_id();
    let answer = written(Class::Success, Method::ALLOCATE, id, |writer| {
        writer.put(&XorMappedAddress(mapped()))
    });
    let unknown = Input::Dropped(DropReason::UnknownTransaction);
    assert_eq!(client.handle_input(now, &answer), unknown);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Answers with changed bytes, and any bytes, in any order: no panic, and whatever is not
    /// dropped has been verified or needs no verification.
    #[test]
    fn no_bytes_lead_astray(
        noise in vec(vec(any::<u8>(), 0..80), 0..8),
        changes in vec((any::<u16>(), 1..=255u8), 1..20),
    ) {
        let now = Instant::now();
        let mut server = Server::new();
        let mut client = allocated(Profile::LIBWEBRTC, &mut server, now);
        client.create_permission(now, peer()).expect("there is an allocation");
        let request = sent(&mut client).remove(0);
        let answer = server.respond(&request);
        for (at, change) in changes {
            let mut changed = answer.clone();
            let at = usize::from(at) % changed.len();
            changed[at] ^= change;
            prop_assert!(matches!(client.handle_input(now, &changed), Input::Dropped(_)));
        }
        for bytes in &noise {
            let _ = client.handle_input(now, bytes);
        }
        prop_assert!(events(&mut client).is_empty());
        prop_assert_eq!(client.handle_input(now, &answer), Input::Handled);
        prop_assert_eq!(events(&mut client).len(), 1);
    }
}
