//! An interrupted run tidies up: loops ask here, and leave with an error.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use anyhow::{Result, ensure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether somebody wants the run to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    /// Whether a signal has come.
    any: Arc<AtomicBool>,
    /// Which one; zero before.
    which: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Listens to SIGINT, SIGTERM and SIGHUP from now on. A second one ends the program at once.
    pub(crate) fn listen() -> Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let exit_code = 128 + signal;
            let any = || Arc::clone(&interrupt.any);
            signal_hook::flag::register_conditional_shutdown(signal, exit_code, any())?;
            let (which, number) = (Arc::clone(&interrupt.which), usize::try_from(signal)?);
            signal_hook::flag::register_usize(signal, which, number)?;
            signal_hook::flag::register(signal, any())?;
        }
        Ok(interrupt)
    }

    /// That nobody does.
    ///
    /// # Errors
    /// When somebody does.
    pub(crate) fn check(&self) -> Result<()> {
        let which = self.which.load(Ordering::Relaxed);
        ensure!(!self.any.load(Ordering::Relaxed), "interrupted by signal {which}");
        Ok(())
    }
}
