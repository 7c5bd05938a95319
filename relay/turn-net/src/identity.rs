//! What TLS and DTLS listeners prove themselves with.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{Ticketer, default_provider},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::NoServerSessionStorage,
};

use crate::dtls::DtlsIdentity;

/// The application protocols of RFC 7443. A client that names none is served too.
const ALPN: [&[u8]; 2] = [b"stun.turn", b"stun.nat-discovery"];

/// A certificate with its key, ready for handshakes. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) dtls: Option<Arc<DtlsIdentity>>,
    leaf: CertificateDer<'static>,
}

/// What is wrong with a certificate or its key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file of the certificate is no PEM, or has none.
    #[error("holds no certificate in PEM")]
    Certificate(#[source] Option<pem::Error>),
    /// The file of the key is no PEM, or has none.
    #[error("holds no private key in PEM")]
    Key(#[source] pem::Error),
    /// The two do not belong together, or are of a kind that is not supported.
    #[error("the certificate and its private key cannot be used together")]
    Unusable(#[source] rustls::Error),
    /// The cryptography of DTLS does not work here.
    #[error("DTLS cannot be set up")]
    Dtls(#[source] dimpl::Error),
}

impl Identity {
    /// Reads a certificate, followed by those that lead to its authority, and its private key.
    ///
    /// # Errors
    /// When there is none, or the two do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|error| IdentityError::Certificate(Some(error)))?;
        let leaf: CertificateDer<'static> =
            chain.first().cloned().ok_or(IdentityError::Certificate(None))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(IdentityError::Key)?;
        let dtls = DtlsIdentity::new(&leaf, key.secret_der()).map_err(IdentityError::Dtls)?;
        let tls = tls(chain, key).map_err(IdentityError::Unusable)?;
        Ok(Self { tls: Arc::new(tls), dtls: dtls.map(Arc::new), leaf })
    }

    /// Whether DTLS listeners can use it: only elliptic curves P-256 and P-384 are spoken there.
    #[must_use]
    pub const fn serves_dtls(&self) -> bool {
        self.dtls.is_some()
    }

    /// The certificate itself, in DER.
    #[must_use]
    pub const fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("serves_dtls", &self.serves_dtls()).finish_non_exhaustive()
    }
}

/// TLS 1.2 and 1.3, for any server name. What a client needs to resume stands in its ticket, so
/// that nothing is kept of it here.
fn tls(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};

    use super::*;

    fn pair(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let params = CertificateParams::new(vec!["turn.example.com".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_certificate_of_an_elliptic_curve_serves_dtls_and_another_does_not() {
        for (algorithm, dtls) in [
            (&PKCS_ECDSA_P256_SHA256, true),
            (&PKCS_ECDSA_P384_SHA384, true),
            (&rcgen::PKCS_ED25519, false),
        ] {
            let (certificate, key) = pair(algorithm);
            let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes());
            assert_eq!(identity.expect("a pair").serves_dtls(), dtls);
        }
    }

    #[test]
    fn what_is_no_pair_of_certificate_and_key_is_refused() {
        let (certificate, key) = pair(&PKCS_ECDSA_P256_SHA256);
        let (_, other) = pair(&PKCS_ECDSA_P256_SHA256);
        let read = |certificate: &str, key: &str| {
            Identity::from_pem(certificate.as_bytes(), key.as_bytes()).map(|_| ())
        };
        assert!(matches!(read("", &key), Err(IdentityError::Certificate(None))));
        assert!(matches!(read("what?", &key), Err(IdentityError::Certificate(None))));
        assert!(matches!(read(&certificate, ""), Err(IdentityError::Key(_))));
        assert!(matches!(read(&certificate, &certificate), Err(IdentityError::Key(_))));
        assert!(matches!(read(&certificate, &other), Err(IdentityError::Unusable(_))));
    }
}
