//! Who may do what.

use turn_auth::{LongTermKey, PasswordAlgorithm, UnixSeconds};
use turn_wire::{
    Method,
    attribute::{DontFragment, Nonce, Realm, RequestedTransport, Software, Username},
};

use crate::harness::{EPOCH, REALM, Signing, World, credentials, sign, udp};

const CLIENT: &str = "8.8.4.4:5000";

#[test]
fn an_unauthenticated_allocate_gets_401_with_realm_and_nonce_whatever_else_it_carries() {
    let mut world = World::new();
    let from = udp(CLIENT);
    for request in [
        world.bare(Method::ALLOCATE, |writer| writer),
        world.bare(Method::ALLOCATE, |writer| writer.put(&DontFragment)),
        world.bare(Method::ALLOCATE, |writer| {
            writer.put(&RequestedTransport::TCP).put_raw(turn_wire::AttributeType(0x7FFF), b"x")
        }),
        world.bare(Method::REFRESH, |writer| writer),
        world.bare(Method::new(0x7F).expect("a method"), |writer| writer),
    ] {
        let answer = world.ask(&from, &request);
        assert_eq!(answer.code(), 401);
        assert_eq!(answer.get::<Realm<'_>>(), Some(Realm(REALM.as_bytes())));
        assert!(answer.get::<Nonce<'_>>().is_some());
        assert_eq!(answer.get::<Software<'_>>(), None);
        assert!(!answer.message().has_integrity());
    }
}

#[test]
fn good_credentials_never_get_a_second_401() {
    let mut world = World::new();
    world.allocate(&udp(CLIENT), "alice");
}

#[test]
fn an_unknown_user_a_wrong_password_and_an_ended_credential_are_the_same_401() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let good = world.signing(&from, "alice");
    let ended = world.signing_with(&from, "north", "alice", EPOCH);
    let south = world.signing_with(&from, "south", "alice", UnixSeconds(EPOCH.0 + 60));
    let stranger = Signing { username: "eve".to_owned(), ..good.clone() };
    let mut answers = Vec::new();
    for signing in [ended, south, stranger] {
        let request =
            world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
        let answer = world.ask(&from, &request);
        assert_eq!(answer.code(), 401);
        let nonce = answer.get::<Nonce<'_>>().expect("a nonce").0.to_vec();
        answers.push((answer.0.len(), nonce));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "they tell nothing apart");
}

#[test]
fn a_static_user_is_let_in() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let nonce = world.signing(&from, "any").nonce;
    let key = LongTermKey::derive(PasswordAlgorithm::Md5, b"bob", REALM.as_bytes(), b"pass");
    let signing = Signing { username: "bob".to_owned(), key, nonce };
    let request =
        world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    assert_eq!(world.ask(&from, &request).code(), 0);
}

#[test]
fn a_stale_nonce_gets_438_with_a_new_one_that_works() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (mut signing, _) = world.allocate(&from, "alice");
    world.refresh(&from, &signing, Some(3600));
    world.pass(3590);
    world.refresh(&from, &signing, Some(3600));
    world.pass(20);
    let answer = world.refresh(&from, &signing, None);
    assert_eq!(answer.code(), 438);
    assert_eq!(answer.get::<Realm<'_>>(), Some(Realm(REALM.as_bytes())));
    signing.nonce = answer.get::<Nonce<'_>>().expect("a nonce").0.to_vec();
    assert_eq!(world.refresh(&from, &signing, None).code(), 0);
}

#[test]
fn nobody_is_looked_up_before_the_nonce_has_proved_itself() {
    let mut world = World::new();
    let signing = world.signing(&udp(CLIENT), "alice");
    let stranger = Signing { username: "eve".to_owned(), ..signing.clone() };
    let liar = Signing { key: world.signing(&udp(CLIENT), "eve").key, ..signing.clone() };
    for signing in [signing, stranger, liar] {
        let forged = Signing { nonce: b"made up".to_vec(), ..signing };
        let request =
            world.signed(&forged, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
        // Whoever it is: nothing is said of that yet.
        assert_eq!(world.ask(&udp(CLIENT), &request).code(), 438);
    }
}

#[test]
fn a_nonce_is_bound_to_the_client_s_address_and_not_to_its_port() {
    let mut world = World::new();
    let signing = world.signing(&udp(CLIENT), "alice");
    let request =
        world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    assert_eq!(world.ask(&udp("8.8.4.5:5000"), &request).code(), 438);
    assert_eq!(world.ask(&udp("8.8.4.4:6000"), &request).code(), 0);
}

#[test]
fn every_relay_of_the_fleet_takes_the_same_nonce_also_after_a_restart() {
    let mut world = World::new();
    let signing = world.signing(&udp(CLIENT), "alice");
    let mut sibling = World::new();
    let request =
        sibling.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    assert_eq!(sibling.ask(&udp(CLIENT), &request).code(), 0);
}

#[test]
fn a_wrong_user_on_somebody_s_five_tuple_gets_441_and_the_same_user_s_next_credential_works() {
    let mut world = World::new();
    let from = udp(CLIENT);
    world.allocate(&from, "alice");
    let mallory = world.signing(&from, "mallory");
    assert_eq!(world.refresh(&from, &mallory, Some(0)).code(), 441);
    assert_eq!(world.permit(&from, &mallory, &["8.8.8.8:9"]), 441);
    assert_eq!(world.bind(&from, &mallory, 0x4000, "8.8.8.8:9"), 441);
    let renewed = world.signing_with(&from, "north", "alice", UnixSeconds(EPOCH.0 + 7));
    assert_eq!(world.refresh(&from, &renewed, None).code(), 0);
}

#[test]
fn a_request_without_an_allocation_gets_437_with_integrity() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    for method in [Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        let request = world.signed(&signing, method, |writer| writer);
        let answer = world.ask(&from, &request);
        assert_eq!(answer.code(), 437, "{method:?}");
        assert!(answer.message().verify_integrity(signing.key.as_bytes()), "{method:?}");
    }
}

#[test]
fn a_method_that_is_none_gets_400_from_a_signed_client() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    for number in [0x00A, 0x07F] {
        let method = Method::new(number).expect("a method");
        let request = world.signed(&signing, method, |writer| writer);
        assert_eq!(world.ask(&from, &request).code(), 400);
    }
}

