//! The API's port: TLS with a certificate that is read again when it changes, or plain HTTP for
//! whatever does TLS in front of it.

use std::{io, path::PathBuf, time::Duration};

use axum::Router;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto::Builder,
};
use sha2::{Digest as _, Sha256};

/// How long a client may take to send the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where the certificate and its key are, in PEM, as a mounted Secret of the type `kubernetes.io/tls`
/// has them.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, and those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub private_key: PathBuf,
}

/// Serves until the future is dropped.
///
/// # Errors
/// When the port cannot be opened, or the first certificate cannot be used.
pub async fn serve(
    listener: std::net::TcpListener,
    files: Option<TlsFiles>,
    router: Router,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let service = router.into_make_service();
    match files {
        None => {
            tracing::info!(%address, "serving the ICE-servers API over plain HTTP");
            let mut server = axum_server::from_tcp(listener)?;
            limit_heads(server.http_builder());
            server.serve(service).await
        }
        Some(files) => {
            let config = RustlsConfig::from_pem_file(&files.certificate, &files.private_key);
            let config = config.await.map_err(|error| named(&files, &error))?;
            tracing::info!(%address, "serving the ICE-servers API over HTTPS");
            let mut server = axum_server::from_tcp_rustls(listener, config.clone())?;
            limit_heads(server.http_builder());
            tokio::select! {
                served = server.serve(service) => served,
                () = follow(&files, &config) => Ok(()),
            }
        }
    }
}

/// Nobody holds a connection without asking for something.
fn limit_heads(builder: &mut Builder<TokioExecutor>) {
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
}

/// Takes another certificate when there is one. Never ends.
async fn follow(files: &TlsFiles, config: &RustlsConfig) {
    let mut seen = digest(files).await;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = digest(files).await;
        if now == seen {
            continue;
        }
        match config.reload_from_pem_file(&files.certificate, &files.private_key).await {
            Ok(()) => tracing::info!("the API has another certificate"),
            Err(error) => {
                let error = named(files, &error);
                tracing::warn!(%error, "the API keeps its certificate: the new one cannot be used");
            }
        }
        seen = now;
    }
}

/// What the files hold; none where one cannot be read.
async fn digest(files: &TlsFiles) -> Option<[u8; 32]> {
    let certificate = tokio::fs::read(&files.certificate).await.ok()?;
    let key = tokio::fs::read(&files.private_key).await.ok()?;
    Some(Sha256::new().chain_update(certificate).chain_update(key).finalize().into())
}

fn named(files: &TlsFiles, error: &io::Error) -> io::Error {
    let TlsFiles { certificate, private_key } = files;
    let places = format!("{} with {}", certificate.display(), private_key.display());
    io::Error::new(error.kind(), format!("{places}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        net::{Ipv4Addr, SocketAddr, TcpListener},
        path::Path,
        sync::Arc,
        time::Instant,
    };

    use rcgen::CertifiedKey;
    use rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName},
    };
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;

    use super::*;

    const NAME: &str = "api.example.com";

    fn certificate() -> CertifiedKey<rcgen::KeyPair> {
        rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate")
    }

    fn write(folder: &Path, of: &CertifiedKey<rcgen::KeyPair>) {
        fs::write(folder.join("tls.crt"), of.cert.pem()).expect("written");
        fs::write(folder.join("tls.key"), of.signing_key.serialize_pem()).expect("written");
    }

    /// Whether who believes this certificate alone is served.
    async fn is_shown(certificate: &CertificateDer<'static>, at: SocketAddr) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a root");
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(at).await.expect("it listens");
        let name = ServerName::try_from(NAME).expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_ok()
    }

    #[tokio::test]
    async fn another_certificate_is_shown_once_it_is_there_and_one_that_is_none_is_not() {
        // Fails when there is one already, which is as good.
        let _there_is_one = aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let [first, second] = [certificate(), certificate()];
        write(folder.path(), &first);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let at = listener.local_addr().expect("bound");
        let place = |name: &str| folder.path().join(name);
        let files = TlsFiles { certificate: place("tls.crt"), private_key: place("tls.key") };
        let served = tokio::spawn(serve(listener, Some(files), Router::new()));
        assert!(is_shown(first.cert.der(), at).await);
        // Half of a change: the key is another one's.
        fs::write(place("tls.key"), second.signing_key.serialize_pem()).expect("written");
        tokio::time::sleep(LOOK_EVERY + Duration::from_secs(1)).await;
        assert!(is_shown(first.cert.der(), at).await);
        write(folder.path(), &second);
        let limit = Instant::now() + LOOK_EVERY * 4;
        while !is_shown(second.cert.der(), at).await {
            assert!(Instant::now() < limit, "the new certificate is not shown");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(!is_shown(first.cert.der(), at).await);
        served.abort();
    }
}
