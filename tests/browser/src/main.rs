//! `browser`: what a function of the page returns, in the network in which this runs.
//!
//! The name of the function is the first argument, the SHA-256 of the key of a certificate to trust the
//! second; the function's two arguments come as a JSON list on standard input, and what it returns goes
//! as JSON to standard output.

use std::io::{self, Write as _};

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let function = words.next().context("name a function of the page")?;
    let trusted = words.next().unwrap_or_default();
    let arguments = serde_json::from_reader(io::stdin().lock())?;
    let returned = browser::call(&function, arguments, &trusted)?;
    Ok(writeln!(io::stdout(), "{returned}")?)
}
