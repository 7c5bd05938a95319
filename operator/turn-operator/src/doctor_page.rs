//! The doctor page: in a visitor's browser it finds out which relays are reached from there.
//!
//! It talks to its own origin alone, for `iceServers` and to report what it has found, and to the relays
//! that those name. No URL of it holds a secret: an API key or a vantage's token goes in a header, and
//! credentials stay in the browser.

use axum::{
    Router,
    http::{
        HeaderMap, HeaderName, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
            REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse as _, Response},
    routing::get,
};
use sha2::{Digest as _, Sha256};

/// Only files of this origin, and nothing inline: what a relay or an API answers is text, whatever
/// stands in it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    // Kept, but asked about each time: a new operator's page is seen at once.
    (CACHE_CONTROL, "no-cache"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

struct File {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! file {
    ($path:literal, $content_type:expr, $name:literal) => {
        File {
            path: $path,
            content_type: $content_type,
            text: include_str!(concat!("doctor_page/", $name)),
        }
    };
}

static FILES: [File; 14] = [
    file!("/doctor", HTML, "page.html"),
    file!("/doctor/page.css", CSS, "page.css"),
    file!("/doctor/page.js", SCRIPT, "page.js"),
    file!("/doctor/elements.js", SCRIPT, "elements.js"),
    file!("/doctor/gathering.js", SCRIPT, "gathering.js"),
    file!("/doctor/ice_servers.js", SCRIPT, "ice_servers.js"),
    file!("/doctor/ice_url.js", SCRIPT, "ice_url.js"),
    file!("/doctor/loop.js", SCRIPT, "loop.js"),
    file!("/doctor/results.js", SCRIPT, "results.js"),
    file!("/doctor/send.js", SCRIPT, "send.js"),
    file!("/doctor/test.js", SCRIPT, "test.js"),
    file!("/doctor/timeline.js", SCRIPT, "timeline.js"),
    file!("/doctor/verdict.js", SCRIPT, "verdict.js"),
    file!("/doctor/words.js", SCRIPT, "words.js"),
];

/// `GET /doctor`, and its files below it.
pub fn routes() -> Router {
    FILES.iter().fold(Router::new(), |router, file| {
        router.route(file.path, get(async move |headers: HeaderMap| answer(file, &headers)))
    })
}

fn answer(file: &File, request: &HeaderMap) -> Response {
    let tag = tag(file.text);
    let named = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = named.flat_map(|tags| tags.split(',')).any(|known| is_same(known, &tag));
    let headers = (HEADERS, [(ETAG, tag)]);
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(CONTENT_TYPE, file.content_type)], file.text).into_response()
}

/// Whether a client's tag, which a proxy may have made a weak one, is this one.
fn is_same(known: &str, tag: &str) -> bool {
    let known = known.trim();
    known.strip_prefix("W/").unwrap_or(known) == tag
}

/// The first bytes of the text's digest, in quotes.
fn tag(text: &str) -> String {
    let digest = Sha256::digest(text);
    let digits: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::{
        client::legacy::{Client, connect::HttpConnector},
        rt::TokioExecutor,
    };
    use tokio::net::TcpListener;

    use super::*;

    async fn serve() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async { axum::serve(listener, routes()).await });
        address
    }

    async fn fetch(
        server: SocketAddr,
        path: &str,
        known: Option<&str>,
    ) -> (StatusCode, HeaderMap, String) {
        let client: Client<HttpConnector, Empty<&'static [u8]>> =
            Client::builder(TokioExecutor::new()).build_http();
        let mut request = axum::http::Request::get(format!("http://{server}{path}"));
        if let Some(known) = known {
            request = request.header(IF_NONE_MATCH, known);
        }
        let request = request.body(Empty::new()).expect("a request");
        let (head, body) = client.request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (head.status, head.headers, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn each_file_is_served_with_its_type_and_every_protection() {
        let server = serve().await;
        for file in &FILES {
            let (status, headers, text) = fetch(server, file.path, None).await;
            assert_eq!((status, text.as_str()), (StatusCode::OK, file.text), "{}", file.path);
            assert_eq!(headers[CONTENT_TYPE], file.content_type);
            for (name, value) in HEADERS {
                assert_eq!(headers[&name], value, "{}: {name}", file.path);
            }
        }
        assert_eq!(fetch(server, "/doctor/page.rs", None).await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn who_has_a_file_is_not_sent_it_again() {
        let server = serve().await;
        let (_, headers, _) = fetch(server, "/doctor/page.js", None).await;
        let tag = headers[ETAG].to_str().expect("text");
        for known in [tag.to_owned(), format!("W/{tag}"), format!("\"other\", {tag}")] {
            let (status, headers, text) = fetch(server, "/doctor/page.js", Some(&known)).await;
            assert_eq!((status, text.as_str()), (StatusCode::NOT_MODIFIED, ""), "{known}");
            assert_eq!(headers[ETAG], tag);
        }
        let (status, ..) = fetch(server, "/doctor", Some(tag)).await;
        assert_eq!(status, StatusCode::OK, "the tag of another file");
    }

    /// The values of an attribute in HTML that quotes them all.
    fn attribute<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
        let start = format!(" {name}=\"");
        html.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn nothing_stands_inline() {
        for line in FILES[0].text.lines().map(str::trim) {
            let is_bare_script = line.contains("<script") && !line.contains(" src=");
            assert!(!is_bare_script && !line.contains("<style"), "{line}");
            let names = line.split([' ', '<', '>']).filter_map(|word| word.split_once("=\""));
            for (name, _) in names {
                assert!(name != "style" && !name.starts_with("on"), "{line}");
            }
        }
        for file in &FILES {
            for banned in ["eval(", "new Function", "innerHTML", "outerHTML", "insertAdjacentHTML"]
            {
                assert!(!file.text.contains(banned), "{}: {banned}", file.path);
            }
            assert!(!file.text.contains("'style'"), "{}: a style attribute", file.path);
        }
    }

    #[test]
    fn no_file_names_another_origin() {
        // A name of a vocabulary, which nobody fetches.
        let vocabulary = "http://www.w3.org/2000/svg";
        for file in &FILES {
            let text = file.text.replace(vocabulary, "");
            for outside in
                ["http://", "https://", "ws://", "wss://", "'data:", "url(", "@import", "\"//"]
            {
                assert!(!text.contains(outside), "{}: {outside}", file.path);
            }
        }
    }

    #[test]
    fn what_the_page_loads_is_served() {
        let is_served =
            |file: &str| FILES.iter().any(|served| served.path == format!("/doctor/{file}"));
        let html = FILES[0].text;
        let loaded = [attribute(html, "src"), attribute(html, "href")].concat();
        let loaded = loaded.into_iter().filter(|reference| !reference.starts_with('#'));
        let mut count = 0;
        for reference in loaded {
            // Relative, so that a proxy may put a path before it.
            assert!(reference.strip_prefix("doctor/").is_some_and(is_served), "{reference}");
            count += 1;
        }
        assert_eq!(count, 2, "a style sheet and a script");
        for file in &FILES {
            let imports = file.text.split(" from './").skip(1);
            for name in imports.filter_map(|rest| rest.split('\'').next()) {
                assert!(is_served(name), "{} imports {name}", file.path);
            }
        }
        for allowed in ["default-src 'none'", "script-src 'self'", "style-src 'self'"] {
            assert!(POLICY.contains(allowed), "{allowed}");
        }
        assert!(!POLICY.contains("unsafe"));
    }
}
