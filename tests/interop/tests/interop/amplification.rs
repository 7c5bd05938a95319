//! How much the relay answers to datagrams of people who have proved nothing, beside Debian's
//! coturn. Their source addresses may be forged, so that whoever has the address gets the answer.

use std::{
    fmt::Write as _,
    io::{ErrorKind, Write as _},
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::ensure;
use serde_json::json;

use crate::{
    coturn_server::CoturnServer,
    relay::Relay,
    unauthenticated::{Challenge, Kind, MARKER, allocate, kinds, marker},
};

/// Of both servers: the length of a domain name as people have them.
const REALM: &str = "turn.example.com";

/// The most bytes out for one byte in, when that is a header without attributes.
const BARE_RATIO: usize = 3;

/// How long an answer may take. A server that ignores a sender for good costs so much twice.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// How long an answer may come after the one to a later message, where threads share the work.
const STRAGGLE: Duration = Duration::from_millis(20);

/// Of coturn, so that it says no more than it must.
const TERSE: &str = "--no-software-attribute";

/// Nothing is answered by more bytes than it has itself or than coturn answers it with as Debian
/// sets it up, and a bare header by three times its size at most. Prints all sizes.
pub(crate) fn is_never_more_than_coturns() -> anyhow::Result<()> {
    let relay = Relay::start(&json!({ "realm": REALM }))?;
    let coturns = [CoturnServer::start(REALM, &[])?, CoturnServer::start(REALM, &[TERSE])?];
    let [with, without] = &coturns;
    let servers = [
        Server::new(relay.port, relay.secure_port),
        Server::new(with.port, with.secure_port),
        Server::new(without.port, without.secure_port),
    ];
    let rows = kinds()
        .into_iter()
        .map(|kind| Row::measure(kind, &servers))
        .collect::<Result<Vec<_>, _>>()?;
    // The harness prints while the test runs, so the table is one piece.
    writeln!(std::io::stdout(), "\n{}", table(&rows)?)?;
    let offenders: Vec<_> = rows.iter().filter_map(Row::offence).collect();
    ensure!(offenders.is_empty(), "{}", offenders.join("\n"));
    Ok(())
}

/// Where a server listens.
struct Server {
    plain: SocketAddr,
    dtls: SocketAddr,
}

impl Server {
    fn new(plain: u16, dtls: u16) -> Self {
        let [plain, dtls] = [plain, dtls].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        Self { plain, dtls }
    }

    /// How many bytes are sent, and how many come back.
    fn answer(&self, kind: &Kind) -> anyhow::Result<(usize, usize)> {
        let challenge = challenge(self.plain)?;
        let sender = Sender::new(if kind.is_dtls { self.dtls } else { self.plain })?;
        let datagram = kind.datagram(&challenge);
        sender.socket.send(&datagram)?;
        Ok((datagram.len(), sender.bytes_until_marker()?))
    }
}

/// The sizes of a datagram and of the answers to it.
struct Row {
    kind: Kind,
    bytes_in: usize,
    ours: usize,
    coturns: usize,
    terse_coturns: usize,
}

impl Row {
    fn measure(kind: Kind, [relay, coturn, terse]: &[Server; 3]) -> anyhow::Result<Self> {
        let (bytes_in, ours) = relay.answer(&kind)?;
        let (_, coturns) = coturn.answer(&kind)?;
        let (_, terse_coturns) = terse.answer(&kind)?;
        Ok(Self { kind, bytes_in, ours, coturns, terse_coturns })
    }

    /// What is wrong with it.
    fn offence(&self) -> Option<String> {
        let Self { kind, bytes_in, ours, coturns, .. } = self;
        let (name, amplified) = (&kind.name, ours > bytes_in);
        if amplified && ours > coturns {
            return Some(format!("{name}: {ours} bytes, and coturn {coturns}"));
        }
        (kind.is_bare && *ours > BARE_RATIO * bytes_in)
            .then(|| format!("{name}: {ours} bytes for {bytes_in}"))
    }
}

fn table(rows: &[Row]) -> anyhow::Result<String> {
    let mut table = format!(
        "{:42} {:>6} {:>15} {:>15} {:>15}\n",
        "unauthenticated datagram", "bytes", "Turnpike", "coturn", "terse coturn"
    );
    for Row { kind, bytes_in, ours, coturns, terse_coturns } in rows {
        write!(table, "{:42} {bytes_in:>6}", kind.name)?;
        for out in [ours, coturns, terse_coturns] {
            write!(table, " {out:>6} {:>8}", ratio(*out, *bytes_in))?;
        }
        writeln!(table)?;
    }
    Ok(table)
}

fn ratio(bytes_out: usize, bytes_in: usize) -> String {
    if bytes_out == 0 {
        return "-".to_owned();
    }
    format!("{:.2}:1", bytes_out as f64 / bytes_in as f64)
}

/// What the server asks everybody for.
fn challenge(server: SocketAddr) -> anyhow::Result<Challenge> {
    let sender = Sender::new(server)?;
    sender.socket.send(&allocate())?;
    Ok(Challenge::of(&sender.receive(ANSWER_WITHIN)?.unwrap_or_default()))
}

/// A source address that a server has not seen before.
struct Sender {
    socket: UdpSocket,
}

impl Sender {
    fn new(server: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        Ok(Self { socket })
    }

    /// What comes before the answer to a later message, or at all when that is not answered.
    fn bytes_until_marker(&self) -> anyhow::Result<usize> {
        let mut bytes = 0;
        for _ in 0..2 {
            self.socket.send(&marker())?;
            while let Some(answer) = self.receive(ANSWER_WITHIN)? {
                if answer.get(8..20) != Some(&MARKER) {
                    bytes += answer.len();
                    continue;
                }
                while let Some(straggler) = self.receive(STRAGGLE)? {
                    bytes += straggler.len();
                }
                return Ok(bytes);
            }
        }
        Ok(bytes)
    }

    fn receive(&self, within: Duration) -> anyhow::Result<Option<Vec<u8>>> {
        self.socket.set_read_timeout(Some(within))?;
        let mut buffer = vec![0; 65_536];
        match self.socket.recv(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                Ok(Some(buffer))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}
