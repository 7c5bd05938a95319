//! What DTLS needs of a certificate.

use std::sync::Arc;

use dimpl::{
    Config, DtlsCertificate,
    crypto::{CryptoProvider, aws_lc_rs::default_provider},
};

use super::cookie::COOKIE_MAC;

/// A certificate with its key, and what all associations under it have in common.
pub(crate) struct DtlsIdentity {
    pub(crate) config: Arc<Config>,
    pub(crate) certificate: DtlsCertificate,
}

impl DtlsIdentity {
    /// Takes a certificate and its key, both in DER. `None` when the key is of a kind that DTLS is not
    /// spoken with here.
    pub(crate) fn new(certificate: &[u8], key: &[u8]) -> Result<Option<Self>, dimpl::Error> {
        let provider = CryptoProvider { hmac_provider: &COOKIE_MAC, ..default_provider() };
        if provider.key_provider.load_private_key(key).is_err() {
            return Ok(None);
        }
        let config = Config::builder()
            .require_client_certificate(false)
            .use_server_cookie(true)
            .with_crypto_provider(provider)
            .build()?;
        let certificate =
            DtlsCertificate { certificate: certificate.to_vec(), private_key: key.to_vec() };
        Ok(Some(Self { config: Arc::new(config), certificate }))
    }
}
