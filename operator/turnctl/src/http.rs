//! HTTPS to our own servers: whom to believe, and how much to read.

use std::{net::IpAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use reqwest::{Client, Response, Url, redirect::Policy};
use rustls::{
    ClientConfig,
    client::danger::ServerCertVerifier,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use rustls_platform_verifier::Verifier;

/// How long a connection may take to stand.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Believes whom the system believes, and more authorities in PEM.
///
/// # Errors
/// When they are no certificates.
pub(crate) fn verifier(more: Option<&[u8]>) -> anyhow::Result<Arc<dyn ServerCertVerifier>> {
    let more = match more {
        None => Vec::new(),
        Some(pem) => authorities(pem).context("no certificates in PEM")?,
    };
    Ok(Arc::new(Verifier::new_with_extra_roots(more, Arc::new(default_provider()))?))
}

fn authorities(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    ensure!(!certificates.is_empty(), "it holds none");
    Ok(certificates)
}

/// A client that takes proxies from the environment, and follows no redirects: what it sends holds a
/// token. Each has connections of its own.
///
/// # Errors
/// When the system has no certificates, or no randomness.
pub(crate) fn client(
    verifier: &Arc<dyn ServerCertVerifier>,
    limit: Duration,
) -> anyhow::Result<Client> {
    let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier))
        .with_no_client_auth();
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .user_agent(concat!("turnctl/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_LIMIT)
        .timeout(limit);
    Ok(client.build()?)
}

/// A URL that a token may be sent to: over TLS, or to this machine.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn safe_url(text: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text).with_context(|| format!("{text}: must be a URL"))?;
    let is_here = match url.host_str().map(|host| host.trim_matches(['[', ']'])) {
        None => false,
        Some("localhost") => true,
        Some(host) => host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
    };
    let is_safe = url.scheme() == "https" || url.scheme() == "http" && is_here;
    ensure!(is_safe, "{text}: must be https, so that nobody reads the token on its way");
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "the URL holds a password: give a token in a file"
    );
    Ok(url)
}

/// The body of a response, if it is not longer than this.
///
/// # Errors
/// When it is, or does not come.
pub(crate) async fn body(mut response: Response, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        ensure!(body.len() + chunk.len() <= most, "the answer is longer than {most} bytes");
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What a server says of an error, to be shown: `{"error": {"message": …}}`, or plain text.
pub(crate) fn message(body: &[u8]) -> String {
    const MOST_CHARACTERS: usize = 300;
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let field = json.as_ref().and_then(|json| json["error"]["message"].as_str());
    let text = field.map_or_else(|| String::from_utf8_lossy(body), Into::into);
    text.trim().chars().filter(|c| !c.is_control()).take(MOST_CHARACTERS).collect()
}

/// An error with its causes in one line, without the URL: that is said elsewhere.
pub(crate) fn line(error: reqwest::Error) -> String {
    format!("{:#}", anyhow::Error::new(error.without_url()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_over_tls_or_nowhere() {
        for good in ["https://turn.example.org", "http://localhost:1", "http://[::1]:1/x"] {
            assert!(safe_url(good).is_ok(), "{good}");
        }
        for bad in ["http://turn.example.org", "ftp://localhost", "turn", "https://a:b@c"] {
            assert!(safe_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_server_says_is_shown_in_one_line() {
        assert_eq!(message(br#"{"error": {"message": "no\nsuch"}}"#), "nosuch");
        assert_eq!(message("plain \u{1b}[2J".as_bytes()), "plain [2J");
        assert_eq!(message(&[b'x'; 9_000]).len(), 300);
    }
}
