//! The operator's doctor page in Debian's Chromium: a visitor's network, an operator and a relay, and
//! a firewall between them. Keeps pictures of what the visitor sees.

use std::{fs, net::Ipv4Addr, process::Command, time::Duration};

use anyhow::{Context, ensure};
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Path, RawQuery},
    http::{HeaderMap, Request, StatusCode},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use browser::Driver;
use fantoccini::{Client, Locator};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};
use turn_operator::{
    doctor_page,
    reachability::{Leading, agent_routes},
};

use crate::{
    certificate::Certificate,
    doctor::{SERVER, firewall, hosts},
    network::Host,
    relay::{Relay, credentials},
};

/// Longer than the page ever tests.
const OVER_WITHIN: Duration = Duration::from_secs(90);

const LARGEST_PICTURE_BYTES: usize = 32 << 20;

/// The key that the operator takes.
const KEY: &str = "tpk_interop";

/// A relay, and a visitor in another network.
pub(crate) struct Scene {
    pub(crate) server: Host,
    visitor: Host,
    pub(crate) relay: Relay,
}

impl Scene {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let [server, visitor] = hosts()?;
        // A browser looks for the network that leads out.
        visitor.ip(&format!("route add default via {SERVER}"))?;
        let relay = server.run(|| {
            let ports = json!({"from": 61000, "to": 61999});
            Relay::start(&json!({"addresses": [SERVER], "relayPorts": ports}))
        })?;
        Ok(Self { server, visitor, relay })
    }

    pub(crate) fn url(&self, transport: &str) -> String {
        format!("turn:{SERVER}:{}?transport={transport}", self.relay.port)
    }

    pub(crate) fn ice_servers(&self) -> anyhow::Result<Value> {
        let (username, credential) = credentials()?;
        let urls = [self.url("udp"), self.url("tcp")];
        Ok(json!([{"urls": urls, "username": username, "credential": credential}]))
    }

    /// Opens the page in the visitor's browser, beside an API that gives out these servers.
    pub(crate) fn visit(
        &self,
        given: &Value,
        steps: impl AsyncFnOnce(&Visit) -> anyhow::Result<()> + Send,
    ) -> anyhow::Result<()> {
        self.visit_beside(given, &Leading::default(), steps)
    }

    /// The same, where vantages report to the fleets of this leader.
    pub(crate) fn visit_beside(
        &self,
        given: &Value,
        leading: &Leading,
        steps: impl AsyncFnOnce(&Visit) -> anyhow::Result<()> + Send,
    ) -> anyhow::Result<()> {
        self.visitor.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let folder = tempfile::tempdir()?;
                let driver = Driver::start(&folder)?;
                let browser =
                    driver.browser(folder.path(), &Certificate::new()?.fingerprint).await?;
                let origin = serve(given.clone(), leading.clone()).await?;
                let visit = Visit { browser, driver, origin };
                let result = steps(&visit).await;
                visit.browser.close().await?;
                result
            })
        })
    }
}

/// The page as the operator serves it, and the API beside it, on loopback: a secure context.
async fn serve(given: Value, leading: Leading) -> anyhow::Result<String> {
    let ice_servers =
        async move |path: Path<[String; 2]>, RawQuery(query): RawQuery, headers: HeaderMap| {
            let key = headers.get("x-api-key").and_then(|key| key.to_str().ok());
            match (path.0.each_ref().map(String::as_str), key) {
                _ if query.as_deref() != Some("diagnose=1") => Err(StatusCode::BAD_REQUEST),
                (_, key) if key != Some(KEY) => Err(StatusCode::UNAUTHORIZED),
                (["media", "turn"], _) => Ok(Json(given)),
                _ => Err(StatusCode::NOT_FOUND),
            }
        };
    let path = "/v1/namespaces/{namespace}/turnservers/{name}/iceservers";
    let page: Router = doctor_page::routes().merge(agent_routes(leading));
    let router = page.route(path, get(ice_servers));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let origin = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, router).await });
    Ok(origin)
}

/// A browser and the page in it.
pub(crate) struct Visit {
    pub(crate) browser: Client,
    driver: Driver,
    origin: String,
}

impl Visit {
    pub(crate) async fn open(&self, fragment: &str) -> anyhow::Result<()> {
        self.browser.goto("about:blank").await?;
        self.browser.goto(&format!("{}/doctor{fragment}", self.origin)).await?;
        self.is_in("idle").await
    }

