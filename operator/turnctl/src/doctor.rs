//! `turnctl doctor`: tries iceServers as a browser would, and says what is wrong with them, what to
//! change, and how long browsers would gather because of it.

mod check;
mod findings;
mod from_api;
mod gathering;
mod ice_servers;
mod ice_url;
mod relay_ports;
mod report;
mod verdict;

use std::{
    io::{IsTerminal as _, Write as _, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use jiff::{SignedDuration, Timestamp};

use crate::{credentials, http, input};
use check::{Checker, Trusted};
use from_api::IceApi;
use ice_servers::IceServer;
use report::Diagnosis;

/// Whom quotas and logs know its clients by.
const USER: &str = "turnctl-doctor";

/// The exit code of arguments and input that make no sense.
const BAD_INPUT: u8 = 2;

/// Try iceServers as a browser would: each URL over each address, all at once.
///
/// Exit code 0: all of it works; 1: something does not; 2: the arguments or the input are wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A URL such as turn:turn.example.org:3478?transport=udp, turns:turn.example.org:443 or
    /// stun:turn.example.org:3478. May be repeated.
    #[arg(value_name = "URL", required_unless_present_any = ["ice_servers", "server", "api"])]
    urls: Vec<String>,
    /// JSON with iceServers as an RTCPeerConnection takes them: a file, or `-` for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "urls")]
    ice_servers: Option<PathBuf>,
    /// The TurnServer whose URLs to try, with a credential of its secret, in the cluster of the
    /// kubeconfig.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["urls", "ice_servers"])]
    server: Option<String>,
    /// The namespace of the TurnServer. Absent: that of the kubeconfig.
    #[arg(short, long, requires = "server")]
    namespace: Option<String>,
    /// The URL that clients are given iceServers by, such as that of Turnpike's ICE-servers API:
    /// https://…/v1/namespaces/media/turnservers/edge/iceservers.
    #[arg(long, value_name = "URL", conflicts_with_all = ["urls", "ice_servers", "server"])]
    api: Option<String>,
    /// A file with the API key to ask with (x-api-key). Absent: the environment variable
    /// TURNPIKE_API_KEY, if there is one.
    #[arg(long, value_name = "FILE", requires = "api", conflicts_with = "api_token_file")]
    api_key_file: Option<PathBuf>,
    /// A file with the token to ask with (Bearer). Absent: the environment variable
    /// TURNPIKE_API_TOKEN, if there is one.
    #[arg(long, value_name = "FILE", requires = "api")]
    api_token_file: Option<PathBuf>,
    /// The username for the URLs.
    #[arg(short, long, requires = "urls")]
    username: Option<String>,
    /// A file with the password for the URLs, or `-` for standard input. White space at its end is no
    /// part of it.
    #[arg(short, long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// Authorities to believe beside those of the system, in PEM.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How long one server may take, such as 10s.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    timeout: SignedDuration,
    /// Do it again and again, and tell what changes.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "30s")]
    watch: Option<SignedDuration>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    /// One object; with --watch, one in a line of its own each time.
    Json,
}

/// What was asked for, checked.
struct Request {
    source: Source,
    checker: Checker,
    watch: Option<Duration>,
}

/// Where iceServers come from.
enum Source {
    Given(Vec<IceServer>),
    Cluster,
    Api(Box<IceApi>),
}

/// Tries and prints.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match request(arguments) {
        Ok(request) => diagnose(&request, arguments).await,
        Err(error) => {
            writeln!(stderr(), "turnctl: {error:#}")?;
            Ok(ExitCode::from(BAD_INPUT))
        }
    }
}

