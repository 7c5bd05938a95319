//! Which requirements of the RFCs, and which rules beside them, are covered by which tests: read from `requirements/`, checked
//! against the sources, and printed.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;

/// How many of a hundred MUSTs have a test, at least.
const LEAST_PER_CENT: usize = 95;

/// What one RFC asks of a server; or what is asked by no RFC.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rfc {
    rfc: Option<u16>,
    title: String,
    requirements: Vec<Requirement>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Requirement {
    section: String,
    level: Level,
    /// Its sense, in our own words.
    says: String,
    /// `path/of/a/file.rs::name_of_a_test`, from the root of the project.
    #[serde(default)]
    tests: Vec<String>,
    /// Why no test covers it.
    not_covered: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum Level {
    #[serde(rename = "MUST")]
    Must,
    #[serde(rename = "MUST NOT")]
    MustNot,
    #[serde(rename = "SHOULD")]
    Should,
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
}

impl Level {
    const fn is_must(self) -> bool {
        match self {
            Self::Must | Self::MustNot => true,
            Self::Should | Self::ShouldNot => false,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
        })
    }
}

/// So many of so many.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    covered: usize,
    all: usize,
}

impl Share {
    fn count(&mut self, covered: bool) {
        self.all += 1;
        self.covered += usize::from(covered);
    }

    const fn is_enough(self) -> bool {
        100 * self.covered >= LEAST_PER_CENT * self.all
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.covered, self.all)
    }
}

impl Rfc {
    fn name(&self) -> String {
        self.rfc.map_or_else(|| self.title.clone(), |rfc| format!("RFC {rfc}, {}", self.title))
    }

    /// The MUSTs, and the SHOULDs.
    fn shares(&self) -> (Share, Share) {
        let (mut musts, mut shoulds) = (Share::default(), Share::default());
        for requirement in &self.requirements {
            let share = if requirement.level.is_must() { &mut musts } else { &mut shoulds };
            share.count(!requirement.tests.is_empty());
        }
        (musts, shoulds)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = vec![
        Trial::test("every_requirement_has_its_tests_or_a_reason", || run(check_form)),
        Trial::test("every_test_that_is_named_exists", || run(check_names)),
        Trial::test("of_the_musts_of_each_list_enough_are_covered", || run(check_share)),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(check: fn(&[Rfc]) -> anyhow::Result<()>) -> Result<(), Failed> {
    let checked = read().and_then(|rfcs| check(&rfcs));
    checked.map_err(|error| Failed::from(format!("{error:#}")))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The lists, by number.
fn read() -> anyhow::Result<Vec<Rfc>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements");
    let mut rfcs = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let rfc: Rfc = serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
        rfcs.push(rfc);
    }
    rfcs.sort_by_key(|rfc| rfc.rfc);
    ensure!(!rfcs.is_empty(), "{} is empty", folder.display());
    Ok(rfcs)
}

fn check_form(rfcs: &[Rfc]) -> anyhow::Result<()> {
    for rfc in rfcs {
        for Requirement { section, says, tests, not_covered, .. } in &rfc.requirements {
            ensure!(
                tests.is_empty() == not_covered.is_some(),
                "{}, section {section}, {says:?}: name tests, or say why there is none",
                rfc.name()
            );
        }
    }
    Ok(())
}

/// A test is a function of that name, or a trial that is called so.
fn check_names(rfcs: &[Rfc]) -> anyhow::Result<()> {
    let mut sources = BTreeMap::new();
    let mut missing = String::new();
    let requirements = rfcs.iter().flat_map(|rfc| &rfc.requirements);
    for test in requirements.flat_map(|requirement| &requirement.tests) {
        let (path, name) = test.split_once("::").with_context(|| format!("{test}: no ::"))?;
        let source = match sources.get(path) {
            Some(source) => source,
            None => {
                let text =
                    fs::read_to_string(root().join(path)).with_context(|| path.to_owned())?;
                sources.entry(path).or_insert(text)
            }
        };
        if !source.contains(&format!("fn {name}(")) && !is_trial(source, name) {
            writeln!(missing, "{test}")?;
        }
    }
    ensure!(missing.is_empty(), "there are no such tests:\n{missing}");
    Ok(())
}

/// Trials of a kind share the beginning of their names, which stands in a `format!`.
fn is_trial(source: &str, name: &str) -> bool {
    let quoted = |name: &str| source.contains(&format!("\"{name}\""));
    let rest = name.split_once('_').map_or("", |(_, rest)| rest);
    quoted(name) || !rest.is_empty() && quoted(rest)
}

fn check_share(rfcs: &[Rfc]) -> anyhow::Result<()> {
    io::stdout().write_all(report(rfcs)?.as_bytes())?;
    for rfc in rfcs {
        let (musts, _) = rfc.shares();
        ensure!(
            musts.is_enough(),
            "{}: tests cover {musts} MUSTs, which is less than {LEAST_PER_CENT} in a hundred",
            rfc.name()
        );
    }
    Ok(())
}

fn report(rfcs: &[Rfc]) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for rfc in rfcs {
        let (musts, shoulds) = rfc.shares();
        writeln!(text, "{}: MUST {musts}, SHOULD {shoulds} covered", rfc.name())?;
        for Requirement { section, level, says, not_covered, .. } in &rfc.requirements {
            if let Some(reason) = not_covered {
                writeln!(text, "  not covered: {section:<8} {level:<10} {says} ({reason})")?;
            }
        }
    }
    Ok(text)
}
