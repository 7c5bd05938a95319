//! `aioice` and `aiortc`, in an environment of Python with pinned versions.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use cluster::cache;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::{certificate::Certificate, up::Up};

/// Every package with its version, as `pip freeze` prints them.
const REQUIREMENTS: &str = include_str!("python/requirements.txt");

/// A program that takes `iceServers` from its standard input, and fails when peers do not reach
/// each other through them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program(&'static str);

/// Two ICE agents of `aioice`.
pub(crate) const ICE: Program = Program(include_str!("python/ice.py"));
/// Two peers of `aiortc`.
pub(crate) const RTC: Program = Program(include_str!("python/rtc.py"));

/// Runs the program with a relay that is reached over `transport`: `udp`, `tcp` or `tls`.
pub(crate) fn run(program: Program, transport: &str) -> anyhow::Result<()> {
    let python = environment()?.join("bin/python");
    let certificate = Certificate::new()?;
    let mut file = NamedTempFile::new()?;
    file.write_all(certificate.certificate.as_bytes())?;
    let up = Up::start_secure(&certificate)?;
    let servers = up.ice_servers(transport)?;
    let mut child = Command::new(python)
        .env("SSL_CERT_FILE", file.path())
        .args(["-I", "-c", program.0])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    write_to(child.stdin.take(), &servers)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn write_to(stdin: Option<impl Write>, servers: &Value) -> anyhow::Result<()> {
    let mut stdin = stdin.context("no input")?;
    Ok(stdin.write_all(servers.to_string().as_bytes())?)
}

/// The environment's folder, made once for each list of requirements and each Python.
fn environment() -> anyhow::Result<PathBuf> {
    let version = Command::new("python3").arg("--version").output()?.stdout;
    let wanted = format!("{}{REQUIREMENTS}", String::from_utf8_lossy(&version));
    let name = format!("python-{}", cache::text_key(&wanted));
    cache::entry(&name, install)
}

fn install(folder: &Path) -> anyhow::Result<()> {
    run_quietly(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let requirements = folder.join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS)?;
    // Wheels only: a machine that tests need not have a C compiler.
    run_quietly(
        Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--only-binary", ":all:", "--no-deps", "--requirement"])
            .arg(requirements),
    )
}

fn run_quietly(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} has failed:\n{said}");
    Ok(())
}
