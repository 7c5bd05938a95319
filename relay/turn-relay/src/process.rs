//! A relay as a process has it: with its admin port, its self-check and its files, from the start to
//! the end.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use relay_config::Config;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Relay, StartError,
    admin::{self, Admin},
    drain::drain,
    reload::{self, ReloadCounts, Watched},
    self_check,
};

/// A running relay and the tasks around it.
#[derive(Debug)]
pub struct Process {
    relay: Arc<Relay>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Process {
    /// Opens all ports and starts everything. Changes of the files `watched` are taken while the relay
    /// runs.
    ///
    /// # Errors
    /// When a secret, a certificate, an address or a port is not to be had.
    pub async fn start(
        config: Config,
        addresses: &[IpAddr],
        watched: Option<Watched>,
    ) -> Result<Self, StartError> {
        open_sockets_for(config.limits.allocations);
        let address = config.admin.address;
        let listener =
            admin::bind(address).await.map_err(|source| StartError::Admin { address, source })?;
        let relay = Arc::new(Relay::start(config, addresses)?);
        for listener in relay.listeners().iter() {
            listener.log();
        }
        let reloads = Arc::new(ReloadCounts::default());
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let admin = Admin { relay: Arc::clone(&relay), reloads: Arc::clone(&reloads) };
        tasks.spawn(admin::serve(listener, admin, stop.clone()));
        if let Some(watched) = watched {
            tasks.spawn(reload::watch(watched, Arc::clone(&relay), reloads, stop.clone()));
        }
        tasks.spawn(self_check::watch(Arc::clone(&relay), stop.clone()));
        tasks.close();
        Ok(Self { relay, tasks, stop })
    }

    /// The relay.
    #[must_use]
    pub const fn relay(&self) -> &Arc<Relay> {
        &self.relay
    }

    /// Waits for a signal, then serves what runs until it ends or the drain time-out is over; a
    /// second signal ends it at once.
    pub async fn run(self, signals: &mut Signals) {
        let first = signals.next().await;
        let timeout_seconds = self.relay.config().drain.timeout_seconds;
        let timeout = Duration::from_secs(timeout_seconds.into());
        tracing::info!(signal = first, timeout_seconds, "draining");
        tokio::select! {
            left = drain(&self.relay, timeout) => {
                tracing::info!(allocations_ended = left, "drained");
            }
            second = signals.next() => tracing::warn!(signal = second, "ending at once"),
        }
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Lets the process open as many files and sockets as it may ask for, which is often more than it may
/// by default. How many that are; none: as many as there can be.
pub fn raise_descriptor_limit() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    getrlimit(Resource::Nofile).current
}

/// Each allocation is a socket.
fn open_sockets_for(allocations: u32) {
    let may_open = raise_descriptor_limit();
    if may_open.is_some_and(|may_open| may_open < u64::from(allocations)) {
        tracing::warn!(
            may_open,
            allocations,
            "limits.allocations is more than this process may open files: raise its hard limit"
        );
    }
}

/// The signals that end a relay.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the signals do not end the process by themselves.
    ///
    /// # Errors
    /// When the system takes no handler.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
