//! The probe over loopback sockets.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream, UdpSocket,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use turn_client::FrameBuffer;
use turn_probe::{Cause, Failure, Report, Stage, Target, Transport, echo};

use crate::{
    diagnosis::target,
    relay::{Flaw, Relay},
};

type Shared = Arc<Mutex<Relay>>;

fn shared(flaw: Flaw) -> Shared {
    Arc::new(Mutex::new(Relay::new(flaw)))
}

/// Serves a relay over UDP until the runtime ends.
async fn udp(relay: Shared) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
    let address = socket.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let answers = relay.lock().expect("unpoisoned").handle(from, &buffer[..len]);
            for (to, message) in answers {
                socket.send_to(&message, to).await.expect("loopback");
            }
        }
    });
    address
}

type Writers = Arc<tokio::sync::Mutex<HashMap<SocketAddr, OwnedWriteHalf>>>;

/// Serves a relay over TCP until the runtime ends.
async fn tcp(relay: Shared) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    let writers = Writers::default();
    tokio::spawn(async move {
        while let Ok((stream, from)) = listener.accept().await {
            let (reader, writer) = stream.into_split();
            writers.lock().await.insert(from, writer);
            tokio::spawn(serve(reader, from, Arc::clone(&relay), Arc::clone(&writers)));
        }
    });
    address
}

async fn serve(mut reader: OwnedReadHalf, from: SocketAddr, relay: Shared, writers: Writers) {
    let mut frames = FrameBuffer::new();
    // Small reads, so that messages come in parts.
    let mut buffer = [0; 50];
    while let Ok(len @ 1..) = reader.read(&mut buffer).await {
        frames.push(&buffer[..len]);
        while let Some(message) = frames.next_frame().expect("the probe writes messages") {
            let answers = relay.lock().expect("unpoisoned").handle(from, message);
            for (to, message) in answers {
                if let Some(writer) = writers.lock().await.get_mut(&to) {
                    // The probe may be gone already.
                    let _ = writer.write_all(&message).await;
                }
            }
        }
    }
}

/// Runs a probe that may take a while of real time.
async fn run(server: SocketAddr, transport: Transport) -> Result<Report, Failure> {
    let limit = Duration::from_millis(400);
    let bind = Some("127.0.0.1".parse().expect("an address"));
    let started = Instant::now();
    let outcome = echo(&Target { limit, bind, ..target(server, transport) }).await;
    assert!(started.elapsed() < Duration::from_secs(5), "the limit holds");
    outcome
}

async fn failure(server: SocketAddr, transport: Transport) -> (Stage, Cause) {
    let failure = run(server, transport).await.expect_err("it has a flaw");
    assert_eq!((failure.server, failure.transport), (server, transport));
    (failure.stage, *failure.cause)
}

#[tokio::test]
async fn a_good_relay_over_udp() {
    let relay = shared(Flaw::None);
    let server = udp(Arc::clone(&relay)).await;
    let report = run(server, Transport::Udp).await.expect("the relay is good");
    assert_eq!(report.stages.len(), 9);
    assert!(report.mapped.iter().all(|mapped| mapped.ip().is_loopback()));
    let relay = relay.lock().expect("unpoisoned");
    assert_eq!((relay.allocations(), relay.released), (0, 2));
}

#[tokio::test]
async fn a_good_relay_over_tcp() {
    let relay = shared(Flaw::None);
    let server = tcp(Arc::clone(&relay)).await;
    run(server, Transport::Tcp).await.expect("the relay is good");
    let relay = relay.lock().expect("unpoisoned");
    assert_eq!((relay.allocations(), relay.released), (0, 2));
}

#[tokio::test]
async fn a_silent_server_over_udp() {
    let server = udp(shared(Flaw::Silent)).await;
    let (stage, cause) = failure(server, Transport::Udp).await;
    assert_eq!(stage, Stage::Binding);
    assert!(matches!(cause, Cause::Silence(_)), "{cause:?}");
}

#[tokio::test]
async fn a_server_that_does_not_relay() {
    let (over_udp, over_tcp) = (shared(Flaw::NeverRelays), shared(Flaw::NeverRelays));
    for (transport, server, relay) in [
        (Transport::Udp, udp(Arc::clone(&over_udp)).await, over_udp),
        (Transport::Tcp, tcp(Arc::clone(&over_tcp)).await, over_tcp),
    ] {
        let (stage, cause) = failure(server, transport).await;
        assert_eq!(stage, Stage::Echo);
        assert!(matches!(cause, Cause::NotRelayed { .. }), "{cause:?}");
        assert_eq!(relay.lock().expect("unpoisoned").released, 2, "{transport}");
    }
}

#[tokio::test]
async fn a_server_that_relays_something_else() {
    let (stage, cause) = failure(udp(shared(Flaw::ChangesPayload)).await, Transport::Udp).await;
    assert_eq!(stage, Stage::Echo);
    assert!(matches!(cause, Cause::WrongPayload { .. }), "{cause:?}");
}

#[tokio::test]
async fn a_port_that_nobody_listens_on() {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let server = closed.local_addr().expect("it is bound");
    drop(closed);
    let (stage, cause) = failure(server, Transport::Tcp).await;
    assert_eq!(stage, Stage::Connect);
    assert!(matches!(cause, Cause::Io { kind: io::ErrorKind::ConnectionRefused, .. }), "{cause:?}");
    let (stage, cause) = failure(server, Transport::Udp).await;
    assert_eq!(stage, Stage::Binding, "over UDP it takes a datagram to find out");
    assert!(matches!(cause, Cause::Io { kind: io::ErrorKind::ConnectionRefused, .. }), "{cause:?}");
}

/// Accepts connections, and does something to each.
async fn accepting<F: Future<Output = ()> + Send + 'static>(
    with: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(with(stream));
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_closes_connections() {
    let server = accepting(|mut stream| async move {
        // All is read first: unread bytes would make it a reset.
        let _ = stream.read(&mut [0; 2_048]).await;
    })
    .await;
    assert_eq!(failure(server, Transport::Tcp).await, (Stage::Binding, Cause::Closed));
}

#[tokio::test]
async fn a_server_that_is_no_turn_server() {
    let server = accepting(|mut stream| async move {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH\r\n").await;
        let _ = stream.read(&mut [0; 2_048]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    })
    .await;
    assert_eq!(failure(server, Transport::Tcp).await, (Stage::Binding, Cause::NotTurn));
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing() {
    let server = accepting(|stream| async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(stream);
    })
    .await;
    let (stage, cause) = failure(server, Transport::Tcp).await;
    assert_eq!(stage, Stage::Binding);
    assert!(matches!(cause, Cause::Silence(_)), "{cause:?}");
}

#[tokio::test]
async fn a_local_address_that_is_not_ours() {
    let server = udp(shared(Flaw::None)).await;
    let bind = Some("192.0.2.1".parse().expect("an address"));
    let outcome = echo(&Target { bind, ..target(server, Transport::Udp) }).await;
    let failure = outcome.expect_err("nobody has this address");
    assert_eq!(failure.stage, Stage::Connect);
    assert!(matches!(*failure.cause, Cause::Io { .. }), "{failure:?}");
}