#[test]
fn what_is_signed_without_a_name_a_realm_or_a_nonce_is_a_bad_request() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    let key = signing.key.as_bytes();
    let (name, realm, nonce) =
        (Username(signing.username.as_bytes()), Realm(REALM.as_bytes()), Nonce(&signing.nonce));
    for request in [
        world.bare(Method::REFRESH, |w| w.put(&realm).put(&nonce).put_integrity(key)),
        world.bare(Method::REFRESH, |w| w.put(&name).put(&nonce).put_integrity(key)),
        world.bare(Method::REFRESH, |w| w.put(&name).put(&realm).put_integrity(key)),
    ] {
        assert_eq!(world.ask(&from, &request).code(), 400);
    }
}

#[test]
fn sha256_is_answered_only_to_a_client_that_names_an_algorithm() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let (signing, _) = world.allocate(&from, "alice");
    let answer = world.refresh(&from, &signing, None);
    assert!(answer.message().has_integrity() && !answer.message().has_integrity_sha256());
    let request = world.bare(Method::REFRESH, |writer| {
        writer
            .put(&Username(signing.username.as_bytes()))
            .put(&Realm(REALM.as_bytes()))
            .put(&Nonce(&signing.nonce))
            .put_integrity_sha256(signing.key.as_bytes())
    });
    let answer = world.ask(&from, &request);
    assert_eq!(answer.code(), 0);
    assert!(answer.message().verify_integrity(signing.key.as_bytes()));
    assert!(!answer.message().has_integrity_sha256());
}

#[test]
fn an_allocation_goes_on_after_its_credential_ended_and_its_secret_was_rotated_away() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing_with(&from, "north", "alice", UnixSeconds(EPOCH.0 + 60));
    let request =
        world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    assert_eq!(world.ask(&from, &request).code(), 0);
    world.pass(61);
    assert_eq!(world.refresh(&from, &signing, None).code(), 0, "ended");
    world.reload(|settings| settings.credentials = credentials(&["south", "north"]));
    assert_eq!(world.refresh(&from, &signing, None).code(), 0, "rotating");
    world.reload(|settings| settings.credentials = credentials(&["south"]));
    let stale = world.refresh(&from, &signing, None);
    assert_eq!(stale.code(), 438, "the nonce was keyed by the old secret");
    let nonce = stale.get::<Nonce<'_>>().expect("a nonce").0.to_vec();
    let signing = Signing { nonce, ..signing };
    assert_eq!(world.refresh(&from, &signing, None).code(), 0, "rotated away");
}

#[test]
fn a_static_user_that_is_gone_is_out() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let nonce = world.signing(&from, "any").nonce;
    let key = LongTermKey::derive(PasswordAlgorithm::Md5, b"bob", REALM.as_bytes(), b"pass");
    let signing = Signing { username: "bob".to_owned(), key, nonce };
    let request =
        world.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
    assert_eq!(world.ask(&from, &request).code(), 0);
    world.reload(|settings| {
        let secret = turn_auth::Secret::from_file(b"north").expect("a secret");
        settings.credentials = turn_auth::Credentials::new(REALM, vec![secret], []);
    });
    assert_eq!(world.refresh(&from, &signing, None).code(), 401);
}

#[test]
fn a_changed_request_is_refused() {
    let mut world = World::new();
    let from = udp(CLIENT);
    let signing = world.signing(&from, "alice");
    let id = world.transaction();
    let request = sign(id, &signing, Method::ALLOCATE, |w| w.put(&RequestedTransport::UDP));
    let mut changed = request.clone();
    // The last byte of REQUESTED-TRANSPORT's reserved part: ignored, but signed.
    changed[27] ^= 1;
    assert_eq!(world.ask(&from, &changed).code(), 401);
    assert_eq!(world.ask(&from, &request).code(), 0);
}