    /// Types into a field what then stands in it.
    pub(crate) async fn fill(&self, id: &str, text: &str) -> anyhow::Result<()> {
        let field = self.browser.find(Locator::Id(id)).await?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    pub(crate) async fn click(&self, id: &str) -> anyhow::Result<()> {
        Ok(self.browser.find(Locator::Id(id)).await?.click().await?)
    }

    /// Pastes servers, tests them, and waits for the end: what the page reports.
    pub(crate) async fn test_pasted(&self, ice_servers: &Value) -> anyhow::Result<Value> {
        self.open("").await?;
        self.click("source-pasted").await?;
        self.fill("text", &ice_servers.to_string()).await?;
        self.click("start").await?;
        self.report().await
    }

    pub(crate) async fn report(&self) -> anyhow::Result<Value> {
        self.is_in("done").await?;
        let problems = self.text("problems").await?;
        ensure!(problems.is_empty(), "the page says: {problems}");
        let script = "return document.getElementById('report').textContent";
        let report = self.browser.execute(script, vec![]).await?;
        Ok(serde_json::from_str(report.as_str().context("no report")?)?)
    }

    /// What the page says of input that makes no sense.
    async fn refusal(&self) -> anyhow::Result<String> {
        self.click("start").await?;
        self.is_in("done").await?;
        self.text("problems").await
    }

    pub(crate) async fn text(&self, id: &str) -> anyhow::Result<String> {
        Ok(self.browser.find(Locator::Id(id)).await?.text().await?)
    }

    pub(crate) async fn is_in(&self, state: &str) -> anyhow::Result<()> {
        let selector = format!("html[data-state={state}]");
        let found = self.browser.wait().at_most(OVER_WITHIN);
        let found = found.for_element(Locator::Css(&selector)).await;
        found.map(|_| ()).with_context(|| format!("never {state}"))
    }

    /// Keeps pictures of the page on a phone and on a desk, by day and by night.
    pub(crate) async fn picture(&self, name: &str) -> anyhow::Result<()> {
        let folder = cluster::images::target_folder().join("interop");
        fs::create_dir_all(&folder)?;
        for (device, width, height, scheme) in [
            ("phone", 390, 844, "light"),
            ("desktop", 1280, 900, "light"),
            ("night", 390, 844, "dark"),
        ] {
            let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 500});
            self.devtools("Emulation.setDeviceMetricsOverride", &metrics).await?;
            let feature = json!({"name": "prefers-color-scheme", "value": scheme});
            self.devtools("Emulation.setEmulatedMedia", &json!({"features": [feature]})).await?;
            self.is_no_wider(device).await?;
            let whole = json!({"format": "png", "captureBeyondViewport": true});
            let picture = self.devtools("Page.captureScreenshot", &whole).await?;
            let picture = BASE64.decode(picture["data"].as_str().context("no picture")?)?;
            fs::write(folder.join(format!("doctor_page-{name}-{device}.png")), picture)?;
        }
        Ok(())
    }

    /// Nobody has to scroll sideways. Waits for the drawing first.
    async fn is_no_wider(&self, device: &str) -> anyhow::Result<()> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let script = "const page = document.documentElement; \
                      return [page.scrollWidth, page.clientWidth]";
        let widths = self.browser.execute(script, vec![]).await?;
        ensure!(widths[0] == widths[1], "wider than a {device}: {widths}");
        Ok(())
    }

    /// A command that WebDriver has no word for.
    pub(crate) async fn devtools(&self, method: &str, parameters: &Value) -> anyhow::Result<Value> {
        let session = self.browser.session_id().await?.context("no session")?;
        let port = self.driver.port;
        let url = format!("http://127.0.0.1:{port}/session/{session}/goog/cdp/execute");
        let body = Body::from(json!({"cmd": method, "params": parameters}).to_string());
        let request = Request::post(url).header("content-type", "application/json").body(body)?;
        let client: HttpClient<HttpConnector, Body> =
            HttpClient::builder(TokioExecutor::new()).build_http();
        let answer = timeout(OVER_WITHIN, client.request(request)).await??;
        let answer = to_bytes(Body::new(answer.into_body()), LARGEST_PICTURE_BYTES).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        ensure!(answer["value"]["error"].is_null(), "{method}: {answer}");
        Ok(answer["value"].clone())
    }
}

