//! Ports for programs.

use std::net::{TcpListener, UdpSocket};

use anyhow::bail;

/// A port that is free over UDP and TCP. Nobody else is kept from it; ports are drawn at random by
/// the system, so that two tests hardly draw the same.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        let tcp = TcpListener::bind(("127.0.0.1", 0))?;
        let port = tcp.local_addr()?.port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free over both UDP and TCP")
}