fn request(arguments: &Arguments) -> anyhow::Result<Request> {
    let authorities = arguments.ca_file.as_deref().map(input::read).transpose()?;
    let verifier = http::verifier(authorities.as_deref()).context("--ca-file")?;
    let limit = positive("--timeout", arguments.timeout)?;
    let watch = arguments.watch.map(|every| positive("--watch", every)).transpose()?;
    let source = match (&arguments.api, &arguments.server) {
        (Some(url), _) => Source::Api(Box::new(IceApi::new(url, arguments, &verifier, limit)?)),
        (None, Some(_)) => Source::Cluster,
        (None, None) => Source::Given(not_empty(servers(arguments)?)?),
    };
    Ok(Request { source, checker: Checker { limit, trusted: Trusted::new(verifier) }, watch })
}

fn not_empty(servers: Vec<IceServer>) -> anyhow::Result<Vec<IceServer>> {
    ensure!(
        servers.iter().any(|server| !server.urls.is_empty()),
        "iceServers: empty: a client would have no relay at all"
    );
    Ok(servers)
}

fn positive(option: &str, duration: SignedDuration) -> anyhow::Result<Duration> {
    ensure!(duration.is_positive(), "{option}: {duration:#}: must be longer than nothing");
    Ok(duration.unsigned_abs())
}

fn servers(arguments: &Arguments) -> anyhow::Result<Vec<IceServer>> {
    if let Some(path) = &arguments.ice_servers {
        let text = input::read_text(path)?;
        return ice_servers::read(&text).with_context(|| path.display().to_string());
    }
    let credential = arguments.password_file.as_deref().map(input::read_text).transpose()?;
    Ok(vec![IceServer {
        urls: arguments.urls.clone(),
        username: arguments.username.clone(),
        credential: credential.map(|password| password.trim_end().to_owned()),
    }])
}

/// What clients of a TurnServer are given now.
async fn from_cluster(arguments: &Arguments) -> anyhow::Result<Vec<IceServer>> {
    let name = arguments.server.as_deref().unwrap_or_default();
    let server = (name, arguments.namespace.as_deref());
    let (urls, [username, credential]) = credentials::for_user(USER, server).await?;
    ensure!(!urls.is_empty(), "TurnServer {name} has no URLs: none of its relays is ready");
    Ok(vec![IceServer { urls, username: Some(username), credential: Some(credential) }])
}

/// What is tried this time; none where nobody says, and is asked again later.
async fn servers_now(
    request: &Request,
    arguments: &Arguments,
) -> anyhow::Result<Option<Vec<IceServer>>> {
    let servers = match &request.source {
        Source::Given(servers) => return Ok(Some(servers.clone())),
        Source::Cluster => from_cluster(arguments).await,
        Source::Api(api) => api.ask().await,
    };
    match servers {
        Ok(servers) => Ok(Some(servers)),
        Err(error) if request.watch.is_some() => {
            writeln!(stderr(), "turnctl: {error:#}")?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn diagnose(request: &Request, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut last: Option<Diagnosis> = None;
    loop {
        if let Some(servers) = servers_now(request, arguments).await? {
            if last.is_none() && arguments.output == Output::Text && stderr().is_terminal() {
                let count: usize = servers.iter().map(|server| server.urls.len()).sum();
                let limit = request.checker.limit;
                writeln!(stderr(), "trying {count} URLs, {limit:?} each at most …")?;
            }
            let diagnosis = Diagnosis::new(request.checker.check(&servers).await);
            show(&diagnosis, last.as_ref(), arguments.output)?;
            last = Some(diagnosis);
        }
        let Some(every) = request.watch else {
            let is_well = last.is_some_and(|diagnosis| diagnosis.is_well());
            return Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        };
        tokio::time::sleep(every).await;
    }
}

fn show(diagnosis: &Diagnosis, last: Option<&Diagnosis>, output: Output) -> anyhow::Result<()> {
    match (output, last) {
        (Output::Json, _) => writeln!(stdout(), "{}", diagnosis.json()?)?,
        (Output::Text, None) => write!(stdout(), "{}", diagnosis.text())?,
        (Output::Text, Some(last)) => {
            write!(stdout(), "{}", diagnosis.changes(last, Timestamp::now()))?;
        }
    }
    Ok(())
}