/// The reason of each URL, in their order.
fn reasons(report: &Value) -> Vec<&str> {
    let each = report["each"].as_array().into_iter().flatten();
    each.map(|one| one["verdict"]["reason"].as_str().unwrap_or("none")).collect()
}

pub(crate) fn headline(report: &Value) -> &str {
    report["headline"].as_str().unwrap_or_default()
}

/// With the network whole, each URL gives a relay candidate and data goes through: with what the
/// operator gives out, and with what somebody pastes.
pub(crate) fn finds_a_network_that_is_whole() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let ice_servers = scene.ice_servers()?;
    let left_out = json!({
        "relay": "turn-1",
        "url": "turns:turn.example.org:5349?transport=tcp",
        "reason": "CertificateInvalid",
        "message": "The certificate ended yesterday.",
    });
    let given = json!({"iceServers": ice_servers, "ttlSeconds": 600, "leftOut": [left_out]});
    scene.visit(&given, async |visit| {
        visit.open("#namespace=media&name=turn").await?;
        visit.fill("key", KEY).await?;
        visit.click("start").await?;
        let report = visit.report().await?;
        visit.picture("whole").await?;
        ensure!(visit.text("left-out").await?.contains("ended yesterday"), "{report:#}");
        is_whole(&report)?;
        let report = visit.test_pasted(&json!({"iceServers": ice_servers})).await?;
        is_whole(&report)?;
        let (_, credential) = credentials()?;
        ensure!(!report.to_string().contains(&credential), "it tells the credential");
        Ok(())
    })
}

fn is_whole(report: &Value) -> anyhow::Result<()> {
    ensure!(reasons(report) == ["Works", "Works"], "{report:#}");
    ensure!(headline(report) == "Calls work from here", "{report:#}");
    for (one, transport) in report["each"].as_array().context("none")?.iter().zip(["udp", "tcp"]) {
        let candidate = &one["candidates"][0];
        ensure!(candidate["type"] == "relay", "{report:#}");
        ensure!(candidate["relayProtocol"] == transport, "{report:#}");
        ensure!(one["end"] == "complete", "{report:#}");
    }
    let carried = &report["loop"];
    ensure!(carried["state"] == "works", "{report:#}");
    ensure!(carried["pings"]["received"] == carried["pings"]["sent"], "{report:#}");
    ensure!(carried["block"]["bytes"] == 512 * 1024, "{report:#}");
    for end in ["local", "remote"] {
        ensure!(carried["pair"][end]["candidateType"] == "relay", "{report:#}");
    }
    Ok(())
}

/// What a firewall drops is told in words, while the rest works.
pub(crate) fn says_what_a_firewall_drops() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let ice_servers = scene.ice_servers()?;
    let port = scene.relay.port;
    let places = [
        (
            format!("udp dport {port} drop"),
            ["UDPBlocked", "Works"],
            "UDP to",
            "about 40 s in Chrome",
        ),
        (format!("tcp dport {port} drop"), ["Works", "TCPBlocked"], "TCP to", "minutes in Chrome"),
    ];
    scene.visit(&json!({}), async |visit| {
        for (rule, expected, wire, wait) in places {
            firewall(&scene.server, &rule)?;
            let report = visit.test_pasted(&ice_servers).await?;
            visit.picture(&format!("{}-blocked", &rule[..3])).await?;
            ensure!(reasons(&report) == expected, "{rule}: {report:#}");
            ensure!(headline(&report).starts_with("Calls work from here, but"), "{report:#}");
            ensure!(report["loop"]["state"] == "works", "{report:#}");
            let says = visit.text("points").await?;
            let place = format!("{wire} {SERVER} port {port} is not reached from this network");
            ensure!(says.contains(&place) && says.contains(wait), "{says}");
        }
        Ok(())
    })
}

