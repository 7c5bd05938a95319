//! `cargo xtask cluster`: a cluster that stays until it is told to go.
//!
//! A cluster lives as long as the process that started it, so `up` leaves such a process behind,
//! and `down` asks it to end. A file in the cache names it; its lock tells whether it lives.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Seek, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use cluster::{Cluster, Options, deadline, images::Image};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    process::{Pid, Signal, kill_process},
};

use crate::{console, debian, image};

/// How long the cluster may take to end.
const DOWN_LIMIT: Duration = Duration::from_secs(60);

/// What to do with the cluster of this machine.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Start a cluster with the images loaded, and print how to use it
    Up {
        /// How many nodes, alternately in the regions east and west
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
        nodes: u8,
        /// Leave the images alone
        #[arg(long)]
        no_images: bool,
    },
    /// End the cluster, and remove what earlier ones may have left
    Down,
    /// Keep a cluster until a signal ends it: the process that `up` leaves behind
    #[command(hide = true)]
    Hold {
        #[arg(long)]
        nodes: u8,
    },
}

impl Task {
    /// Does it.
    ///
    /// # Errors
    /// When the cluster does not start or end.
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Up { nodes, no_images } => up(nodes, !no_images),
            Self::Down => down(),
            Self::Hold { nodes } => hold(nodes),
        }
    }
}

fn up(nodes: u8, images: bool) -> Result<()> {
    debian::install()?;
    if images {
        console::stage("Images", image::build)?;
    }
    // Built here, where a person sees its progress.
    cluster::Binaries::obtain()?;
    let log = cluster::cache_folder()?.join("cluster-up.log");
    let mut holder = Command::new(std::env::current_exe()?)
        .args(["cluster", "hold", "--nodes", &nodes.to_string()])
        .env_remove("KUBECONFIG")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log)?)
        .spawn()?;
    let stdout = holder.stdout.take().context("its standard output")?;
    let mut kubeconfig = String::new();
    BufReader::new(stdout).read_line(&mut kubeconfig)?;
    if kubeconfig.is_empty() {
        bail!("{}", fs::read_to_string(&log)?.trim_start_matches("error: ").trim_end());
    }
    console::line("The cluster is up. To use it:\n");
    console::line(&format!("    export KUBECONFIG={}", kubeconfig.trim()));
    let tools = cluster::Binaries::obtain()?.path("");
    console::line(&format!("    export PATH={}:$PATH    # kubectl, helm", tools.display()));
    console::line("\nTo end it: cargo xtask cluster down");
    Ok(())
}

fn hold(nodes: u8) -> Result<()> {
    let _lock = Holder::take()?;
    let cluster = Cluster::start(&Options::with_nodes(nodes))?;
    for archive in Image::ALL.map(Image::archive).iter().filter(|archive| archive.is_file()) {
        cluster.load_image(archive)?;
    }
    console::line(&cluster.kubeconfig().display().to_string());
    loop {
        // A signal ends the cluster, and then this process.
        std::thread::park();
    }
}

fn down() -> Result<()> {
    if let Some(process) = Holder::find()? {
        kill_process(process, Signal::TERM).context("end the cluster's process")?;
        deadline::until_true("the cluster to end", DOWN_LIMIT, || Ok(Holder::find()?.is_none()))?;
        console::line("The cluster has ended");
    } else {
        console::line("No cluster is up");
    }
    cluster::sweep()
}

/// The record of the process that holds the cluster.
struct Holder {
    /// Its lock goes with the process.
    _file: File,
}

impl Holder {
    fn path() -> Result<PathBuf> {
        Ok(cluster::cache_folder()?.join("cluster-up.pid"))
    }

    /// Makes this process the holder.
    fn take() -> Result<Self> {
        let mut file = open(&Self::path()?)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                bail!("a cluster is up already: cargo xtask cluster down ends it")
            }
            locked => locked?,
        }
        file.set_len(0)?;
        write!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }

    /// The process that holds a cluster, if one does.
    fn find() -> Result<Option<Pid>> {
        let mut file = open(&Self::path()?)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(None);
        }
        let mut text = String::new();
        file.rewind()?;
        file.read_to_string(&mut text)?;
        Ok(Pid::from_raw(text.trim().parse().context("the cluster's process number")?))
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}
