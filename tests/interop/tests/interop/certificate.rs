//! A certificate for relays on loopback.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};

/// A certificate that has signed itself, for `127.0.0.1` and `localhost`, with a key that DTLS takes
/// too.
pub(crate) struct Certificate {
    /// In PEM.
    pub(crate) certificate: String,
    /// In PEM.
    pub(crate) key: String,
    /// SHA-256 of the public key, in base64: how a browser is told to trust it.
    pub(crate) fingerprint: String,
}

impl Certificate {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names)?.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            fingerprint: browser::fingerprint(&key.subject_public_key_info()),
        })
    }
}
