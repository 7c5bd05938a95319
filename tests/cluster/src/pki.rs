//! The cluster's certificates and kubeconfigs.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;

/// The authority that every part of the cluster trusts.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// Who a certificate is for.
pub(crate) struct Subject<'a> {
    /// The user, or the server's name.
    pub(crate) name: &'a str,
    /// The user's groups.
    pub(crate) groups: &'a [&'a str],
    /// The addresses at which it serves.
    pub(crate) addresses: &'a [IpAddr],
    /// The names at which it serves.
    pub(crate) dns_names: &'a [&'a str],
}

impl<'a> Subject<'a> {
    /// A user that serves nothing.
    pub(crate) const fn user(name: &'a str, groups: &'a [&'a str]) -> Self {
        Self { name, groups, addresses: &[], dns_names: &[] }
    }
}

impl Authority {
    /// Makes an authority that keeps its files in `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "turnpike test cluster");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let authority = Self { issuer, folder: folder.to_owned() };
        fs::write(authority.certificate(), authority.issuer.pem())?;
        write_private(&authority.key(), &authority.issuer.key().serialize_pem())?;
        Ok(authority)
    }

    /// The file of the authority's certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The file of the authority's private key.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    /// Makes a key pair without a certificate, as for signing service account tokens; returns the
    /// public key's file and the private key's.
    pub(crate) fn plain_key(&self, file: &str) -> Result<(PathBuf, PathBuf)> {
        let paths =
            (self.folder.join(format!("{file}.pub")), self.folder.join(format!("{file}.key")));
        let key = KeyPair::generate()?;
        fs::write(&paths.0, key.public_key_pem())?;
        write_private(&paths.1, &key.serialize_pem())?;
        Ok(paths)
    }

    /// Issues a certificate for a client and a server, and returns its file and its key's.
    pub(crate) fn issue(&self, file: &str, subject: &Subject<'_>) -> Result<(PathBuf, PathBuf)> {
        let mut params = CertificateParams::new(
            subject.dns_names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(),
        )?;
        params.distinguished_name.push(DnType::CommonName, subject.name);
        for group in subject.groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params
            .subject_alt_names
            .extend(subject.addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let paths =
            (self.folder.join(format!("{file}.crt")), self.folder.join(format!("{file}.key")));
        fs::write(&paths.0, certificate.pem())?;
        write_private(&paths.1, &key.serialize_pem())?;
        Ok(paths)
    }

    /// Writes the kubeconfig of a user, complete in one file, and returns the file.
    pub(crate) fn kubeconfig(
        &self,
        file: &str,
        server: &str,
        subject: &Subject<'_>,
    ) -> Result<PathBuf> {
        let (certificate, key) = self.issue(file, subject)?;
        let data = |path: &Path| -> Result<String> {
            Ok(STANDARD.encode(fs::read(path).with_context(|| path.display().to_string())?))
        };
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "turnpike",
            "contexts": [{"name": "turnpike", "context": {"cluster": "turnpike", "user": subject.name}}],
            "clusters": [{"name": "turnpike", "cluster": {
                "server": server,
                "certificate-authority-data": STANDARD.encode(self.issuer.pem()),
            }}],
            "users": [{"name": subject.name, "user": {
                "client-certificate-data": data(&certificate)?,
                "client-key-data": data(&key)?,
            }}],
        });
        let path = self.folder.join(format!("{file}.kubeconfig"));
        write_private(&path, &config.to_string())?;
        Ok(path)
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file =
        fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
