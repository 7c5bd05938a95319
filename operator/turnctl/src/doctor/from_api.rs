//! iceServers from where clients get them: an HTTPS API, such as the operator's.

use std::{env, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use reqwest::{
    Client, StatusCode, Url,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use rustls::client::danger::ServerCertVerifier;
use turn_auth::Secret;

use super::{
    Arguments,
    ice_servers::{self, IceServer},
    not_empty,
};
use crate::{http, input};

/// The longest answer, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;
/// Where an API key stands in a request, and where without a file it comes from.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");
const KEY_VARIABLE: &str = "TURNPIKE_API_KEY";
const TOKEN_VARIABLE: &str = "TURNPIKE_API_TOKEN";

/// An API, and as whom it is asked.
pub(super) struct IceApi {
    url: Url,
    client: Client,
    /// A header that says who asks.
    proof: Option<(HeaderName, HeaderValue)>,
}

impl IceApi {
    pub(super) fn new(
        url: &str,
        arguments: &Arguments,
        verifier: &Arc<dyn ServerCertVerifier>,
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let (key, token) = (&arguments.api_key_file, &arguments.api_token_file);
        let proof = match (key, token) {
            (Some(file), _) => Some(as_key(&from_file(file)?)?),
            (None, Some(file)) => Some(as_bearer(&from_file(file)?)?),
            (None, None) => match (from_variable(KEY_VARIABLE)?, from_variable(TOKEN_VARIABLE)?) {
                (Some(key), _) => Some(as_key(&key)?),
                (None, Some(token)) => Some(as_bearer(&token)?),
                (None, None) => None,
            },
        };
        let url = http::safe_url(url).context("--api")?;
        Ok(Self { url, client: http::client(verifier, limit)?, proof })
    }

    /// What a client would be given now.
    ///
    /// # Errors
    /// Which of connection, certificate, key and answer is no good, and what would mend it.
    pub(super) async fn ask(&self) -> anyhow::Result<Vec<IceServer>> {
        self.answer().await.with_context(|| self.shown())
    }

    async fn answer(&self) -> anyhow::Result<Vec<IceServer>> {
        let mut request = self.client.get(self.url.clone());
        if let Some((name, value)) = &self.proof {
            request = request.header(name, value);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => bail!("{}", hinted(http::line(error))),
        };
        let status = response.status();
        let body = http::body(response, LONGEST_ANSWER).await?;
        if status != StatusCode::OK {
            bail!("{status}: {}{}", http::message(&body), self.hint(status));
        }
        let text = String::from_utf8(body).context("its answer is not UTF-8")?;
        let servers = ice_servers::read(&text).context("its answer")?;
        not_empty(servers).context("its answer")
    }

    /// What to change, where the status says enough.
    fn hint(&self, status: StatusCode) -> &'static str {
        let asks = self.proof.as_ref().map(|(name, _)| *name == KEY_HEADER);
        match (status, asks) {
            (StatusCode::UNAUTHORIZED, Some(true)) => "; is this the API key of this TurnServer?",
            (StatusCode::UNAUTHORIZED, Some(false)) => {
                "; is the token over, or of another cluster?"
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => {
                "; give --api-key-file or --api-token-file"
            }
            (status, _) if status.is_redirection() => "; give the URL that it leads to",
            _ => "",
        }
    }

    /// Without the query, which may hold what is nobody's business.
    fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.to_string()
    }
}

/// With what would mend a certificate that is not believed.
fn hinted(says: String) -> String {
    if says.contains("UnknownIssuer") {
        format!("{says}; give the authority with --ca-file")
    } else {
        says
    }
}

fn from_file(path: &Path) -> anyhow::Result<Secret> {
    Secret::from_file(&input::read(path)?).with_context(|| path.display().to_string())
}

fn from_variable(name: &str) -> anyhow::Result<Option<Secret>> {
    let read = |value: std::ffi::OsString| Secret::from_file(value.as_encoded_bytes());
    env::var_os(name).map(read).transpose().with_context(|| name.to_owned())
}

fn as_key(key: &Secret) -> anyhow::Result<(HeaderName, HeaderValue)> {
    header(KEY_HEADER, key.expose())
}

fn as_bearer(token: &Secret) -> anyhow::Result<(HeaderName, HeaderValue)> {
    header(AUTHORIZATION, &[b"Bearer ", token.expose()].concat())
}

fn header(name: HeaderName, value: &[u8]) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_bytes(value);
    let mut value = value.context("the key or token holds bytes that no HTTP header can")?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, net::SocketAddr};

    use axum::{Router, http::HeaderMap, routing::get};
    use rcgen::{CertificateParams, KeyPair};
    use rustls::{
        ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const GOOD: &str = r#"{"iceServers": [{"urls": ["turn:203.0.113.7"], "username": "u",
        "credential": "c"}], "ttlSeconds": 60}"#;

    fn api(url: &str, proof: Option<(HeaderName, HeaderValue)>, ca: Option<&str>) -> IceApi {
        let verifier = http::verifier(ca.map(str::as_bytes)).expect("certificates");
        let client = http::client(&verifier, Duration::from_secs(10)).expect("a client");
        IceApi { url: http::safe_url(url).expect("a URL"), client, proof }
    }

    async fn answer(headers: HeaderMap) -> (axum::http::StatusCode, &'static str) {
        let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        match (of("x-api-key"), of("authorization")) {
            (Some("north"), None) | (None, Some("Bearer token")) => {
                (axum::http::StatusCode::OK, GOOD)
            }
            _ => (
                axum::http::StatusCode::UNAUTHORIZED,
                r#"{"error": {"message": "unknown API key or token"}}"#,
            ),
        }
    }

    async fn serve() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new()
            .route("/iceservers", get(answer))
            .route("/page", get(|| async { "<html>" }))
            .route("/empty", get(|| async { r#"{"iceServers": []}"# }))
            .route("/shape", get(|| async { r#"{"iceServers": {}}"# }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn secret(text: &str) -> Secret {
        Secret::from_file(text.as_bytes()).expect("a secret")
    }

    async fn says(api: &IceApi) -> String {
        api.ask().await.err().map(|error| format!("{error:#}")).expect("an error")
    }

    #[tokio::test]
    async fn a_key_or_a_token_gives_what_clients_are_given() {
        let address = serve().await;
        let url = format!("http://{address}/iceservers");
        for proof in [as_key(&secret("north")), as_bearer(&secret("token"))] {
            let servers = api(&url, proof.ok(), None).ask().await.expect("they are given");
            assert_eq!(servers[0].urls, ["turn:203.0.113.7"]);
        }
        let wrong = says(&api(&url, as_key(&secret("south")).ok(), None)).await;
        let expected = format!(
            "{url}: 401 Unauthorized: unknown API key or token; is this the API key of this \
             TurnServer?"
        );
        assert_eq!(wrong, expected);
        let without = says(&api(&format!("{url}?user=alice"), None, None)).await;
        assert!(without.ends_with("give --api-key-file or --api-token-file"), "{without}");
        assert!(!without.contains("alice"), "{without}");
    }

    #[tokio::test]
    async fn what_is_wrong_with_an_answer_is_named() {
        let address = serve().await;
        for (path, expected) in [
            ("page", "its answer: no JSON"),
            ("empty", "a client would have no relay at all"),
            ("shape", "its answer: iceServers: an object: must be a list"),
            ("gone", "404 Not Found"),
        ] {
            let says = says(&api(&format!("http://{address}/{path}"), None, None)).await;
            assert!(says.contains(expected), "{says}");
        }
    }

    #[tokio::test]
    async fn a_certificate_that_is_not_believed_is_named_and_an_authority_believed() {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .expect("they belong together");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback");
        let port = listener.local_addr().expect("it is bound").port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _request = stream.read(&mut [0; 4_096]).await;
                let len = GOOD.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{GOOD}");
                let _gone = stream.write_all(head.as_bytes()).await;
            }
        });
        let url = format!("https://localhost:{port}/iceservers");
        let says = says(&api(&url, None, None)).await;
        assert!(says.contains("invalid peer certificate"), "{says}");
        assert!(says.ends_with("give the authority with --ca-file"), "{says}");
        let servers = api(&url, None, Some(&certificate.pem())).ask().await;
        assert_eq!(servers.expect("it is believed").len(), 1);
    }
}
