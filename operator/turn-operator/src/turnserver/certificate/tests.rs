use std::net::Ipv4Addr;

use k8s_openapi::ByteString;
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType, date_time_ymd,
};
use turn_api::Document;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn validated(protocol: &str) -> Validated {
    let text = format!(
        "{{apiVersion: turnpike.dev/v1alpha1, kind: TurnServer, metadata: {{name: a, namespace: media}}, \
         spec: {{realm: turn.example.com, tls: {{secretRef: {{name: s}}}}, \
         listeners: [{{name: x, protocol: {protocol}, port: 5349}}]}}}}"
    );
    Document::read_all(&text).remove(0).expect("a good one").validated
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

/// Valid in 2030.
fn certificate(key: &KeyPair, names: &[&str]) -> String {
    let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut params = CertificateParams::new(names).expect("good names");
    params.not_before = date_time_ymd(2030, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    params.self_signed(key).expect("signed").pem()
}

fn secret(certificate: &str, key: &str) -> Secret {
    let value = |text: &str| ByteString(text.as_bytes().to_vec());
    let data = [
        (CERTIFICATE_KEY.to_owned(), value(certificate)),
        (PRIVATE_KEY_KEY.to_owned(), value(key)),
    ];
    Secret { data: Some(data.into()), ..Secret::default() }
}

fn usable_with(names: &[&str]) -> Certificate {
    let key = key();
    let secret = secret(&certificate(&key, names), &key.serialize_pem());
    match state(&validated("TLS"), Some(&secret)) {
        CertificateState::Usable(certificate) => certificate,
        other @ (CertificateState::NotNeeded | CertificateState::Problem { .. }) => {
            panic!("{other:?}")
        }
    }
}

#[track_caller]
fn check(protocol: &str, secret: Option<Secret>, expected: Reason, says: &str) {
    match state(&validated(protocol), secret.as_ref()) {
        CertificateState::Problem { reason, message } => {
            assert_eq!(reason, expected, "{message}");
            assert!(message.starts_with("Secret media/s") && message.contains(says), "{message}");
        }
        other @ (CertificateState::NotNeeded | CertificateState::Usable(_)) => panic!("{other:?}"),
    }
}

#[test]
fn what_no_relay_could_be_started_with_is_named() {
    let (one, other) = (key(), key());
    let (pem, key) = (certificate(&one, &["turn.example.com"]), one.serialize_pem());
    check("TLS", None, Reason::SecretNotFound, "kubernetes.io/tls");
    let mut without = secret(&pem, &key);
    without.data.as_mut().expect("data").remove(PRIVATE_KEY_KEY);
    check("TLS", Some(without), Reason::SecretKeyMissing, "\"tls.key\"");
    check("TLS", Some(secret("", &key)), Reason::SecretKeyEmpty, "\"tls.crt\"");
    check("TLS", Some(secret("north", &key)), Reason::CertificateInvalid, "\"tls.crt\"");
    check("TLS", Some(secret(&pem, "north")), Reason::CertificateInvalid, "\"tls.key\"");
    let foreign = secret(&pem, &other.serialize_pem());
    check("Auto", Some(foreign), Reason::CertificateKeyMismatch, "not the key of tls.crt");
}

#[test]
fn a_dtls_listener_needs_a_key_of_a_curve_that_dtls_uses() {
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let other = secret(&certificate(&key, &["turn.example.com"]), &key.serialize_pem());
    let over_tls = state(&validated("TLS"), Some(&other));
    assert!(matches!(over_tls, CertificateState::Usable(_)), "{over_tls:?}");
    check("DTLS", Some(other), Reason::CertificateKeyUnsuited, "P-256");
    let key = super::tests::key();
    let good = secret(&certificate(&key, &["turn.example.com"]), &key.serialize_pem());
    let over_dtls = state(&validated("DTLS"), Some(&good));
    assert!(matches!(over_dtls, CertificateState::Usable(_)), "{over_dtls:?}");
}

#[test]
fn a_certificate_is_refused_before_and_after_its_time_and_without_a_name() {
    let certificate = usable_with(&["turn.example.com"]);
    let refusal = |when: &str| certificate.refusal(at(when)).map(|(reason, _)| reason);
    assert_eq!(refusal("2029-12-31T23:59:59Z"), Some(Reason::CertificateNotYetValid));
    assert_eq!(refusal("2030-01-01T00:00:00Z"), None);
    assert_eq!(refusal("2031-01-01T00:00:00Z"), None);
    assert_eq!(refusal("2031-01-01T00:00:01Z"), Some(Reason::CertificateExpired));
    let nameless = usable_with(&[]).refusal(at("2030-06-01T00:00:00Z"));
    assert_eq!(nameless.map(|(reason, _)| reason), Some(Reason::CertificateNameless));
}

#[test]
fn clients_are_told_the_realm_if_the_certificate_covers_it_else_its_first_name() {
    let domain = |names: &[&str]| usable_with(names).domain().map(str::to_owned);
    let told = |name: &str| Some(name.to_owned());
    assert_eq!(domain(&["a.example.org", "turn.example.com"]), told("turn.example.com"));
    assert_eq!(domain(&["a.example.org", "*.example.com"]), told("turn.example.com"));
    assert_eq!(domain(&["*.example.org", "a.example.org", "b.org"]), told("a.example.org"));
    assert_eq!(domain(&["*.com"]), None);
}

#[test]
fn addresses_are_covered_by_their_names_only() {
    let key = key();
    let mut params = CertificateParams::default();
    let address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    params.subject_alt_names.push(SanType::IpAddress(address));
    let pem = params.self_signed(&key).expect("signed").pem();
    let found = state(&validated("TLS"), Some(&secret(&pem, &key.serialize_pem())));
    let CertificateState::Usable(certificate) = found else { panic!("{found:?}") };
    assert!(certificate.covers(address));
    assert!(!certificate.covers(Ipv4Addr::new(203, 0, 113, 8).into()));
    assert_eq!(certificate.refusal(at("2030-01-01T00:00:00Z")), None);
}
