//! Certificates that nobody but a test believes.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SignatureAlgorithm};
use rustls::pki_types::CertificateDer;

/// A certificate that is signed by itself.
pub(crate) struct Certificate {
    pub(crate) pem: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
}

impl Certificate {
    /// One of an elliptic curve.
    pub(crate) fn new() -> Self {
        Self::of(&PKCS_ECDSA_P256_SHA256)
    }

    /// One of another kind.
    pub(crate) fn of(algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let params = CertificateParams::new(vec!["turn.example.org".to_owned()]);
        let certificate = params.expect("a name").self_signed(&key).expect("signed");
        Self { pem: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone() }
    }
}
