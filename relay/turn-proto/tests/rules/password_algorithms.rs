//! RFC 8489, section 9.2: other keys than MD5, names behind a hash, and what nobody between may
//! change.

use turn_auth::{Credentials, LongTermKey, PasswordAlgorithm as Algorithm, Secret, userhash};
use turn_wire::{
    Attribute, Class, MessageWriter, Method,
    attribute::{
        Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, RequestedTransport, Userhash, Username,
    },
};

use crate::harness::{Answer, REALM, World, udp, write};

const CLIENT: &str = "8.8.4.4:5000";

/// How a request names and signs itself, as far as it is not as it should be.
#[derive(Clone, Copy)]
struct Way {
    offered: Option<&'static [u8]>,
    chosen: Option<u16>,
    key: Algorithm,
    sha1: bool,
    sha256: bool,
    hashed: bool,
}

/// A client of RFC 8489 as it should be.
const MODERN: Way = Way {
    offered: Some(&[0, 2, 0, 0, 0, 1, 0, 0]),
    chosen: Some(PasswordAlgorithm::SHA256),
    key: Algorithm::Sha256,
    sha1: false,
    sha256: true,
    hashed: false,
};

/// A server whose users are all known by name.
fn static_users() -> World {
    World::with(|settings| {
        let password = Secret::from_file(b"pass").expect("a secret");
        settings.credentials = Credentials::new(REALM, Vec::new(), [("bob", &password)]);
    })
}

fn challenge(world: &mut World) -> Answer {
    let request = world.bare(Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    let challenge = world.ask(&udp(CLIENT), &request);
    assert_eq!(challenge.code(), 401);
    challenge
}

/// Bob's Allocate.
fn allocate(world: &mut World, nonce: &[u8], way: Way) -> Vec<u8> {
    let key = LongTermKey::derive(way.key, b"bob", REALM.as_bytes(), b"pass");
    let transaction = world.transaction();
    write(Class::Request, Method::ALLOCATE, transaction, |writer| {
        let writer = writer.put(&RequestedTransport::UDP);
        let writer = match way.hashed {
            true => writer.put(&Userhash(userhash(b"bob", REALM.as_bytes()))),
            false => writer.put(&Username(b"bob")),
        };
        let writer = writer.put(&Realm(REALM.as_bytes())).put(&Nonce(nonce));
        seal(with_algorithms(writer, way), way, key.as_bytes())
    })
}

fn with_algorithms(writer: MessageWriter<'_>, way: Way) -> MessageWriter<'_> {
    let writer = match way.offered {
        Some(bytes) => writer.put_raw(PasswordAlgorithms::TYPE, bytes),
        None => writer,
    };
    let chosen = way.chosen.map(|algorithm| PasswordAlgorithm { algorithm, parameters: b"" });
    writer.put_some(chosen.as_ref())
}

fn seal<'b>(writer: MessageWriter<'b>, way: Way, key: &[u8]) -> MessageWriter<'b> {
    let writer = if way.sha1 { writer.put_integrity(key) } else { writer };
    if way.sha256 { writer.put_integrity_sha256(key) } else { writer }
}

/// What a server says to an Allocate of this way.
fn tried(world: &mut World, way: Way) -> Answer {
    let nonce = challenge(world).get::<Nonce<'_>>().expect("a nonce").0.to_vec();
    let request = allocate(world, &nonce, way);
    world.ask(&udp(CLIENT), &request)
}

