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
