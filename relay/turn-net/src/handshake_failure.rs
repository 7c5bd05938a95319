//! Why a handshake of TLS or DTLS has failed.

use rustls::{AlertDescription, Error};

/// Why a handshake of TLS or DTLS has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// What came is not TLS.
    Malformed,
    /// The client offers only other application protocols than those of RFC 7443.
    ApplicationProtocol,
    /// No version, cipher suite or group that both speak.
    NothingInCommon,
    /// The client has refused: most often it does not trust the certificate.
    RefusedByClient,
    /// Something else went wrong with TLS.
    Tls,
    /// The ClientHello of DTLS comes in pieces, so that it cannot be answered without keeping them.
    DtlsFragmented,
    /// The cookie of DTLS is not the one that the client was given, or is too old.
    DtlsCookie,
    /// Something else went wrong with DTLS.
    Dtls,
}

impl HandshakeFailure {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::ApplicationProtocol,
        Self::NothingInCommon,
        Self::RefusedByClient,
        Self::Tls,
        Self::DtlsFragmented,
        Self::DtlsCookie,
        Self::Dtls,
    ];

    /// The label in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::ApplicationProtocol => "application_protocol",
            Self::NothingInCommon => "nothing_in_common",
            Self::RefusedByClient => "refused_by_client",
            Self::Tls => "tls",
            Self::DtlsFragmented => "dtls_fragmented",
            Self::DtlsCookie => "dtls_cookie",
            Self::Dtls => "dtls",
        }
    }

    /// What an error of TLS means.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows")]
    pub(crate) fn of(error: &std::io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        Some(match error {
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => Self::Malformed,
            Error::NoApplicationProtocol => Self::ApplicationProtocol,
            Error::PeerIncompatible(_) => Self::NothingInCommon,
            Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                Self::ApplicationProtocol
            }
            Error::AlertReceived(_) => Self::RefusedByClient,
            _ => Self::Tls,
        })
    }
}
