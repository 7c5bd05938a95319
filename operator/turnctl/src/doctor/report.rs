//! What is printed.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use turn_probe::{Stage, Timing};

use super::{
    findings::{Check, Findings, Outcome, Ports},
    gathering::{self, Gathering},
    verdict::{self, Advice, Reason, Verdict},
};

/// The stages in the table: a heading, and which of them count for it.
const COLUMNS: [(&str, &[Stage]); 9] = [
    ("CONNECT", &[Stage::Connect]),
    ("BINDING", &[Stage::Binding]),
    ("ALLOCATE", &[Stage::Allocate]),
    ("PERMIT", &[Stage::Permission]),
    ("ECHO", &[Stage::Echo]),
    ("CHANNEL", &[Stage::ChannelBind, Stage::ChannelEcho]),
    ("1200 B", &[Stage::LargeEcho]),
    ("REFRESH", &[Stage::Refresh]),
    ("PORTS", &[Stage::PeerPermission, Stage::PeerEcho]),
];

/// All that was found.
pub(super) struct Diagnosis {
    checks: Vec<Check>,
    relay_ports: BTreeMap<IpAddr, Ports>,
    verdicts: Vec<Option<Verdict>>,
    advice: Vec<Advice>,
    gathering: Vec<Gathering>,
}

/// A row of the JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    url: &'a str,
    /// Absent where the URL or its name was no good.
    address: Option<String>,
    transport: Option<String>,
    result: &'static str,
    /// The stages that were passed, and how long each took.
    stages: Vec<Passed>,
    /// Two of this machine's addresses, as the server sees them.
    mapped: Vec<String>,
    relayed: Vec<String>,
    failed_stage: Option<String>,
    #[serde(flatten)]
    verdict: Option<&'a Verdict>,
}

#[derive(Serialize)]
struct Passed {
    stage: String,
    milliseconds: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    well: bool,
    checks: Vec<Row<'a>>,
    /// By the address that relays.
    relay_ports: &'a BTreeMap<IpAddr, Ports>,
    advice: &'a [Advice],
    gathering: &'a [Gathering],
}

impl Diagnosis {
    pub(super) fn new(findings: Findings) -> Self {
        let now = Timestamp::now();
        let checks = &findings.checks;
        let verdicts = checks.iter().map(|check| verdict::of(check, &findings, now)).collect();
        let (advice, gathering) = (verdict::advice(checks, now), gathering::of(checks));
        let Findings { checks, relay_ports } = findings;
        Self { checks, relay_ports, verdicts, advice, gathering }
    }

    /// Whether something works, and nothing is wrong.
    pub(super) fn is_well(&self) -> bool {
        self.verdicts.iter().all(Option::is_none)
            && self.checks.iter().any(|check| matches!(check.outcome, Outcome::Works(_)))
    }

    fn rows(&self) -> impl Iterator<Item = (&Check, Option<&Verdict>)> {
        self.checks.iter().zip(self.verdicts.iter().map(Option::as_ref))
    }

    pub(super) fn json(&self) -> anyhow::Result<String> {
        let checks = self.rows().map(|(check, verdict)| row(check, verdict)).collect();
        let (advice, gathering) = (&self.advice[..], &self.gathering[..]);
        let (well, relay_ports) = (self.is_well(), &self.relay_ports);
        Ok(serde_json::to_string(&Json { well, checks, relay_ports, advice, gathering })?)
    }

