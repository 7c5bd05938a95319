//! The flows: an allocation each, with a channel or a permission for one peer.

use std::{
    net::{SocketAddr, SocketAddrV4},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use turn_auth::{Secret, TimeLimitedCredential, UnixSeconds};
use turn_client::{Client, Config, Credentials, Event, Profile, Transport};

use crate::{
    frame,
    interrupt::Interrupt,
    link::Link,
    network::{CLIENTS, PEERS, SERVER},
    server::{PORT, Server},
};

/// The port of the first client, and of the first peer; the others follow.
const FIRST_PORT: u16 = 2_000;

/// How many allocations are asked for at the same time.
const WINDOW: usize = 50;

/// How long the server may take to start, and to make all allocations.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long a credential is good: longer than any run.
const CREDENTIAL_LIFETIME_SECONDS: u64 = 86_400;

/// How clients send, and are sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// ChannelData both ways.
    Channel,
    /// Send and Data indications.
    Indication,
}

/// One flow, ready to carry datagrams.
pub(crate) struct Flow {
    /// What the client sends to its peer, as a frame; the payload is its end.
    pub(crate) from_client: Vec<u8>,
    /// What the peer sends to the client.
    pub(crate) from_peer: Vec<u8>,
}

/// The number of the flow that a client's or a peer's port belongs to.
pub(crate) fn flow_of(port: u16) -> usize {
    usize::from(port.wrapping_sub(FIRST_PORT))
}

/// What the flows are to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// How many.
    pub(crate) count: u16,
    /// The payload, in bytes; a multiple of four, so that it is the end of every message.
    pub(crate) size: usize,
    /// Over channels or in indications.
    pub(crate) mode: Mode,
    /// The secret that their credentials are made with.
    pub(crate) secret: &'a str,
}

/// A client while it sets its flow up.
struct Starting {
    client: Client,
    address: SocketAddrV4,
    peer: SocketAddrV4,
    mode: Mode,
    ready: bool,
}

/// Makes all flows, over the clients' link.
///
/// # Errors
/// When the server ends, or refuses, or takes too long.
pub(crate) fn make(
    wanted: Wanted<'_>,
    links: &mut [Link; 2],
    server: &mut Server,
    interrupt: &Interrupt,
) -> Result<Vec<Flow>> {
    let deadline = Instant::now() + TIMEOUT;
    let clients: Result<Vec<_>> = (0..wanted.count).map(|n| Starting::new(n, wanted)).collect();
    let mut clients = clients?;
    let (mut first, mut started) = (0, 0);
    while first < clients.len() {
        interrupt.check()?;
        server.check()?;
        ensure!(Instant::now() < deadline, "{first} of {} flows are made in time", clients.len());
        while started < clients.len().min(first + WINDOW) {
            clients[started].client.allocate(Instant::now(), None, None)?;
            started += 1;
        }
        for client in &mut clients[first..started] {
            client.client.handle_timeout(Instant::now());
            client.transmit(&mut links[0])?;
        }
        std::thread::sleep(Duration::from_millis(1));
        receive(&mut clients, &mut links[0])?;
        first += clients[first..].iter().take_while(|client| client.ready).count();
    }
    clients.iter_mut().map(|client| client.flow(wanted.size, links)).collect()
}

fn receive(clients: &mut [Starting], link: &mut Link) -> Result<()> {
    let mut result = Ok(());
    link.receive(|frame| {
        let Some(datagram) = frame::decode(frame) else { return };
        if let Some(client) = clients.get_mut(flow_of(datagram.to.port())) {
            client.client.handle_input(Instant::now(), datagram.payload);
            if let Err(error) = client.advance() {
                result = Err(error);
            }
        }
    })?;
    result
}

impl Starting {
    fn new(number: u16, wanted: Wanted<'_>) -> Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).context("random numbers")?;
        let port = FIRST_PORT + number;
        let client = Client::new(Config {
            server: SocketAddr::from((SERVER, PORT)),
            transport: Transport::Udp,
            credentials: credentials(wanted.secret)?,
            profile: Profile::NICER,
            seed,
        });
        let address = SocketAddrV4::new(CLIENTS, port);
        let peer = SocketAddrV4::new(PEERS, port);
        Ok(Self { client, address, peer, mode: wanted.mode, ready: false })
    }

    fn transmit(&mut self, link: &mut Link) -> Result<()> {
        while let Some(message) = self.client.poll_transmit() {
            let frame = link.frame(self.address, SocketAddrV4::new(SERVER, PORT), message);
            link.send(&[&frame])?;
        }
        Ok(())
    }

    /// Takes the next step, or the last.
    fn advance(&mut self) -> Result<()> {
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Allocated { .. } => match self.mode {
                    Mode::Channel => {
                        self.client.bind_channel(Instant::now(), self.peer.into())?;
                    }
                    Mode::Indication => {
                        self.client.create_permission(Instant::now(), self.peer.into())?;
                    }
                },
                Event::ChannelBound { .. } => self.ready = true,
                Event::PermissionInstalled { .. } => self.ready |= self.mode == Mode::Indication,
                Event::Failed { operation, failure } => bail!("{operation:?}: {failure}"),
                other @ (Event::Mapped { .. }
                | Event::Refreshed { .. }
                | Event::Migrated { .. }
                | Event::Ended { .. }
                | Event::TryAlternate { .. }
                | Event::Icmp { .. }
                | Event::Connected { .. }
                | Event::ConnectionAttempt { .. }
                | Event::ConnectionBound { .. }) => bail!("not expected of the server: {other:?}"),
            }
        }
        Ok(())
    }

    fn flow(&mut self, size: usize, links: &[Link; 2]) -> Result<Flow> {
        let relayed = match self.client.relayed() {
            Some(SocketAddr::V4(relayed)) => relayed,
            other => bail!("not an IPv4 relayed address: {other:?}"),
        };
        let payload = vec![0; size];
        let mut message = vec![0; size + 128];
        let len = self.client.send(Instant::now(), self.peer.into(), &payload, &mut message)?;
        let [clients, peers] = links;
        let server = SocketAddrV4::new(SERVER, PORT);
        Ok(Flow {
            from_client: clients.frame(self.address, server, &message[..len]),
            from_peer: peers.frame(self.peer, relayed, &payload),
        })
    }
}

fn credentials(secret: &str) -> Result<Credentials> {
    let secret = Secret::from_file(secret.as_bytes()).context("the secret is empty")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let expires_at = UnixSeconds(now + CREDENTIAL_LIFETIME_SECONDS);
    let minted = TimeLimitedCredential::mint(&secret, "bench", expires_at);
    Ok(Credentials::new(minted.username, minted.password)?)
}
