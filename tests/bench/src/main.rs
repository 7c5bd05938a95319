//! `bench`: how many datagrams per second a relay carries on one core, beside Debian's coturn.
//!
//! Network namespaces over veth, the server in the middle and alone on its core with the kernel's
//! work for it (see `network`); flows with an allocation each; datagrams both ways at the same time
//! (see `load`). A run is a fresh server and a search for the highest rate at which at most 1 % is
//! lost. Runs alternate between the servers, the first round is thrown away, and what counts is the
//! ratio within a round: the machine is shared and its speed changes, the ratio less so.
//!
//! # What it has found
//!
//! 2026-11-23, two cores of an AMD EPYC in a virtual machine, Linux 6.18, coturn 4.6.1 of Debian 12;
//! 1,000 flows of 160 bytes, ChannelData, trials of one second. Compilers ran on both cores
//! meanwhile. Thousands of datagrams per second, by round that counts:
//!
//! | how | turnpike | coturn | ratios |
//! |---|---|---|---|
//! | as it is now; a run of five rounds that a signal ended in the fourth | 137, 142, 99 | 72, 84, 80 | 1.90, 1.70, 1.23 |
//! | before cables had no TSO and the server's session a priority; two rounds | 50, 49 | 41, 40 | 1.21, 1.23 |
//! | the same; a run of five rounds that a signal ended in the fifth | 45, 42, 47, 44 | 40, 37, 40, 43 | 1.13, 1.16, 1.17, 1.03 |
//! | no priorities that worked, polling not before the server; two rounds | 25, 81 | 76, 64 | 0.33, 1.27 |
//!
//! The last line measures the compilers, not the servers: Turnpike lost datagrams at a rate that it
//! carried with ease a minute later. The first line is of a relay that did not yet read clients
//! between peers (see `turn-net`). With and without that, one after the other without coturn: 132
//! and 115 with, 140 and 94 without, which decides nothing; beyond the limit it is then the
//! datagrams to clients that come late, not those to peers that are dropped. No run of the present
//! form has gone through all its rounds, and none with indications.
//!
//! Where the time goes, by perf and strace above the limit (160,000 per second offered, of the
//! second line's form): in the kernel's UDP path. Of the system calls nine in ten are one `sendto`
//! for each datagram; the one function of Turnpike among the fifty most sampled symbols has 0.25 %.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what this program finds is printed"
)]

mod flows;
mod frame;
mod interrupt;
mod link;
mod load;
mod network;
mod requirement;
mod run;
mod search;
mod server;
mod statistics;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, ensure};
use clap::Parser;

/// Compares Turnpike with Debian's coturn: datagrams per second on one core with at most 1 % lost.
#[derive(Debug, Parser)]
struct Cli {
    /// Rounds that count; one more comes first
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each rate is tried, in seconds
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Flows, each with an allocation and a peer
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    flows: u16,
    /// The payload, in bytes; a multiple of four
    #[arg(long, default_value_t = 160, value_parser = clap::value_parser!(u16).range(16..=1_200))]
    size: u16,
    /// How clients send, and are sent to
    #[arg(long, value_enum, default_value = "channel")]
    mode: flows::Mode,
    /// What lies between clients and server
    #[arg(long, value_enum, default_value = "udp")]
    transport: Transport,
    /// The highest rate to try, in datagrams per second
    #[arg(long, default_value_t = 400_000.0)]
    ceiling: f64,
    /// The core of the server; another one carries the load
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Turnpike's relay; built from this tree if absent
    #[arg(long)]
    relay: Option<PathBuf>,
    /// Measure one server only
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// End with a line of JSON for machines
    #[arg(long)]
    json: bool,
}

/// What lies between clients and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Transport {
    /// UDP.
    Udp,
}

/// One of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// Ours.
    Turnpike,
    /// Debian's.
    Coturn,
}

impl Cli {
    fn check(&self) -> Result<()> {
        ensure!(self.size.is_multiple_of(4), "--size {} is not a multiple of four", self.size);
        ensure!((0.1..=30.0).contains(&self.seconds), "--seconds is from 0.1 to 30");
        ensure!(self.rounds > 0, "--rounds is at least 1");
        Ok(())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.check().and_then(|()| run::run(&cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
