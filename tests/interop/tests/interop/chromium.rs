//! Debian's Chromium: two peers of one page, which may use relayed candidates only.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use cluster::requirement::program_path;
use fantoccini::{Client, ClientBuilder, wd::Capabilities};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{certificate::Certificate, up::Up};

/// The page, with `carryFile(iceServers, bytes)` and `gatherEach(lists, limitMilliseconds)`.
const PAGE: &str = include_str!("chromium/page.html");

/// The size of the file: thousands of messages, and over in some seconds.
const FILE_BYTES: usize = 4 << 20;

/// How long the page may take before it counts as stuck.
const SCRIPT_MILLISECONDS: u64 = 120_000;

/// Awaits a function of the page, by its name; its result and its error come back as values.
const CALL: &str = "const [name, first, second, done] = arguments; \
                    window[name](first, second).then(done, error => done({error: String(error)}));";

/// A file gets through two relayed candidates unchanged, with the relay reached over `transport`
/// (`udp`, `tcp` or `tls`).
pub(crate) fn carries_a_file(transport: &str) -> anyhow::Result<()> {
    let certificate = Certificate::new()?;
    let up = Up::start_secure(&certificate)?;
    let arguments = [json!("carryFile"), up.ice_servers(transport)?, json!(FILE_BYTES)];
    let carried = call_page(&certificate, arguments)?;
    ensure!(carried["sent"].is_string(), "no digest in {carried}");
    ensure!(carried["sent"] == carried["received"], "another file has arrived: {carried}");
    for pair in carried["pairs"].as_array().context("no pairs")? {
        for end in ["local", "remote"] {
            ensure!(pair[end]["candidateType"] == "relay", "{end} is not relayed: {pair}");
        }
        ensure!(pair["local"]["relayProtocol"] == *transport, "not over {transport}: {pair}");
    }
    Ok(())
}

/// What a browser makes of each list of iceServers: how long it gathers, which candidates it has, and
/// which errors it tells of. `milliseconds` is null where it has not ended within the limit.
pub(crate) fn gathers(lists: &[Value], limit: Duration) -> anyhow::Result<Vec<Value>> {
    let limit = u64::try_from(limit.as_millis())?;
    let gathered =
        call_page(&Certificate::new()?, [json!("gatherEach"), json!(lists), json!(limit)])?;
    gathered.as_array().cloned().with_context(|| format!("no list, but {gathered}"))
}

fn call_page(certificate: &Certificate, call: [Value; 3]) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let page = folder.path().join("page.html");
    std::fs::write(&page, PAGE)?;
    let driver = Driver::start(&folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let browser = driver.browser(folder.path(), certificate).await?;
        // A file is a secure context, in which a page may compute digests.
        let result = run(&browser, &format!("file://{}", page.display()), call).await;
        browser.close().await?;
        result
    })
}

async fn run(browser: &Client, page: &str, call: [Value; 3]) -> anyhow::Result<Value> {
    browser.goto(page).await?;
    let answer = browser.execute_async(CALL, call.to_vec()).await;
    let answer = answer.context("the page does not answer")?;
    ensure!(answer["error"].is_null(), "{}", answer["error"]);
    Ok(answer)
}

/// A chromedriver that runs. It ends with the value, and with it the browser.
struct Driver {
    child: Child,
    port: u16,
}

impl Driver {
    /// Starts it on a free port of loopback, at home in `folder`.
    fn start(folder: &TempDir) -> anyhow::Result<Self> {
        // In a namespace of processes, so that no browser outlives it, whatever happens.
        let mut child = Command::new("unshare")
            .args(["--user", "--map-current-user", "--pid", "--fork", "--kill-child"])
            .args(["--mount-proc", "chromedriver", "--port=0"])
            .env("HOME", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start chromedriver")?;
        let stdout = child.stdout.take().context("no output")?;
        let mut driver = Self { child, port: 0 };
        driver.port = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| port(&line))
            .context("chromedriver names no port")?;
        Ok(driver)
    }

    /// A browser without a window, that talks to nobody but the page's servers.
    async fn browser(&self, home: &Path, trusted: &Certificate) -> anyhow::Result<Client> {
        let profile = format!("--user-data-dir={}", home.join("profile").display());
        let trust = format!("--ignore-certificate-errors-spki-list={}", trusted.fingerprint);
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            // The relay is on loopback, which is not among a browser's networks otherwise.
            "--allow-loopback-in-peer-connection",
            &profile,
            &trust,
        ];
        let mut capabilities = Capabilities::new();
        let binary = program_path("chromium").context("no chromium")?;
        capabilities.insert(
            "goog:chromeOptions".to_owned(),
            json!({ "binary": binary, "args": arguments }),
        );
        capabilities.insert("timeouts".to_owned(), json!({ "script": SCRIPT_MILLISECONDS }));
        let driver = format!("http://127.0.0.1:{}", self.port);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities).connect(&driver).await.context("start Chromium")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ended_meanwhile = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The port of the line that says that the driver has started.
fn port(line: &str) -> Option<u16> {
    line.split_once("started successfully on port ")?.1.trim_end_matches('.').parse().ok()
}
