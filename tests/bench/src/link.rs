//! The load generator's end of a cable: a packet socket.

use std::{
    fs::File,
    io::{IoSlice, IoSliceMut, Read, Seek, SeekFrom},
    net::SocketAddrV4,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, bind, recvmmsg,
        sendmmsg, setsockopt, socket, sockopt::RcvBufForce,
    },
};

use crate::frame::{self, Mac};

/// How many frames one system call takes.
const BATCH: usize = 64;

/// How much of a frame is looked at, in bytes: all headers, and where the payload says what it is.
const SNAP_LEN: usize = 2048;

/// Room for what arrives while the generator is busy, in bytes.
const RECEIVE_BUFFER: usize = 64 << 20;

/// A cable that frames are put on and taken from.
pub(crate) struct Link {
    end: CableEnd,
    sending: MultiHeaders<()>,
    receiving: MultiHeaders<()>,
    buffer: Vec<u8>,
}

/// What of a link has to be opened in the device's network namespace.
pub(crate) struct CableEnd {
    name: String,
    /// Its own Ethernet address, and that of the other end.
    macs: (Mac, Mac),
    socket: OwnedFd,
    /// The counters of the network namespace's devices.
    devices: File,
}

impl CableEnd {
    /// Opens the device `name` of the calling thread's network namespace. `macs` are its own
    /// Ethernet address and that of its other end.
    pub(crate) fn open(name: &str, macs: (Mac, Mac)) -> Result<Self> {
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            // Only what arrives: what is sent is seen by sockets of all protocols alone.
            SockProtocol::EthIp,
        )?;
        let address = getifaddrs()?
            .filter(|interface| interface.interface_name == name)
            .find_map(|interface| interface.address?.as_link_addr().copied())
            .with_context(|| format!("the device {name} is gone"))?;
        bind(socket.as_raw_fd(), &address)?;
        setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER)?;
        let devices = File::open("/proc/thread-self/net/dev")?;
        Ok(Self { name: name.to_owned(), macs, socket, devices })
    }
}

impl Link {
    pub(crate) fn new(end: CableEnd) -> Self {
        Self {
            end,
            sending: MultiHeaders::preallocate(BATCH, None),
            receiving: MultiHeaders::preallocate(BATCH, None),
            buffer: vec![0; BATCH * SNAP_LEN],
        }
    }

    /// The frame of a datagram to the other end.
    pub(crate) fn frame(&self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
        frame::encode(self.end.macs, from, to, payload)
    }

    /// Sends frames. Those that the other end has no room for are lost, as on a real cable.
    pub(crate) fn send(&mut self, frames: &[&[u8]]) -> Result<()> {
        for batch in frames.chunks(BATCH) {
            let slices: Vec<_> = batch.iter().map(|frame| [IoSlice::new(frame)]).collect();
            let mut sent = 0;
            while sent < slices.len() {
                let rest = &slices[sent..];
                let to = vec![None; rest.len()];
                let fd = self.end.socket.as_raw_fd();
                match sendmmsg(fd, &mut self.sending, rest, to, [], MsgFlags::empty()) {
                    Ok(results) => sent += results.count().max(1),
                    Err(Errno::ENOBUFS | Errno::EAGAIN) => sent += 1,
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(error).context(format!("send on {}", self.end.name)),
                }
            }
        }
        Ok(())
    }

    /// Takes all frames that have arrived; how many.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<u64> {
        let mut taken = 0;
        loop {
            let mut slices: Vec<_> = self
                .buffer
                .chunks_exact_mut(SNAP_LEN)
                .map(|room| [IoSliceMut::new(room)])
                .collect();
            let fd = self.end.socket.as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            let lens: Vec<_> = match recvmmsg(fd, &mut self.receiving, &mut slices, flags, None) {
                Ok(results) => results.map(|message| message.bytes).collect(),
                Err(Errno::EAGAIN) => return Ok(taken),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error).context(format!("receive on {}", self.end.name)),
            };
            for (room, len) in self.buffer.chunks_exact(SNAP_LEN).zip(&lens) {
                each(&room[..(*len).min(SNAP_LEN)]);
            }
            taken += lens.len() as u64;
            if lens.len() < BATCH {
                return Ok(taken);
            }
        }
    }

    /// How many frames have arrived at the device since it was made.
    pub(crate) fn arrived(&mut self) -> Result<u64> {
        let mut table = String::new();
        self.end.devices.seek(SeekFrom::Start(0))?;
        self.end.devices.read_to_string(&mut table)?;
        received_packets(&table, &self.end.name)
            .with_context(|| format!("the counters of {} are gone", self.end.name))
    }
}

/// The packets that a device has received, in the table that `/proc/net/dev` is.
fn received_packets(table: &str, device: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| line.trim().split_once(':'));
    let (_, counters) = lines.find(|(name, _)| *name == device)?;
    counters.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_received_packets_are_the_second_number() {
        let table =
            "Inter-|   Receive\n face |bytes    packets errs\n    lo:  10  20 30\n  v1:1 2 3\n";
        assert_eq!(received_packets(table, "lo"), Some(20));
        assert_eq!(received_packets(table, "v1"), Some(2));
        assert_eq!(received_packets(table, "v2"), None);
    }
}
