//! Processes of the cluster: those that run on, with a log each, and those that run to their end.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};

/// The lines of a log that an error shows.
const SHOWN_LINES: usize = 25;

/// A program that runs until it is stopped, and writes into a log.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A program has ended that was to go on.
#[derive(Debug)]
pub(crate) struct Ended {
    what: String,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Ended {}

impl Running {
    /// Starts a program with both its outputs going to the file `log`.
    ///
    /// It is in a process group of its own, so that an interrupt from the terminal reaches the
    /// harness only, which then ends things in order.
    ///
    /// # Errors
    /// When the log cannot be made, or the program cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// What the program has written.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn output(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// Whether the program still runs, and with which status it ended if not.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn wait(mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// Asks the program itself, not the `nsenter` around it, to end or to do what `signal` says.
    ///
    /// # Errors
    /// When the program is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let process = only_child(self.child.id()).unwrap_or(self.child.id());
        let process = Pid::from_raw(i32::try_from(process)?).context("process number")?;
        rustix::process::kill_process(process, signal)
            .with_context(|| format!("signal {}", self.name))
    }

    /// An error with the end of the log if the program has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.ended()? {
            Some(status) => bail!(Ended {
                what: format!("{} ended with {status}; the end of {}", self.name, tail(&self.log)),
            }),
            None => Ok(()),
        }
    }

    /// Where the program writes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Kills the program inside as well: its parent's death is a signal to it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a log, under its name.
pub(crate) fn tail(log: &Path) -> String {
    let mut lines = VecDeque::with_capacity(SHOWN_LINES + 1);
    if let Ok(file) = File::open(log) {
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            lines.push_back(line);
            if lines.len() > SHOWN_LINES {
                lines.pop_front();
            }
        }
    }
    format!("{}:\n{}", log.display(), Vec::from(lines).join("\n"))
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// When it cannot be started or ends with an error; the message has the command and all that it
/// printed on standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("start {shown}"))?;
    ensure!(
        done.status.success(),
        "{shown}: {}\n{}{}",
        done.status,
        String::from_utf8_lossy(&done.stderr),
        String::from_utf8_lossy(&done.stdout)
    );
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// A command as a person would type it, without the `nsenter` around it.
fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    let start = words.iter().position(|word| word == "--").map_or(0, |index| index + 1);
    let entered = words.first().is_some_and(|word| word == "nsenter");
    words[if entered { start } else { 0 }..].join(" ")
}

/// The child of a process that has exactly one.
pub(crate) fn only_child(parent: u32) -> Option<u32> {
    let mut children = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let process: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        (parent_of(process)? == parent).then_some(process)
    });
    children.next().filter(|_| children.next().is_none())
}

/// The parent of a process: the second field after the parenthesised name in its `stat`.
fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
