//! `turn-relay`: a STUN and TURN relay.

use std::{
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use relay_config::RawConfig;
use turn_relay::{
    log::Log,
    process::{Process, Signals},
    reload::{self, Watched},
};

/// A STUN and TURN relay.
///
/// Serves until SIGTERM or SIGINT, then serves running allocations until they end or the drain
/// time-out is over; a second signal ends it at once. Exit code 2: the configuration is wrong, and
/// nothing was opened.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The configuration file. Its changes are taken while the relay runs
    #[arg(long, short, env = "TURN_RELAY_CONFIG")]
    config: Option<PathBuf>,
    /// A local address to listen on and to relay from, instead of the configuration's; may be given
    /// several times, or as a list with commas
    #[arg(long = "address", env = "TURN_RELAY_ADDRESSES", value_delimiter = ',')]
    addresses: Vec<IpAddr>,
    /// Check the configuration file and end
    #[arg(long)]
    check: bool,
    /// Print the default configuration and end
    #[arg(long, exclusive = true)]
    print_default_config: bool,
}

/// Where Kubernetes looks for the last words of a container.
const TERMINATION_LOG: &str = "/dev/termination-log";

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &anyhow::Error::new(error).context("no runtime")),
    };
    runtime.block_on(async {
        // Before all else: in a container this is process 1, and the kernel throws away a signal
        // that such a process has no handler for. A SIGTERM in the first moment would be lost.
        match Signals::new().context("no signal handler") {
            Ok(signals) => run(signals).await,
            Err(error) => fail(1, &error),
        }
    })
}

async fn run(mut signals: Signals) -> ExitCode {
    let cli = Cli::parse();
    if cli.print_default_config {
        return print_default_config();
    }
    let log = Log::start();
    let Some(path) = cli.config else {
        return fail(2, &anyhow::anyhow!("--config FILE is needed"));
    };
    let config = match reload::read(&path) {
        Ok(config) => config,
        Err(error) => {
            let error = anyhow::Error::new(error).context(format!("configuration {path:?}"));
            return fail(2, &error);
        }
    };
    if cli.check {
        return ExitCode::SUCCESS;
    }
    log.set(config.log_level);
    match Process::start(config, &cli.addresses, Some(Watched { path, log })).await {
        Ok(process) => process.run(&mut signals).await,
        Err(error) => return fail(1, &error.into()),
    }
    ExitCode::SUCCESS
}

fn print_default_config() -> ExitCode {
    let printed = RawConfig::default()
        .to_yaml()
        .map_err(io::Error::other)
        .and_then(|text| io::stdout().write_all(text.as_bytes()));
    printed.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// Ends with an error, which is the last line of the log and, in a pod, its termination message.
fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    tracing::error!("{error:#}");
    if Path::new(TERMINATION_LOG).exists() {
        // The log has it already.
        let _logged = std::fs::write(TERMINATION_LOG, format!("{error:#}"));
    }
    ExitCode::from(code)
}