/// A relay that answers, and whose relay ports are closed: candidates come, calls do not.
pub(crate) fn finds_closed_relay_ports() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let ice_servers = scene.ice_servers()?;
    scene.server.run(|| {
        // From one relayed address to another, both on this host.
        let rules = "flush ruleset; table inet incident { chain input { type filter hook input \
                     priority 0; policy accept; udp dport 61000-61999 drop; }; }";
        let status = Command::new("nft").arg(rules).status()?;
        ensure!(status.success(), "nft {rules}");
        Ok(())
    })?;
    scene.visit(&json!({}), async |visit| {
        let report = visit.test_pasted(&ice_servers).await?;
        visit.picture("relay-ports-closed").await?;
        ensure!(reasons(&report) == ["Works", "Works"], "{report:#}");
        ensure!(report["loop"]["verdict"]["reason"] == "RelayRangeBlocked", "{report:#}");
        ensure!(headline(&report).contains("calls through it do not work"), "{report:#}");
        Ok(())
    })
}

/// Wrong credentials, and those that are over, are no matter of the network.
pub(crate) fn tells_wrong_credentials() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let with = |username: &str| {
        let urls = [scene.url("udp"), scene.url("tcp")];
        json!({"urls": urls, "username": username, "credential": "guessed"})
    };
    let cases = [
        ("4000000000:alice", "CredentialsRejected", "compare the secret"),
        ("1600000000:alice", "CredentialExpired", "the credential ended on 13 Sept 2020"),
    ];
    let ice_servers = cases.map(|(username, ..)| with(username));
    scene.visit(&json!({}), async |visit| {
        for ((_, reason, says), server) in cases.iter().zip(&ice_servers) {
            let report = visit.test_pasted(server).await?;
            visit.picture(reason).await?;
            ensure!(reasons(&report) == [*reason; 2], "{report:#}");
            ensure!(
                headline(&report) == "Calls through a relay do not work from here",
                "{report:#}"
            );
            let points = visit.text("points").await?.to_lowercase();
            ensure!(points.contains(&says.to_lowercase()), "{points}");
            ensure!(!report.to_string().contains("guessed"), "it tells the credential");
        }
        Ok(())
    })
}

/// Input that makes no sense is refused with its place, and with what would be right.
pub(crate) fn refuses_bad_input() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let pasted = [
        (
            "turn://192.0.2.1:3478",
            "u",
            "c",
            "iceServers[0].urls[0]: “turn://192.0.2.1:3478”: no //",
        ),
        ("turn:192.0.2.1:3478?transport=TCP", "u", "c", "Write ?transport=udp or ?transport=tcp"),
        ("turn:192.0.2.1:99999", "u", "c", "Write a number from 1 to 65535"),
        ("turn:192.0.2.1:53", "u", "c", "a port that browsers do not connect to"),
        ("turn:u:hidden@192.0.2.1", "u", "c", "Give user name and credential in their own fields"),
        ("turn:192.0.2.1", "u", "", "iceServers[0].credential (Credential): missing"),
        ("{\"iceServers\": []}", "", "", "empty"),
        ("{\"iceServers\": [{\"urls\": 7}]}", "", "", "iceServers[0].urls: no URL"),
        ("{'urls': 'turn:a'}", "", "", "no JSON"),
        ("", "", "", "nothing is pasted"),
    ];
    let asked = [
        ("Media!", "turn", KEY, "Namespace: “Media!”: no name"),
        ("media", "", KEY, "TurnServer: missing"),
        ("media", "turn", "", "API key: missing"),
        ("media", "turn", "other", "the operator does not take it for media/turn (401)"),
        ("media", "other", KEY, "the operator knows none of this name (404)"),
        ("media", "turn", KEY, "the operator gives out no relay at the moment"),
    ];
    let nothing = json!({"iceServers": [], "ttlSeconds": 600, "leftOut": []});
    scene.visit(&nothing, async |visit| {
        visit.open("").await?;
        for (namespace, name, key, expected) in asked {
            for (field, text) in [("namespace", namespace), ("name", name), ("key", key)] {
                visit.fill(field, text).await?;
            }
            let said = timeout(OVER_WITHIN, visit.refusal()).await??;
            ensure!(said.contains(expected), "{namespace}/{name}: {said}");
        }
        visit.open("").await?;
        visit.click("source-pasted").await?;
        for (text, username, credential, expected) in pasted {
            for (field, text) in
                [("text", text), ("username", username), ("credential", credential)]
            {
                visit.fill(field, text).await?;
            }
            let said = timeout(OVER_WITHIN, visit.refusal()).await??;
            ensure!(said.contains(expected) && !said.contains("hidden"), "{text}: {said}");
            if text.starts_with("turn://") {
                visit.picture("bad-input").await?;
            }
        }
        Ok(())
    })
}
