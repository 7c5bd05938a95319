//! An interrupted test ends its clusters before it ends itself.

use std::sync::{Mutex, Once, PoisonError, Weak};

use anyhow::Result;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{cache::say, enclosure::Enclosure};

/// The clusters that live in this process.
static ALIVE: Mutex<Vec<Weak<Enclosure>>> = Mutex::new(Vec::new());
static WATCH: Once = Once::new();

/// Sees to it that `enclosure` is ended on SIGINT, SIGTERM and SIGHUP.
pub(crate) fn watch(enclosure: Weak<Enclosure>) -> Result<()> {
    let mut alive = ALIVE.lock().unwrap_or_else(PoisonError::into_inner);
    alive.retain(|enclosure| enclosure.strong_count() > 0);
    alive.push(enclosure);
    drop(alive);
    let mut started = Ok(());
    WATCH.call_once(|| started = start());
    started
}

fn start() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            say("Interrupted: ending the cluster");
            let alive = ALIVE.lock().unwrap_or_else(PoisonError::into_inner);
            for enclosure in alive.iter().filter_map(Weak::upgrade) {
                let _ = enclosure.stop();
            }
            // As a shell reports a process that a signal has ended.
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}
