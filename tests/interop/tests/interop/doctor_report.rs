//! What the doctor page does with its result: it is sent to the operator, copied, and kept as a file; and
//! a test that somebody stops.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use fantoccini::Locator;
use serde_json::{Value, json};
use turn_auth::Secret;
use turn_operator::{
    metrics::Metrics,
    reachability::{Facts, Leading, Reachability},
};
use turn_probe::{
    Transport,
    plan::{Listener, PortRange, Relay, Vantage, VantageKind},
    survey::Fleet,
};

use crate::{
    doctor::{SERVER, firewall},
    doctor_page::{Scene, Visit, headline},
};

/// Long enough on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// A vantage, and its token.
const PHONE: (&str, &str) = ("phone", "token-of-the-phone");

/// What the operator knows of the relay: what it listens on, and that the phone may report.
fn facts(port: u16) -> anyhow::Result<Facts> {
    let listener = |name: &str, transport| Listener { name: name.into(), transport, port };
    let vantage = Vantage { name: PHONE.0.into(), kind: VantageKind::Outside, node: None };
    let relay = Relay {
        name: "turn-1".into(),
        node: "n".to_owned(),
        region: "eu".into(),
        addresses: vec![SERVER.into()],
    };
    Ok(Facts {
        namespace: "media".to_owned(),
        name: "turn".to_owned(),
        fleet: Fleet {
            relays: vec![relay],
            listeners: vec![listener("udp", Transport::Udp), listener("tcp", Transport::Tcp)],
            vantages: vec![vantage],
            relay_ports: PortRange { from: 61_000, to: 61_999 },
            min_vantages: 1,
            fail_open: true,
            admitted: BTreeSet::new(),
            skewed: BTreeSet::new(),
        },
        secret: Secret::from_file(b"shared")?,
        certificate: None,
        admin: BTreeMap::new(),
        agents: [(PHONE.0.to_owned(), Secret::from_file(PHONE.1.as_bytes())?)].into(),
    })
}

/// Waits until there is something, or the limit is over: what there is then.
async fn soon<T>(
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
    is_it: impl Fn(&T) -> bool,
) -> anyhow::Result<T> {
    let limit = Instant::now() + SOON;
    loop {
        let found = look().await?;
        if is_it(&found) || Instant::now() >= limit {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until an element says something like this, and gives all that it says.
async fn says(visit: &Visit, id: &str, expected: &str) -> anyhow::Result<String> {
    let said = soon(async || visit.text(id).await, |said| said.contains(expected)).await?;
    ensure!(said.contains(expected), "#{id} says {said:?}, and not {expected:?}");
    Ok(said)
}

/// A port that is closed to a visitor is reported to the operator, who tells of it. A replica that is
/// not the leader yet is asked again; a wrong token is told.
pub(crate) fn sends_what_it_has_found() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let (ice_servers, port) = (scene.ice_servers()?, scene.relay.port);
    firewall(&scene.server, &format!("udp dport {port} drop"))?;
    let leading = Leading::default();
    scene.visit_beside(&json!({}), &leading, async |visit| {
        visit.test_pasted(&ice_servers).await?;
        for (field, text) in [("send-namespace", "media"), ("send-name", "turn")] {
            visit.fill(field, text).await?;
        }
        visit.click("send-button").await?;
        says(visit, "send-problems", "Vantage: missing").await?;
        visit.fill("vantage", PHONE.0).await?;
        visit.fill("token", "guessed").await?;
        visit.click("send-button").await?;
        says(visit, "sent", "Sending").await?;
        let reachability = Reachability::new(Metrics::new()?, Arc::new(|_: &str| ()));
        reachability.follow("uid", Some(facts(port)?));
        let _term = leading.begin(reachability.clone());
        says(visit, "send-problems", "takes it for no vantage of this name (401)").await?;
        visit.picture("send-refused").await?;
        visit.fill("token", PHONE.1).await?;
        visit.click("send-button").await?;
        let said = says(visit, "sent", "Taken: 2 of the URLs").await?;
        ensure!(said.contains("probed from everywhere now"), "{said}");
        visit.picture("sent").await?;
        let signs = told(&reachability).await?;
        let url = scene.url("udp");
        ensure!(signs.len() == 1 && signs[0].contains(&url), "{signs:?}");
        visit.click("send-button").await?;
        says(visit, "send-problems", "Wait ten seconds").await?;
        Ok(())
    })
}

/// What the operator tells of it, once it does.
async fn told(reachability: &Reachability) -> anyhow::Result<Vec<String>> {
    let look = async || Ok(reachability.verdict("uid").context("not observed")?.signs);
    let signs = soon(look, |signs| !signs.is_empty()).await?;
    ensure!(!signs.is_empty(), "nothing is told");
    Ok(signs.into_iter().map(|sign| sign.says).collect())
}

/// A test that goes on for long ends when somebody stops it, and what it has found until then can be
/// copied, and kept as a file.
pub(crate) fn stops_and_hands_out_its_result() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let (ice_servers, port) = (scene.ice_servers()?, scene.relay.port);
    firewall(&scene.server, &format!("tcp dport {port} drop"))?;
    let folder = tempfile::tempdir()?;
    scene.visit(&json!({}), async |visit| {
        visit.open("").await?;
        visit.click("source-pasted").await?;
        visit.fill("text", &ice_servers.to_string()).await?;
        let begun = Instant::now();
        visit.click("start").await?;
        let works = Locator::Css("#servers li:first-child [data-tone=good]");
        visit.browser.wait().at_most(SOON).for_element(works).await?;
        visit.click("stop").await?;
        let report = visit.report().await?;
        // Left alone it would have waited for 45 s.
        ensure!(begun.elapsed() < SOON, "stopped after {:?}", begun.elapsed());
        ensure!(report["each"][1]["end"] == "stopped", "{report:#}");
        ensure!(headline(&report).starts_with("Calls work from here"), "{report:#}");
        is_copied(visit, &report).await?;
        is_kept(visit, &report, folder.path()).await
    })
}

async fn is_copied(visit: &Visit, report: &Value) -> anyhow::Result<()> {
    let permissions = json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]});
    visit.devtools("Browser.grantPermissions", &permissions).await?;
    visit.click("copy").await?;
    says(visit, "copied", "Copied.").await?;
    let script = "const [done] = arguments; navigator.clipboard.readText().then(done, done)";
    let copied = visit.browser.execute_async(script, vec![]).await?;
    let copied: Value = serde_json::from_str(copied.as_str().context("no text")?)?;
    ensure!(copied == *report, "copied: {copied:#}");
    Ok(())
}

async fn is_kept(visit: &Visit, report: &Value, folder: &Path) -> anyhow::Result<()> {
    let behaviour = json!({"behavior": "allow", "downloadPath": folder});
    visit.devtools("Browser.setDownloadBehavior", &behaviour).await?;
    visit.click("download").await?;
    let look = async || {
        let files = fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path());
        let mut kept = files.filter(|path| path.extension().is_some_and(|end| end == "json"));
        let text = kept.find_map(|path| fs::read_to_string(path).ok());
        Ok(text.and_then(|text| serde_json::from_str::<Value>(&text).ok()))
    };
    let kept = soon(look, Option::is_some).await?.context("no file")?;
    ensure!(kept == *report, "kept: {kept:#}");
    Ok(())
}
