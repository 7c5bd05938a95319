//! Rounds of runs, and what is said of them.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use nix::unistd::Pid;

use crate::{
    Cli, Only, Transport,
    flows::{self, Mode, Wanted},
    interrupt::Interrupt,
    load::{Load, Trial},
    network::{Cores, Network, go_first, pin},
    requirement,
    search::Search,
    server::{self, Kind, Server, Setup},
    statistics::{Comparison, Summary},
};

/// How much may be lost.
const MAX_LOSS: f64 = 0.01;

/// The first rate of a search, in datagrams per second.
const START: f64 = 20_000.0;

/// How close a search comes, as a fraction of the rate.
const PRECISION: f64 = 0.02;

/// How often a trial is made at most when it is the generator that fails: the machine may have been
/// busy.
const ATTEMPTS: usize = 3;

/// What a run has found.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Found {
    /// The most relayed datagrams per second.
    rate: f64,
    /// Whether a trial failed, or none could be made, because of the generator.
    generator_limited: bool,
}

/// All that a run needs and that stays the same from run to run.
struct Bench<'a> {
    cli: &'a Cli,
    setup: Setup<'a>,
    interrupt: Interrupt,
}

/// Runs the whole benchmark.
///
/// # Errors
/// When the machine lacks something, or a server does not work.
pub(crate) fn run(cli: &Cli) -> Result<()> {
    requirement::check()?;
    let interrupt = Interrupt::listen()?;
    let relay = match &cli.relay {
        Some(relay) => relay.canonicalize().with_context(|| format!("--relay {relay:?}"))?,
        None => server::build_relay()?,
    };
    let cores = Cores { server: cli.core, load: usize::from(cli.core == 0) };
    let machine = machine()?;
    println!("{machine}\nserver on core {}, load on core {}", cores.server, cores.load);
    let folder = tempfile::tempdir()?;
    let network = Network::make(cores)?;
    prepare_this_thread(cores.load)?;
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).context("random numbers")?;
    let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let setup = Setup {
        network: &network,
        folder: folder.path(),
        relay: &relay,
        secret: &secret,
        core: cores.server,
        flows: cli.flows,
    };
    let bench = Bench { cli, setup, interrupt };
    bench.rounds(&machine)
}

impl Bench<'_> {
    fn rounds(&self, machine: &str) -> Result<()> {
        let mut comparison = Comparison { turnpike: Vec::new(), coturn: Vec::new() };
        let mut generator_limited = false;
        for round in 0..=self.cli.rounds {
            // Neither of them is always first.
            let mut order = [Kind::Turnpike, Kind::Coturn];
            order.rotate_left(round % 2);
            for kind in order.into_iter().filter(|kind| self.is_wanted(*kind)) {
                let found = self.run(kind, round)?;
                if round > 0 {
                    generator_limited |= found.generator_limited;
                    match kind {
                        Kind::Turnpike => comparison.turnpike.push(found.rate),
                        Kind::Coturn => comparison.coturn.push(found.rate),
                    }
                }
            }
        }
        self.report(&comparison, generator_limited, machine);
        Ok(())
    }

    fn is_wanted(&self, kind: Kind) -> bool {
        match self.cli.only {
            None => true,
            Some(Only::Turnpike) => kind == Kind::Turnpike,
            Some(Only::Coturn) => kind == Kind::Coturn,
        }
    }

    /// One run: a fresh server, its flows, the search.
    fn run(&self, kind: Kind, round: usize) -> Result<Found> {
        let cli = self.cli;
        let mut links = self.setup.network.links()?;
        let mut server = Server::start(kind, &self.setup)?;
        let size = usize::from(cli.size);
        let secret = self.setup.secret;
        let wanted = Wanted { count: cli.flows, size, mode: cli.mode, secret };
        let flows = flows::make(wanted, &mut links, &mut server, &self.interrupt)
            .with_context(|| format!("{} does not serve", kind.name()))?;
        server.raise_priority()?;
        let mut load = Load::new(flows, &mut links, size, &self.interrupt);
        load.verify().with_context(|| format!("{} does not relay", kind.name()))?;
        let found = self.search(&mut load, &mut server)?;
        let thrown_away = if round == 0 { "thrown away: " } else { "" };
        let limit = if found.generator_limited { ", the generator was the limit" } else { "" };
        let name = kind.name();
        println!("{thrown_away}round {round}, {name}: {:.0} datagrams/s{limit}", found.rate);
        Ok(found)
    }

    fn search(&self, load: &mut Load<'_>, server: &mut Server) -> Result<Found> {
        let mut search = Search::new(START, self.cli.ceiling, PRECISION);
        let mut found = Found { rate: 0.0, generator_limited: false };
        let mut last_failure = false;
        while let Some(rate) = search.next() {
            let trial = self.trial(load, rate)?;
            server.check()?;
            let passed = trial.loss() <= MAX_LOSS && !trial.generator_failed;
            if passed {
                found.rate = found.rate.max(trial.rate());
            } else {
                last_failure = trial.generator_failed;
            }
            search.record(passed);
        }
        found.generator_limited = last_failure || search.hit_ceiling();
        Ok(found)
    }

    /// A trial, made anew while it says more about the generator than about the server.
    fn trial(&self, load: &mut Load<'_>, rate: f64) -> Result<Trial> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let trial = load.run(rate, Duration::from_secs_f64(self.cli.seconds))?;
            println!(
                "  {rate:>8.0}/s: {:.2} % lost ({} sent, {} to peers, {} to clients){}",
                trial.loss() * 100.0,
                trial.sent,
                trial.received[0],
                trial.received[1],
                if trial.generator_failed { ", the generator is too slow" } else { "" }
            );
            if !trial.generator_failed || attempts == ATTEMPTS {
                return Ok(trial);
            }
        }
    }

    fn report(&self, comparison: &Comparison, generator_limited: bool, machine: &str) {
        let cli = self.cli;
        let mode = match cli.mode {
            Mode::Channel => "channel",
            Mode::Indication => "indication",
        };
        let transport = match cli.transport {
            Transport::Udp => "udp",
        };
        println!(
            "\n{} flows of {} bytes, {mode}, {transport}, both ways, at most {:.0} % lost, {} rounds",
            cli.flows,
            cli.size,
            MAX_LOSS * 100.0,
            cli.rounds
        );
        print!("{}", comparison.table());
        if generator_limited {
            println!("The generator was the limit in at least one run: the server can do more.");
        }
        if cli.json {
            let ratio = Summary::of(&comparison.ratios()).map(|summary| summary.median);
            let line = serde_json::json!({
                "machine": machine, "flows": cli.flows, "size": cli.size, "mode": mode,
                "transport": transport, "seconds": cli.seconds,
                "turnpike": comparison.turnpike, "coturn": comparison.coturn,
                "ratio": ratio, "generatorLimited": generator_limited,
            });
            println!("{line}");
        }
    }
}

/// The load runs here: on its core, and punctually.
fn prepare_this_thread(core: usize) -> Result<()> {
    pin(Pid::from_raw(0), core)?;
    nix::sys::prctl::set_timerslack(1)?;
    // The first thread of a process, which this is, has the process's number.
    go_first(Pid::this())
}

/// What this was measured on and with.
fn machine() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string(Path::new("/proc/sys/kernel/osrelease"))?;
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "{cores} cores of {}, Linux {}, turnpike {}, coturn {}",
        model.map_or("an unknown processor", |(_, name)| name),
        kernel.trim(),
        env!("CARGO_PKG_VERSION"),
        server::coturn_version()?
    ))
}
