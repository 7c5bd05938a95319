//! `turnctl`, also as the kubectl plugin `kubectl-turn`: the hand tool for `TurnServer`s.

mod credentials;
mod doctor;
mod http;
mod input;
mod up;
mod validate;
mod vantage;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Runs and checks TurnServers, and mints credentials for their clients.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    /// Say what the API server would say to a manifest, without one.
    Validate(validate::Arguments),
    /// Mint a time-limited credential.
    Credentials(credentials::Arguments),
    Doctor(doctor::Arguments),
    Vantage(vantage::Arguments),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run().await.unwrap_or_else(|error| {
        // Nobody reads what cannot be written.
        let _unread = writeln!(io::stderr(), "turnctl: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("TURNCTL_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    match arguments.command {
        Command::Up(arguments) => up::run(&arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments).await,
        Command::Vantage(arguments) => vantage::run(arguments).await,
        Command::Credentials(arguments) => {
            credentials::run(&arguments).await.map(|()| ExitCode::SUCCESS)
        }
    }
}
