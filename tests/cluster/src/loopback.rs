//! A port on the machine's loopback that leads to the API server in the cluster's network.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Forwards connections from a loopback port into a network namespace while it lives.
#[derive(Debug)]
pub(crate) struct Loopback {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Loopback {
    /// Opens a free port on the machine's loopback that leads to `target` in the network namespace
    /// of `network_file`.
    pub(crate) fn open(network_file: &Path, target: SocketAddr) -> Result<Self> {
        // A socket belongs to the namespace in which it was made: this one to the machine's, those
        // that the thread makes after its move to the cluster's.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let network = File::open(network_file).context("open the cluster's network namespace")?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = thread::Builder::new().name("loopback".to_owned()).spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            if move_into_link_name_space(network.as_fd(), kind).is_ok() {
                accept(&listener, target, &stop);
            }
        })?;
        Ok(Self { address, stopping, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the thread out of its accept.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, stopping: &AtomicBool) {
    for client in listener.incoming().map_while(Result::ok) {
        if stopping.load(Ordering::Acquire) {
            return;
        }
        // A client whose server cannot be reached sees its connection closed, and says so.
        if let Ok(server) = TcpStream::connect(target) {
            let _ = join(client, server);
        }
    }
}

/// Copies both ways, each in a thread that ends with its direction.
fn join(client: TcpStream, server: TcpStream) -> io::Result<()> {
    let (from_client, from_server) = (client.try_clone()?, server.try_clone()?);
    thread::Builder::new().spawn(move || copy(from_client, server))?;
    thread::Builder::new().spawn(move || copy(from_server, client))?;
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // Either side's end or error is the end of both.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