#[test]
fn a_challenge_offers_both_algorithms_and_its_nonce_says_so() {
    let challenge = challenge(&mut World::new());
    assert_eq!(challenge.get::<PasswordAlgorithms<'_>>(), Some(PasswordAlgorithms::default()));
    let nonce = challenge.get::<Nonce<'_>>().expect("a nonce").0;
    assert!(nonce.starts_with(b"obMatJos2gAAA"), "{nonce:?}");
    let named = self::challenge(&mut static_users());
    let nonce = named.get::<Nonce<'_>>().expect("a nonce").0;
    assert!(nonce.starts_with(b"obMatJos2wAAA"), "{nonce:?}");
}

#[test]
fn a_client_of_rfc_8489_is_answered_with_sha_256_alone() {
    let mut world = World::new();
    let answer = tried(&mut world, MODERN);
    assert_eq!(answer.code(), 0);
    assert!(answer.message().has_integrity_sha256() && !answer.message().has_integrity());
    let key = LongTermKey::derive(Algorithm::Sha256, b"bob", REALM.as_bytes(), b"pass");
    assert!(answer.message().verify_integrity_sha256(key.as_bytes()));
}

#[test]
fn sha_256_is_sent_only_to_a_client_that_used_it() {
    let old = Way {
        offered: None,
        chosen: None,
        key: Algorithm::Md5,
        sha1: true,
        sha256: false,
        hashed: false,
    };
    let answer = tried(&mut World::new(), old);
    assert_eq!(answer.code(), 0);
    assert!(answer.message().has_integrity() && !answer.message().has_integrity_sha256());
}

#[test]
fn who_names_an_algorithm_but_signs_with_sha_1_can_check_the_answer() {
    let half = Way { sha1: true, sha256: false, ..MODERN };
    let answer = tried(&mut World::new(), half);
    assert_eq!(answer.code(), 0);
    assert!(answer.message().has_integrity() && !answer.message().has_integrity_sha256());
}

#[test]
fn who_signs_both_ways_is_judged_by_sha_256() {
    let both = Way { sha1: true, ..MODERN };
    let answer = tried(&mut World::new(), both);
    assert_eq!(answer.code(), 0);
    assert!(answer.message().has_integrity_sha256());
}

#[test]
fn md5_can_be_chosen_from_the_offer() {
    let md5 = Way { chosen: Some(PasswordAlgorithm::MD5), key: Algorithm::Md5, ..MODERN };
    assert_eq!(tried(&mut World::new(), md5).code(), 0);
}

#[test]
fn a_key_of_another_algorithm_than_the_chosen_one_is_refused() {
    let wrong = Way { key: Algorithm::Md5, ..MODERN };
    assert_eq!(tried(&mut World::new(), wrong).code(), 401);
}

#[test]
fn an_offer_that_was_changed_on_its_way_is_a_bad_request() {
    let offers: [&'static [u8]; 3] = [&[0, 1, 0, 0], &[0, 1, 0, 0, 0, 2, 0, 0], &[0, 2, 0, 0]];
    for offered in offers {
        let way = Way { offered: Some(offered), ..MODERN };
        assert_eq!(tried(&mut World::new(), way).code(), 400, "{offered:?}");
    }
}

#[test]
fn one_of_offer_and_choice_without_the_other_is_a_bad_request() {
    assert_eq!(tried(&mut World::new(), Way { offered: None, ..MODERN }).code(), 400);
    assert_eq!(tried(&mut World::new(), Way { chosen: None, ..MODERN }).code(), 400);
    assert_eq!(tried(&mut World::new(), Way { chosen: Some(3), ..MODERN }).code(), 400);
}

#[test]
fn a_nonce_whose_offer_was_taken_out_is_stale() {
    let mut world = World::new();
    let nonce = challenge(&mut world).get::<Nonce<'_>>().expect("a nonce").0.to_vec();
    let mut silent = nonce.clone();
    silent[9..13].copy_from_slice(b"AAAA");
    let bare = nonce[13..].to_vec();
    for changed in [silent, bare] {
        let old = Way { offered: None, chosen: None, sha1: true, sha256: false, ..MODERN };
        let request = allocate(&mut world, &changed, Way { key: Algorithm::Md5, ..old });
        assert_eq!(world.ask(&udp(CLIENT), &request).code(), 438);
    }
}

#[test]
fn a_hash_stands_for_the_name_of_a_static_user() {
    let mut world = static_users();
    let hashed = Way { hashed: true, ..MODERN };
    assert_eq!(tried(&mut world, hashed).code(), 0);
    // A nonce is bound to the client's address, not to its port.
    let request = world.bare(Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    let challenge = world.ask(&udp("8.8.4.4:5001"), &request);
    let nonce = challenge.get::<Nonce<'_>>().expect("a nonce").0.to_vec();
    let refresh = signed_refresh(&mut world, &nonce);
    assert_eq!(world.ask(&udp(CLIENT), &refresh).code(), 0, "and for its allocation");
}

fn signed_refresh(world: &mut World, nonce: &[u8]) -> Vec<u8> {
    let key = LongTermKey::derive(Algorithm::Sha256, b"bob", REALM.as_bytes(), b"pass");
    let transaction = world.transaction();
    write(Class::Request, Method::REFRESH, transaction, |writer| {
        let writer = writer
            .put(&Userhash(userhash(b"bob", REALM.as_bytes())))
            .put(&Realm(REALM.as_bytes()))
            .put(&Nonce(nonce));
        seal(with_algorithms(writer, MODERN), MODERN, key.as_bytes())
    })
}

#[test]
fn a_hash_of_nobody_is_refused_as_a_wrong_password_is() {
    let mut world = static_users();
    let nonce = challenge(&mut world).get::<Nonce<'_>>().expect("a nonce").0.to_vec();
    let key = LongTermKey::derive(Algorithm::Sha256, b"eve", REALM.as_bytes(), b"pass");
    let transaction = world.transaction();
    let request = write(Class::Request, Method::ALLOCATE, transaction, |writer| {
        let writer = writer
            .put(&RequestedTransport::UDP)
            .put(&Userhash(userhash(b"eve", REALM.as_bytes())))
            .put(&Realm(REALM.as_bytes()))
            .put(&Nonce(&nonce));
        seal(with_algorithms(writer, MODERN), MODERN, key.as_bytes())
    });
    assert_eq!(world.ask(&udp(CLIENT), &request).code(), 401);
}

#[test]
fn who_is_named_neither_way_is_a_bad_request() {
    let mut world = World::new();
    let nonce = challenge(&mut world).get::<Nonce<'_>>().expect("a nonce").0.to_vec();
    let transaction = world.transaction();
    let request = write(Class::Request, Method::ALLOCATE, transaction, |writer| {
        writer.put(&Realm(REALM.as_bytes())).put(&Nonce(&nonce)).put_integrity_sha256(b"any")
    });
    assert_eq!(world.ask(&udp(CLIENT), &request).code(), 400);
}
