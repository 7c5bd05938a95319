//! `turnctl vantage`: an agent outside of the cluster. It asks the operator what to probe, probes it as
//! a client would, and reports; it needs nothing but a way out.

mod addresses;
mod agent;
mod operator;
mod pause;
mod progress;
#[cfg(test)]
mod tests;

use std::{
    env, fs,
    io::{Write as _, stderr},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use reqwest::Url;
use turn_auth::Secret;
use turn_relay::process::{Signals, raise_descriptor_limit};

use crate::{http, input};
use addresses::{Addresses, Range};
use agent::{Agent, End};
use operator::Operator;

/// Where the token is taken from without a file.
const TOKEN_VARIABLE: &str = "TURNPIKE_VANTAGE_TOKEN";

/// Probe the relays of a TurnServer from here, as the operator orders it, until SIGTERM or SIGINT.
///
/// The token is that of spec.reachability.vantages, and comes from a file or from the environment
/// variable TURNPIKE_VANTAGE_TOKEN. The variables HTTPS_PROXY and NO_PROXY count.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The operator's HTTPS address, such as `https://turn-api.example.org`.
    #[arg(long, value_name = "URL")]
    api: String,
    /// The TurnServer whose relays to probe.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    turnserver: String,
    /// What this vantage is called in the TurnServer's Secret.
    #[arg(long)]
    name: String,
    /// A file with the token, read anew each time. White space at its end is no part of it.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Authorities to believe beside those of the system, in PEM.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Probe addresses in this range only, whatever the operator orders. May be repeated. Absent: all
    /// but loopback, link-local and multicast ones.
    #[arg(long = "addresses", value_name = "CIDR")]
    addresses: Vec<Range>,
    /// One round only. Exit code 0: all that was to be probed is reached; 1: something is not.
    #[arg(long)]
    once: bool,
}

/// Where the token is.
#[derive(Debug, Clone)]
enum Token {
    File(PathBuf),
    Given(Secret),
}

impl Token {
    fn new(file: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(file) = file {
            return Ok(Self::File(file));
        }
        let text = env::var_os(TOKEN_VARIABLE)
            .with_context(|| format!("no token: give --token-file or {TOKEN_VARIABLE}"))?;
        let secret = Secret::from_file(text.as_encoded_bytes()).context(TOKEN_VARIABLE)?;
        Ok(Self::Given(secret))
    }

    /// What it is now.
    fn read(&self) -> anyhow::Result<Secret> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let place = || format!("--token-file {}", path.display());
                let bytes = fs::read(path).with_context(place)?;
                Secret::from_file(&bytes).with_context(place)
            }
        }
    }
}

/// Where the operator is asked.
fn url(arguments: &Arguments) -> anyhow::Result<Url> {
    let mut url = http::safe_url(&arguments.api).context("--api")?;
    let (namespace, server) =
        arguments.turnserver.split_once('/').context("--turnserver: must be namespace/name")?;
    let parts = [namespace, server, &arguments.name];
    ensure!(
        parts.iter().all(|part| !part.is_empty() && !part.contains('/')),
        "--turnserver and --name: must be namespace/name and a name"
    );
    url.set_query(None);
    // An https URL has a path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["v1", "namespaces", namespace, "turnservers", server]);
        path.extend(["vantages", &arguments.name]);
    }
    Ok(url)
}

/// Runs it. Returns once it has ended.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("no signal handler")?;
    // Many probes at once, and each has three sockets.
    raise_descriptor_limit();
    let url = url(&arguments)?;
    let authorities = arguments.ca_file.as_deref().map(input::read).transpose()?;
    let verifier = http::verifier(authorities.as_deref()).context("--ca-file")?;
    let token = Token::new(arguments.token_file)?;
    token.read()?;
    let operator = Operator::new(url, token, verifier, operator::LIMIT)?;
    // Nobody reads what cannot be written.
    let tell = |line: &str| drop(writeln!(stderr(), "{line}"));
    let mut agent = Agent::new(operator, Addresses::new(arguments.addresses), Box::new(tell));
    let end = if arguments.once {
        tokio::select! {
            end = agent.once() => end,
            _ = signals.next() => End::Stopped,
        }
    } else {
        tokio::select! {
            never = agent.run() => match never {},
            _ = signals.next() => End::Stopped,
        }
    };
    Ok(match end {
        End::AllReached | End::Stopped => ExitCode::SUCCESS,
        End::NotReached => ExitCode::FAILURE,
    })
}
