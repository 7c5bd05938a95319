//! Whether the Secret holds a certificate that relays can prove themselves with.

use std::net::IpAddr;

use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use rustls::{
    Error as TlsError,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use turn_api::{Protocol, Validated, conditions::Reason};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384},
    prelude::FromDer,
};

/// The key of the certificates in a Secret of the type `kubernetes.io/tls`.
pub const CERTIFICATE_KEY: &str = "tls.crt";
/// The key of the private key.
pub const PRIVATE_KEY_KEY: &str = "tls.key";

/// What is known of the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateState {
    /// No listener needs one.
    NotNeeded,
    /// A relay can be started with it.
    Usable(Certificate),
    /// No relay can be started with it.
    Problem {
        /// The reason of the condition.
        reason: Reason,
        /// Names Secret and key, and says what would be right.
        message: String,
    },
}

/// A certificate that belongs to its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// What messages call its Secret.
    place: String,
    not_before: Timestamp,
    not_after: Timestamp,
    /// The domain by which clients reach the relays.
    domain: Option<String>,
    addresses: Vec<IpAddr>,
}

impl Certificate {
    /// The domain that clients are told, whom the certificate is valid for: the realm, else its
    /// first name. None when it is valid for addresses only.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// Whether it is valid for an address.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Until when clients take it, and for which name, as a phrase.
    #[must_use]
    pub fn summary(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string);
        let names: Vec<_> = self.domain.iter().cloned().chain(addresses).collect();
        format!("{}: valid for {} until {}", self.place, names.join(", "), self.not_after)
    }

    /// Why clients would refuse it at `now`, if they would.
    #[must_use]
    pub fn refusal(&self, now: Timestamp) -> Option<(Reason, String)> {
        let Self { place, not_before, not_after, domain, addresses } = self;
        if now > *not_after {
            let message = format!("{place}: the certificate has expired at {not_after}: renew it");
            return Some((Reason::CertificateExpired, message));
        }
        if now < *not_before {
            let message = format!("{place}: the certificate is not valid before {not_before}");
            return Some((Reason::CertificateNotYetValid, message));
        }
        if domain.is_none() && addresses.is_empty() {
            let message = format!(
                "{place}: the certificate names no domain and no address (subjectAltName) by which \
                 clients could reach a relay"
            );
            return Some((Reason::CertificateNameless, message));
        }
        None
    }
}

/// Looks at the Secret.
#[must_use]
pub fn state(validated: &Validated, secret: Option<&Secret>) -> CertificateState {
    let Some(name) = validated.tls_secret_name() else { return CertificateState::NotNeeded };
    let place = format!("Secret {}/{name}", validated.namespace());
    let Some(secret) = secret else {
        let message = format!("{place} does not exist: create it, of the type kubernetes.io/tls");
        return CertificateState::Problem { reason: Reason::SecretNotFound, message };
    };
    match usable(validated, secret, &place) {
        Ok(certificate) => CertificateState::Usable(certificate),
        Err((reason, what)) => {
            CertificateState::Problem { reason, message: format!("{place}{what}") }
        }
    }
}

/// The certificate itself, without those that lead to its authority. None when there is none.
#[must_use]
pub fn leaf(secret: &Secret) -> Option<CertificateDer<'static>> {
    let chain = certificates(value(secret, CERTIFICATE_KEY).ok()?).ok()?;
    chain.into_iter().next()
}

/// What follows the name of the Secret in a message.
type Flaw = (Reason, String);

fn usable(validated: &Validated, secret: &Secret, place: &str) -> Result<Certificate, Flaw> {
    let chain = certificates(value(secret, CERTIFICATE_KEY)?)?;
    let key = private_key(value(secret, PRIVATE_KEY_KEY)?)?;
    let end_entity = chain.first().cloned().ok_or_else(no_certificate)?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(mismatch)?;
    let (_, parsed) = X509Certificate::from_der(&end_entity).map_err(|_| no_certificate())?;
    let over_dtls = validated.listeners().iter().any(|l| l.protocol() == Protocol::Dtls);
    if over_dtls && !suits_dtls(&parsed) {
        let what = format!(
            ": the key of {CERTIFICATE_KEY} is not one of the curves P-256 and P-384, which a DTLS \
             listener needs"
        );
        return Err((Reason::CertificateKeyUnsuited, what));
    }
    let names = names(&parsed);
    Ok(Certificate {
        place: place.to_owned(),
        not_before: time(parsed.validity().not_before.timestamp()),
        not_after: time(parsed.validity().not_after.timestamp()),
        domain: domain(validated.realm(), &names),
        addresses: addresses(&parsed),
    })
}

fn value<'a>(secret: &'a Secret, key: &str) -> Result<&'a [u8], Flaw> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    match value {
        None => Err((Reason::SecretKeyMissing, format!(" has no key {key:?}: add it"))),
        Some(value) if value.0.trim_ascii().is_empty() => {
            Err((Reason::SecretKeyEmpty, format!(": the value of key {key:?} is empty")))
        }
        Some(value) => Ok(&value.0),
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| no_certificate())
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Flaw> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| no_private_key())
}

fn no_certificate() -> Flaw {
    let what = format!(": the value of key {CERTIFICATE_KEY:?} is no certificate in PEM");
    (Reason::CertificateInvalid, what)
}

fn no_private_key() -> Flaw {
    let what = format!(": the value of key {PRIVATE_KEY_KEY:?} is no private key in PEM");
    (Reason::CertificateInvalid, what)
}

fn mismatch(error: TlsError) -> Flaw {
    if let TlsError::InconsistentKeys(_) = error {
        let what = format!(": {PRIVATE_KEY_KEY} is not the key of {CERTIFICATE_KEY}");
        return (Reason::CertificateKeyMismatch, what);
    }
    no_private_key()
}

fn suits_dtls(certificate: &X509Certificate<'_>) -> bool {
    let algorithm = &certificate.public_key().algorithm;
    let curve = algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && curve.is_some_and(|curve| [OID_EC_P256, OID_NIST_EC_P384].contains(&curve))
}

fn general_names<'a>(
    certificate: &'a X509Certificate<'_>,
) -> impl Iterator<Item = &'a GeneralName<'a>> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension.into_iter().flat_map(|extension| &extension.value.general_names)
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let name = |name: &GeneralName<'_>| {
        let GeneralName::DNSName(name) = name else { return None };
        Some(name.to_ascii_lowercase())
    };
    general_names(certificate).filter_map(name).collect()
}

fn addresses(certificate: &X509Certificate<'_>) -> Vec<IpAddr> {
    let address = |name: &GeneralName<'_>| {
        let GeneralName::IPAddress(octets) = name else { return None };
        let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from)).ok()
    };
    general_names(certificate).filter_map(address).collect()
}

/// The realm if one of the names is it or, with a wildcard, covers it; else the first that clients
/// can ask the DNS for.
fn domain(realm: &str, names: &[String]) -> Option<String> {
    let realm = realm.to_ascii_lowercase();
    let parent = realm.split_once('.').map(|(_, parent)| parent);
    let covers = |name: &String| {
        *name == realm || name.strip_prefix("*.").is_some_and(|rest| Some(rest) == parent)
    };
    if names.iter().any(covers) {
        return Some(realm);
    }
    names.iter().find(|name| !name.starts_with("*.")).cloned()
}

/// The end of time is late enough where a certificate says something later.
fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
