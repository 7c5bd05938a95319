//! The log: text for a person, JSON for a machine, on standard error.

use std::io::{self, IsTerminal};

use relay_config::LogLevel;
use tracing_subscriber::{
    EnvFilter, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

/// What says how much is logged, over what the configuration says.
const VARIABLE: &str = "TURN_RELAY_LOG";

/// The log of this process.
#[derive(Debug, Clone)]
pub struct Log(reload::Handle<EnvFilter, Registry>);

impl Log {
    /// Begins to log, at the level of [`LogLevel::default`].
    #[must_use]
    pub fn start() -> Self {
        let filter = from_environment().unwrap_or_else(|| filter(LogLevel::default()));
        let (filter, handle) = reload::Layer::new(filter);
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        let log = tracing_subscriber::registry().with(filter);
        if io::stderr().is_terminal() {
            log.with(lines).init();
        } else {
            log.with(lines.json()).init();
        }
        Self(handle)
    }

    /// Logs as much as the configuration says, unless the environment says how much.
    pub fn set(&self, level: LogLevel) {
        if from_environment().is_none() {
            // The log lives as long as the process.
            let _always_there = self.0.reload(filter(level));
        }
    }
}

fn from_environment() -> Option<EnvFilter> {
    EnvFilter::try_from_env(VARIABLE).ok()
}

/// What the DTLS library says is about single datagrams, whoever sends them: nobody may fill the log
/// with it.
fn filter(level: LogLevel) -> EnvFilter {
    if level == LogLevel::Trace {
        return EnvFilter::new("trace");
    }
    EnvFilter::new(format!("{level},dimpl=off"))
}
