//! A client's socket.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream, UdpSocket},
};
use turn_client::FrameBuffer;

use crate::{Cause, Exchange, Side, Target, Transport};

/// A socket that is connected to the server.
pub(crate) enum Link {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, frames: FrameBuffer },
}

/// Where a socket is bound: at any port of the address that was asked for, or of any address of the
/// server's family.
fn local(server: SocketAddr, bind: Option<IpAddr>) -> SocketAddr {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(bind.unwrap_or(any), 0)
}

impl Link {
    pub(crate) async fn connect(target: &Target) -> io::Result<Self> {
        let local = local(target.server, target.bind);
        match target.transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(local).await?;
                socket.connect(target.server).await?;
                Ok(Self::Udp(socket))
            }
            Transport::Tcp => {
                let socket = match local {
                    SocketAddr::V4(_) => TcpSocket::new_v4()?,
                    SocketAddr::V6(_) => TcpSocket::new_v6()?,
                };
                socket.bind(local)?;
                let stream = socket.connect(target.server).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp { stream, frames: FrameBuffer::new() })
            }
        }
    }

    /// Reads once. Losing a race against something else loses no bytes.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.recv(buffer).await,
            Self::Tcp { stream, .. } => stream.read(buffer).await,
        }
    }

    pub(crate) async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(message).await.map(|_| ()),
            Self::Tcp { stream, .. } => stream.write_all(message).await,
        }
    }

    /// Gives what was read to the probe.
    pub(crate) fn deliver(
        &mut self,
        now: std::time::Instant,
        exchange: &mut Exchange,
        side: Side,
        read: &[u8],
    ) -> Result<(), Cause> {
        match self {
            Self::Udp(_) => exchange.handle_input(now, side, read),
            Self::Tcp { .. } if read.is_empty() => return Err(Cause::Closed),
            Self::Tcp { frames, .. } => {
                frames.push(read);
                while let Some(message) = frames.next_frame().map_err(|_| Cause::NotTurn)? {
                    exchange.handle_input(now, side, message);
                }
            }
        }
        Ok(())
    }
}
