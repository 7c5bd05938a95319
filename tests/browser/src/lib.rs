//! Debian's Chromium without a window, and a page whose peers may use relayed candidates only:
//! `carryFile(iceServers, bytes)`, `gatherEach(lists, limitMilliseconds)`, `askWithKey(url, key)`.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cluster::requirement::program_path;
use fantoccini::{Client, ClientBuilder, wd::Capabilities};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// The page.
const PAGE: &str = include_str!("page.html");

/// How long the page may take before it counts as stuck.
const SCRIPT_MILLISECONDS: u64 = 120_000;

/// Awaits a function of the page, by its name; its result and its error come back as values.
const CALL: &str = "const [name, first, second, done] = arguments; \
                    window[name](first, second).then(done, error => done({error: String(error)}));";

/// What a function of the page returns for two arguments. `trusted` is the [`fingerprint`] of a
/// relay's certificate.
///
/// # Errors
/// When there is no browser, or with what the page throws.
pub fn call(function: &str, arguments: [Value; 2], trusted: &str) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let page = folder.path().join("page.html");
    std::fs::write(&page, PAGE)?;
    let driver = Driver::start(&folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let browser = driver.browser(folder.path(), trusted).await?;
        // A file is a secure context, in which a page may compute digests.
        let [first, second] = arguments;
        let call = [function.into(), first, second];
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

/// How a browser is told to trust a certificate: by its public key, as SubjectPublicKeyInfo in DER.
#[must_use]
pub fn fingerprint(public_key: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(public_key))
}

/// A chromedriver that runs. It ends with the value, and with it the browser.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    /// Where it listens, on loopback.
    pub port: u16,
}

impl Driver {
    /// Starts it on a free port of loopback, at home in `folder`.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub fn start(folder: &TempDir) -> anyhow::Result<Self> {
        // In a namespace of processes, so that no browser outlives it, whatever happens.
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-current-user"]);
        }
        let complaints = folder.path().join("chromedriver.err");
        let mut child = command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "chromedriver", "--port=0"])
            .env("HOME", folder.path())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&complaints)?)
            .spawn()
            .context("start chromedriver")?;
        let stdout = child.stdout.take().context("no output")?;
        let mut driver = Self { child, port: 0 };
        driver.port = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| port(&line))
            .with_context(|| {
                let said = fs::read_to_string(&complaints).unwrap_or_default();
                format!("chromedriver names no port: {said}")
            })?;
        Ok(driver)
    }

    /// A browser without a window, that talks to nobody but the page's servers, at home in `home`.
    /// `trusted` is the [`fingerprint`] of a certificate.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub async fn browser(&self, home: &Path, trusted: &str) -> anyhow::Result<Client> {
        let profile = format!("--user-data-dir={}", home.join("profile").display());
        let trust = format!("--ignore-certificate-errors-spki-list={trusted}");
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
        // chromedriver wants it by its path.
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
