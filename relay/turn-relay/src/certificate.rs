//! The certificate of TLS and DTLS listeners, as it stands in its files.

use std::{
    io,
    path::{Path, PathBuf},
};

use relay_config::{Config, Protocol, Tls};
use turn_net::{Identity, IdentityError};

/// The files of [`relay_config::RawConfig::tls`] hold nothing that the listeners can use.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// One of them cannot be read.
    #[error("{field}: {path:?} cannot be read")]
    Unreadable {
        /// The field of the configuration that names it.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What stands in one of them is no certificate, or no key, or not of the other one.
    #[error("{field}: {path:?}")]
    Unusable {
        /// The field of the configuration that names it.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: IdentityError,
    },
    /// The certificate is not of a kind that DTLS is spoken with.
    #[error(
        "tls.certificateFile: {path:?} is not of elliptic curve P-256 or P-384, and listener \
         {listener:?} is DTLS: give it such a certificate, or leave out the listener"
    )]
    NotForDtls {
        /// The file.
        path: PathBuf,
        /// The name of the listener.
        listener: String,
    },
}

const CERTIFICATE: &str = "tls.certificateFile";
const KEY: &str = "tls.privateKeyFile";

/// Reads what TLS and DTLS listeners prove themselves with, if anything is configured.
pub(crate) fn read(config: &Config) -> Result<Option<Identity>, CertificateError> {
    let Some(tls) = &config.tls else { return Ok(None) };
    let certificate = file(CERTIFICATE, &tls.certificate_file)?;
    let key = file(KEY, &tls.private_key_file)?;
    let identity =
        Identity::from_pem(&certificate, &key).map_err(|source| unusable(tls, source))?;
    let dtls = config.listeners.iter().find(|listener| listener.protocol == Protocol::Dtls);
    match dtls {
        Some(listener) if !identity.serves_dtls() => Err(CertificateError::NotForDtls {
            path: tls.certificate_file.clone(),
            listener: listener.name.clone(),
        }),
        Some(_) | None => Ok(Some(identity)),
    }
}

fn file(field: &'static str, path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Unreadable {
        field,
        path: path.to_owned(),
        source,
    })
}

fn unusable(tls: &Tls, source: IdentityError) -> CertificateError {
    let (field, path) = match source {
        IdentityError::Key(_) => (KEY, &tls.private_key_file),
        IdentityError::Certificate(_) | IdentityError::Unusable(_) | IdentityError::Dtls(_) => {
            (CERTIFICATE, &tls.certificate_file)
        }
    };
    CertificateError::Unusable { field, path: path.clone(), source }
}
