//! Whom a probe believes over TLS and DTLS.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider, aws_lc_rs::default_provider, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::{Cause, CertificateFault};

/// The application protocol of TURN (RFC 7443).
const ALPN: &[u8] = b"stun.turn";

/// Whom a probe believes over TLS and DTLS.
#[derive(Debug, Clone)]
pub struct Trust {
    verifier: Arc<dyn ServerCertVerifier>,
    name: Option<ServerName<'static>>,
    tls: Arc<ClientConfig>,
}

#[derive(Debug)]
struct Pinned {
    certificates: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

/// What a pinned certificate is not.
#[derive(Debug, thiserror::Error)]
#[error("another certificate than the one that is expected")]
struct Unexpected;

impl Trust {
    /// Believes the holder of exactly this certificate, whatever it says and whoever has signed it.
    ///
    /// # Errors
    /// When the cryptography does not work here.
    pub fn exactly(certificate: CertificateDer<'static>) -> Result<Self, Error> {
        Self::one_of(vec![certificate])
    }

    /// The same, of any of these: while a new one is on its way, a server may have the old one.
    ///
    /// # Errors
    /// When the cryptography does not work here.
    pub fn one_of(certificates: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        let provider = Arc::new(default_provider());
        Self::new(Arc::new(Pinned { certificates, provider }), None)
    }

    /// Believes whom a verifier believes to be the server of this name: the name that clients are
    /// given, a DNS name or an IP address.
    ///
    /// # Errors
    /// When the cryptography does not work here.
    pub fn in_name(
        verifier: Arc<dyn ServerCertVerifier>,
        name: ServerName<'static>,
    ) -> Result<Self, Error> {
        Self::new(verifier, Some(name))
    }

    fn new(
        verifier: Arc<dyn ServerCertVerifier>,
        name: Option<ServerName<'static>>,
    ) -> Result<Self, Error> {
        let mut tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier))
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { verifier, name, tls: Arc::new(tls) })
    }

    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }

    /// What the server is called in the handshake.
    pub(crate) fn name(&self, server: IpAddr) -> ServerName<'static> {
        self.name.clone().unwrap_or(ServerName::IpAddress(server.into()))
    }

    /// Judges a certificate that came without those that lead to its authority, as DTLS brings it.
    pub(crate) fn judge(&self, certificate: &[u8], server: IpAddr) -> Result<(), Cause> {
        let (certificate, name) = (CertificateDer::from(certificate), self.name(server));
        let judged =
            self.verifier.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now());
        judged.map(|_| ()).map_err(|error| {
            if let Error::InvalidCertificate(fault) = error {
                return Cause::from(&fault);
            }
            Cause::Certificate(CertificateFault::Other, error.to_string())
        })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificates.contains(end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::Other(OtherError(Arc::new(Unexpected))).into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
