//! A probe over real sockets.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until, timeout_at},
};
use turn_client::Credentials;

use crate::{
    Cause, Exchange, Failure, Report, Side, Stage, Transport, Trust,
    link::{Link, udp_socket},
};

/// More than any datagram or one read of a stream holds.
const READ_LEN: usize = 4_096;

/// What is probed, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server's address and port.
    pub server: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// Who the probe's two clients say they are: two users, where one may not allocate twice.
    pub credentials: [Credentials; 2],
    /// The last stage: [`Stage::Binding`] for a server that only tells its clients their addresses,
    /// where credentials do not matter; [`Stage::Refresh`] for what the relay can try with itself;
    /// [`Stage::PeerEcho`] for all.
    pub last: Stage,
    /// How long the probe may take, the end of its allocations excepted: that may take another half
    /// second.
    pub limit: Duration,
    /// The local address that the sockets are bound to; none leaves it to the system.
    pub bind: Option<IpAddr>,
    /// Where the relayed addresses are reached, when that is not where the server says: behind a 1:1
    /// NAT the server itself reaches them at its local address only.
    pub relayed_at: Option<IpAddr>,
    /// The relay ports that the two allocations would like to have. Our relays grant that to probers,
    /// if the ports are free; what came of it stands in the result.
    pub relay_ports: [Option<u16>; 2],
    /// Whom to believe over TLS and DTLS.
    pub trust: Option<Trust>,
    /// Whether connections begin with a header of the PROXY protocol, as those of a load balancer
    /// that connects for itself: the server takes it for one.
    pub as_proxy: bool,
}

/// Probes a relay: allocates twice, and sends payloads between the two relayed addresses.
///
/// Whatever happens, it ends the allocations that it has made, and returns no later than half a
/// second after the limit. Only if the future is dropped, they live on until they expire.
///
/// # Errors
/// The stage that failed, and what was observed.
pub async fn echo(target: &Target) -> Result<Report, Failure> {
    let started = Instant::now();
    let deadline = started + target.limit;
    let connect_failure = |cause| Failure {
        stage: Stage::Connect,
        server: target.server,
        transport: target.transport,
        before: Vec::new(),
        outside: Vec::new(),
        cause: Box::new(cause),
    };
    let random = random().map_err(connect_failure)?;
    let links = timeout_at(deadline, connect(target))
        .await
        .unwrap_or(Err(Cause::Silence(target.limit)))
        .map_err(connect_failure)?;
    let now = Instant::now();
    let exchange = Exchange::new(target, random, now.into_std(), now - started);
    let outside = udp_socket(target).await.map_err(|error| connect_failure(error.into()))?;
    drive(exchange, links, &outside).await
}

fn random() -> Result<[[u8; 32]; 4], Cause> {
    let mut random = [[0; 32]; 4];
    getrandom::fill(random.as_flattened_mut()).map_err(|error| Cause::Io {
        kind: std::io::ErrorKind::Other,
        text: format!("no randomness: {error}"),
    })?;
    Ok(random)
}

async fn connect(target: &Target) -> Result<[Link; 2], Cause> {
    Ok([Link::connect(target).await?, Link::connect(target).await?])
}

async fn drive(
    mut exchange: Exchange,
    mut links: [Link; 2],
    outside: &UdpSocket,
) -> Result<Report, Failure> {
    let mut buffers = [[0; READ_LEN]; 2];
    let mut datagram = [0; READ_LEN];
    loop {
        flush(&mut exchange, &mut links).await;
        while let Some((relayed, payload)) = exchange.poll_outside() {
            // What cannot be sent does not arrive.
            let _lost = outside.send_to(&payload, relayed).await;
        }
        if let Some(outcome) = exchange.outcome(Instant::now().into_std()) {
            links.iter_mut().for_each(Link::say_goodbye);
            return outcome;
        }
        let due = Instant::from_std(exchange.poll_timeout());
        let [link_a, link_b] = &mut links;
        let [buffer_a, buffer_b] = &mut buffers;
        let (side, read) = tokio::select! {
            read = link_a.read(buffer_a) => (Side::A, read),
            read = link_b.read(buffer_b) => (Side::B, read),
            received = outside.recv_from(&mut datagram) => {
                // An ICMP error of an earlier datagram says no more than that it did not arrive.
                if let Ok((len, from)) = received {
                    exchange.handle_outside(Instant::now().into_std(), from, &datagram[..len]);
                }
                continue;
            }
            () = sleep_until(due) => {
                exchange.handle_timeout(Instant::now().into_std());
                continue;
            }
        };
        let now = Instant::now().into_std();
        let link = &mut links[side as usize];
        let delivered = match read {
            Ok(len) => link.deliver(now, &mut exchange, side, &buffers[side as usize][..len]),
            Err(error) => Err(error.into()),
        };
        if let Err(cause) = delivered {
            exchange.handle_error(now, cause);
        }
    }
}

/// Sends what there is to send. A server that does not read is one that does not answer: it is waited
/// for until the limit.
async fn flush(exchange: &mut Exchange, links: &mut [Link; 2]) {
    while let Some((side, message)) = exchange.poll_transmit() {
        let until = Instant::from_std(exchange.deadline());
        let written = timeout_at(until, links[side as usize].write(&message)).await;
        let now = Instant::now().into_std();
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => exchange.handle_error(now, error.into()),
            Err(_) => exchange.handle_timeout(now),
        }
    }
}
