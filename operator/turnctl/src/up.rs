//! `turnctl up`: a `TurnServer` on this machine, without a cluster.
//!
//! The manifest goes through the same validation and the same decisions as in a cluster; at their
//! end stands a relay in this process instead of a pod. It is ready when a datagram was relayed
//! through each listener; a listener that does not relay is an error that says why.

mod manifest;
mod probe;
mod report;
mod resource;

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use relay_config::Config;
use turn_auth::UnixSeconds;
use turn_relay::process::{Process, Signals};

use self::{manifest::Manifest, report::Up};

/// Run one relay of a TurnServer on this machine, without a cluster
///
/// Prints its status and the iceServers that clients need, and serves until SIGINT or SIGTERM; then
/// running allocations are served until they end or the drain time-out is over, and a second signal
/// ends it at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest: one TurnServer, and the Secret that it refers to, if it does; `-` is standard
    /// input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Where the relay listens, and what it advertises
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// How the result is printed: `json` is one line with `ready`, `iceServers` and `status`
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

/// The user of the credential that is printed.
const USER: &str = "turnctl";

/// Runs it. Returns once it has ended.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("no signal handler")?;
    let manifest = Manifest::read(&args.file)?;
    let local = resource::on_this_machine(manifest, args.address)?;
    if args.output == Output::Text {
        for note in &local.notes {
            report::note(note)?;
        }
    }
    let config = Config::try_from(local.config.clone())?;
    let process = Process::start(config, &[args.address], None).await?;
    probe::every_listener(process.relay(), |listener, report| match args.output {
        Output::Text => report::relayed(listener, report),
        Output::Json => Ok(()),
    })
    .await?;
    let expires_at = UnixSeconds(now().as_secs() + u64::from(local.credential_ttl_seconds));
    let credential = process.relay().own_credential(USER, expires_at);
    let status = local.status(args.address);
    let up = Up::new(&status, &credential);
    match args.output {
        Output::Text => up.print_text(process.relay())?,
        Output::Json => up.print_json()?,
    }
    process.run(&mut signals).await;
    Ok(())
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