    /// A table to look at, and what to change.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let urls = self.checks.iter().map(|check| check.url.chars().count());
        let width = urls.max().unwrap_or_default().max(3);
        let addresses = self.checks.iter().map(|check| address(check).len());
        let addresses = addresses.max().unwrap_or_default().max(7);
        let _in_memory = write!(text, "  {:width$}  {:addresses$}", "URL", "ADDRESS");
        for (heading, _) in COLUMNS {
            let _in_memory = write!(text, " {heading:>8}");
        }
        text.push_str("   RESULT (times in ms)\n");
        for (check, verdict) in self.rows() {
            self.line(&mut text, check, verdict, (width, addresses));
        }
        self.findings(&mut text);
        text
    }

    fn line(
        &self,
        text: &mut String,
        check: &Check,
        verdict: Option<&Verdict>,
        (width, addresses): (usize, usize),
    ) {
        let (mark, result) = match (&check.outcome, verdict) {
            (_, Some(verdict)) => ('✗', label(verdict.reason)),
            (Outcome::NoRoute, None) => ('-', "not tried: no such network here".to_owned()),
            (Outcome::Works(report), None) => match report.relayed {
                Some([relayed, _]) => ('✓', format!("relays from {}", relayed.ip())),
                None => ('✓', format!("sees {}", report.mapped[0])),
            },
            (_, None) => ('-', "relay ports not tried: UDP does not leave here".to_owned()),
        };
        let _in_memory = write!(text, "{mark} {:width$}  {:addresses$}", check.url, address(check));
        let (passed, failed) = stages(check);
        for (_, of) in COLUMNS {
            let times = passed.iter().filter(|timing| of.contains(&timing.stage));
            let times: Vec<_> = times.map(|timing| timing.duration).collect();
            let cell = if failed.is_some_and(|stage| of.contains(&stage)) {
                "✗".to_owned()
            } else if times.is_empty() {
                String::new()
            } else {
                millis(times.into_iter().sum::<Duration>())
            };
            let _in_memory = write!(text, " {cell:>8}");
        }
        let _in_memory = writeln!(text, "   {result}");
    }

    fn findings(&self, text: &mut String) {
        for (check, verdict) in self.rows() {
            let Some(verdict) = verdict else { continue };
            let _in_memory = writeln!(
                text,
                "\n✗ {} {}: {}\n    seen:   {}\n    change: {}",
                check.url,
                address(check),
                label(verdict.reason),
                verdict.observation,
                verdict.remedy
            );
        }
        for Advice { url, observation, remedy } in &self.advice {
            let _in_memory =
                writeln!(text, "\n! {url}\n    seen:   {observation}\n    better: {remedy}");
        }
        let times = self.gathering.iter().map(|Gathering { browser, seconds }| match seconds {
            Some(seconds) => format!("{browser} {seconds:.1} s"),
            None => format!("{browser} no end within minutes"),
        });
        let times: Vec<_> = times.collect();
        let _in_memory = writeln!(text, "\nGathering takes, until complete: {}", times.join(", "));
    }

    /// What is otherwise than it was.
    pub(super) fn changes(&self, last: &Self, now: Timestamp) -> String {
        let mut text = String::new();
        let now = now.round(jiff::Unit::Second).unwrap_or(now);
        let before: Vec<_> = last.rows().collect();
        for (check, verdict) in self.rows() {
            let same = |(earlier, _): &&(&Check, _)| {
                earlier.url == check.url && earlier.address == check.address
            };
            let was = before.iter().find(same).map(|(_, verdict)| verdict.map(|of| of.reason));
            let is = verdict.map(|verdict| verdict.reason);
            if was != Some(is) {
                let name = |reason: Option<Reason>| reason.map_or("works".to_owned(), label);
                let was = was.map_or("new".to_owned(), name);
                let (url, address) = (&check.url, address(check));
                let _in_memory = writeln!(text, "{now} {url} {address}: {was} → {}", name(is));
            }
        }
        text
    }
}

fn label(reason: Reason) -> String {
    // A unit variant is a string in JSON.
    serde_json::to_value(reason)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn address(check: &Check) -> String {
    check.address.map(|address| address.to_string()).unwrap_or_default()
}

/// The stages that were passed, and the one that was not.
fn stages(check: &Check) -> (&[Timing], Option<Stage>) {
    match &check.outcome {
        Outcome::Works(report) => (&report.stages, None),
        Outcome::Failed(failure) => (&failure.before, Some(failure.stage)),
        Outcome::Unusable(_) | Outcome::Unresolved(_) | Outcome::NoRoute => (&[], None),
    }
}

fn row<'a>(check: &'a Check, verdict: Option<&'a Verdict>) -> Row<'a> {
    let (passed, failed) = stages(check);
    let report = match &check.outcome {
        Outcome::Works(report) => Some(report),
        Outcome::Failed(_) | Outcome::Unusable(_) | Outcome::Unresolved(_) | Outcome::NoRoute => {
            None
        }
    };
    let as_passed = |timing: &Timing| Passed {
        stage: timing.stage.to_string(),
        milliseconds: (timing.duration.as_secs_f64() * 1e6).round() / 1e3,
    };
    Row {
        url: &check.url,
        address: check.address.map(|address| address.to_string()),
        transport: check.parsed.as_ref().map(|url| url.transport.to_string()),
        result: match (&check.outcome, verdict) {
            (Outcome::Works(_), _) => "works",
            (Outcome::NoRoute, _) => "not tried",
            (_, _) => "failed",
        },
        stages: passed.iter().map(as_passed).collect(),
        mapped: report.iter().flat_map(|report| report.mapped).map(|ip| ip.to_string()).collect(),
        relayed: report
            .iter()
            .flat_map(|report| report.relayed.into_iter().flatten())
            .map(|relayed| relayed.to_string())
            .collect(),
        failed_stage: failed.map(|stage| stage.to_string()),
        verdict,
    }
}

/// A duration as people write it.
fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    if millis < 10.0 { format!("{millis:.1}") } else { format!("{millis:.0}") }
}
