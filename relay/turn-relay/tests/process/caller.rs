//! A client with an allocation, over any transport, and a peer that it talks with.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use dimpl::{Dtls, DtlsCertificate, Output};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider, pki_types::ServerName,
};
use turn_auth::{Secret, TimeLimitedCredential, UnixSeconds};
use turn_client::{Client, Config, Credentials, Event, Failure, FrameBuffer, Input, Profile};

use crate::{
    certificates::Certificate,
    relay::{Relay, SOON},
};

/// Lets clients reach the peers of these tests, which are on loopback.
pub(crate) const PEERS: &str = "peers: {allow: [127.0.0.2/32]}\n";

/// Where peers are: beside the relay, so that they are not at one of its own addresses.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A version of DTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DtlsVersion {
    V12,
    V13,
    /// Whichever the server speaks.
    Either,
}

/// How a client reaches the relay.
#[derive(Clone, Copy)]
pub(crate) enum Over {
    Udp(SocketAddr),
    Tcp(SocketAddr),
    Tls(SocketAddr, &'static SupportedProtocolVersion),
    Dtls(SocketAddr, DtlsVersion),
}

impl Over {
    pub(crate) const fn server(self) -> SocketAddr {
        match self {
            Self::Udp(server)
            | Self::Tcp(server)
            | Self::Tls(server, _)
            | Self::Dtls(server, _) => server,
        }
    }
}

trait ReadWrite: Read + Write {}

impl<S: Read + Write> ReadWrite for S {}

/// How long an answer over UDP is waited for before the question is asked again.
const RETRANSMISSION: Duration = Duration::from_secs(1);

enum Link {
    Udp(UdpSocket),
    Stream(Box<dyn ReadWrite>, FrameBuffer),
    Dtls(Box<DtlsLink>),
}

/// A TLS connection to the relay that believes a certificate, and nothing else.
pub(crate) fn tls(
    stream: TcpStream,
    certificate: &Certificate,
    version: &'static SupportedProtocolVersion,
    alpn: &[&[u8]],
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der.clone()).expect("a certificate");
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("turn.example.org").expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a client");
    StreamOwned::new(session, stream)
}

/// A TCP connection that does not wait for ever.
pub(crate) fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).expect("connected");
    stream.set_nodelay(true).expect("set");
    stream.set_read_timeout(Some(SOON)).expect("set");
    stream
}

/// DTLS over a socket.
pub(crate) struct DtlsLink {
    socket: UdpSocket,
    dtls: Dtls,
    due: Instant,
    messages: VecDeque<Vec<u8>>,
    /// The certificate that the server has shown, in DER.
    pub(crate) certificate: Option<Vec<u8>>,
    connected: bool,
    /// Whether the server has answered at all.
    answered: bool,
}

impl DtlsLink {
    /// Does the handshake.
    pub(crate) fn connect(server: SocketAddr, version: DtlsVersion) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(server).expect("connected");
        let key = aws_lc_rs::signature::EcdsaKeyPair::generate(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        );
        let key = key.and_then(|key| key.to_pkcs8v1()).expect("a key").as_ref().to_vec();
        let nobody = DtlsCertificate { certificate: vec![0], private_key: key };
        let config = Arc::new(dimpl::Config::builder().build().expect("a configuration"));
        let now = Instant::now();
        let mut dtls = match version {
            DtlsVersion::V12 => Dtls::new_12(config, nobody, now),
            DtlsVersion::V13 => Dtls::new_13(config, nobody, now),
            DtlsVersion::Either => Dtls::new_auto(config, nobody, now),
        };
        dtls.set_active(true);
        dtls.handle_timeout(now).expect("it starts");
        let (messages, certificate) = (VecDeque::new(), None);
        let (connected, answered) = (false, false);
        let mut link = Self { socket, dtls, due: now, messages, certificate, connected, answered };
        link.drain();
        let deadline = Instant::now() + SOON;
        while !link.connected {
            assert!(Instant::now() < deadline, "no DTLS in time");
            link.step();
        }
        link
    }

    fn step(&mut self) {
        let pause = self.due.saturating_duration_since(Instant::now());
        let pause = pause.clamp(Duration::from_millis(1), SOON);
        self.socket.set_read_timeout(Some(pause)).expect("set");
        let mut datagram = [0; 4096];
        let received = self.socket.recv(&mut datagram);
        self.dtls.handle_timeout(Instant::now()).expect("it goes on");
        // What the relay still sends to a client that had this port and has crashed is not encrypted
        // for this one: the library would take it for another protocol.
        let may_begin = matches!(datagram, [21 | 22, _, _, 0, 0, ..]);
        if let Ok(len) = received
            && (self.answered || may_begin)
        {
            self.answered = true;
            self.dtls.handle_packet(&datagram[..len]).expect("it goes on");
        }
        self.drain();
    }

    fn drain(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => drop(self.socket.send(packet).expect("sent")),
                Output::ApplicationData(message) => self.messages.push_back(message.to_vec()),
                Output::PeerCert(der) => self.certificate = Some(der.to_vec()),
                Output::Connected => self.connected = true,
                Output::Timeout(due) => {
                    self.due = due;
                    return;
                }
                Output::KeyingMaterial(..)
                | Output::BufferTooSmall { .. }
                | Output::CloseNotify
                | _ => {}
            }
        }
    }

    fn send(&mut self, message: &[u8]) {
        self.dtls.handle_timeout(Instant::now()).expect("it goes on");
        self.dtls.send_application_data(message).expect("sent");
        self.drain();
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            self.step();
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Says goodbye.
    pub(crate) fn close(mut self) {
        self.dtls.close().expect("open");
        self.drain();
    }
}

/// Where from, to look for it in logs.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(socket) => write!(f, "UDP from {:?}", socket.local_addr()),
            Self::Stream(..) => f.write_str("a stream"),
            Self::Dtls(link) => write!(f, "DTLS from {:?}", link.socket.local_addr()),
        }
    }
}

impl Link {
    fn open(relay: &Relay, over: Over) -> Self {
        match over {
            Over::Udp(server) => {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                socket.connect(server).expect("connected");
                socket.set_read_timeout(Some(RETRANSMISSION)).expect("set");
                Self::Udp(socket)
            }
            Over::Tcp(server) => Self::stream(connect(server)),
            Over::Tls(server, version) => {
                let alpn: [&[u8]; 1] = [b"stun.turn"];
                Self::stream(tls(connect(server), relay.certificate(), version, &alpn))
            }
            Over::Dtls(server, version) => {
                let link = DtlsLink::connect(server, version);
                assert_eq!(link.certificate.as_deref(), Some(&*relay.certificate().der));
                Self::Dtls(Box::new(link))
            }
        }
    }

    const fn transport(&self) -> turn_client::Transport {
        match self {
            Self::Udp(_) | Self::Dtls(_) => turn_client::Transport::Udp,
            Self::Stream(..) => turn_client::Transport::Stream,
        }
    }

    fn stream(stream: impl ReadWrite + 'static) -> Self {
        Self::Stream(Box::new(stream), FrameBuffer::new())
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(message).map(|_| ()),
            Self::Stream(stream, _) => stream.write_all(message).and_then(|()| stream.flush()),
            Self::Dtls(link) => {
                link.send(message);
                Ok(())
            }
        }
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 4096];
        match self {
            Self::Udp(socket) => {
                let len = socket.recv(&mut buffer)?;
                Ok(buffer[..len].to_vec())
            }
            Self::Stream(stream, frames) => loop {
                if let Some(frame) = frames.next_frame().map_err(io::Error::other)? {
                    return Ok(frame.to_vec());
                }
                match stream.read(&mut buffer)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    len => frames.push(&buffer[..len]),
                }
            },
            Self::Dtls(link) => link.receive(),
        }
    }
}

/// The five-tuple has an allocation already.
#[derive(Debug)]
struct Mismatch;

/// A client with an allocation and a permission, and its peer.
pub(crate) struct Caller {
    client: Client,
    link: Link,
    pub(crate) peer: UdpSocket,
    pub(crate) relayed: SocketAddr,
    /// The client's address as the relay sees it.
    pub(crate) mapped: SocketAddr,
    /// All messages that have come.
    seen: Vec<Vec<u8>>,
}

impl Caller {
    /// Allocates, with a credential of the secret `north`.
    pub(crate) fn allocate(relay: &Relay, over: Over, user: &str) -> Self {
        Self::allocate_as(relay, over, user, false)
    }

    /// The same, and it may move.
    pub(crate) fn allocate_mobile(relay: &Relay, over: Over, user: &str) -> Self {
        Self::allocate_as(relay, over, user, true)
    }

    fn allocate_as(relay: &Relay, over: Over, user: &str, mobile: bool) -> Self {
        let server = over.server();
        // The system may give the port of a client that has crashed, and whose allocation lives on,
        // to the next one: then another has to be tried (RFC 8656, section 7.4).
        let mut tries = (0..100).map(|_| Self::over(Link::open(relay, over), server, user, mobile));
        tries.find_map(Result::ok).expect("a port that nobody had")
    }

    /// The same, over a connection that stands already.
    pub(crate) fn allocate_on(stream: TcpStream, user: &str) -> Self {
        let server = stream.peer_addr().expect("connected");
        Self::over(Link::stream(stream), server, user, false).expect("a new connection")
    }

    /// The same, over TLS that stands already.
    pub(crate) fn allocate_on_tls(
        stream: StreamOwned<ClientConnection, TcpStream>,
        user: &str,
    ) -> Self {
        let server = stream.sock.peer_addr().expect("connected");
        Self::over(Link::stream(stream), server, user, false).expect("a new connection")
    }

    fn over(link: Link, server: SocketAddr, user: &str, mobile: bool) -> Result<Self, Mismatch> {
        let secret = Secret::from_file(b"north").expect("a secret");
        let minted = TimeLimitedCredential::mint(&secret, user, UnixSeconds(4_000_000_000));
        let client = Client::new(Config {
            server,
            transport: link.transport(),
            credentials: Credentials::new(minted.username, minted.password).expect("short"),
            profile: Profile::RFC,
            seed: rand::random(),
        });
        let peer = UdpSocket::bind((PEER, 0)).expect("a port of loopback");
        peer.set_read_timeout(Some(SOON)).expect("set");
        let nowhere = SocketAddr::new(PEER, 0);
        let mut caller =
            Self { client, link, peer, relayed: nowhere, mapped: nowhere, seen: Vec::new() };
        let asked = if mobile {
            caller.client.allocate_mobile(Instant::now(), None, None)
        } else {
            caller.client.allocate(Instant::now(), None, None)
        };
        asked.expect("none yet");
        let event = caller.next_event();
        if matches!(event, Event::Failed { failure: Failure::Refused { code: 437, .. }, .. }) {
            return Err(Mismatch);
        }
        let Event::Allocated { relayed, mapped, .. } = event else {
            panic!("no allocation: {event:?}")
        };
        (caller.relayed, caller.mapped) = (relayed, mapped);
        let peer = caller.peer.local_addr().expect("bound");
        caller.client.create_permission(Instant::now(), peer).expect("asked");
        assert!(matches!(caller.next_event(), Event::PermissionInstalled { .. }));
        Ok(caller)
    }

    /// Loses its connection, as between two networks.
    pub(crate) fn lose_connection(&mut self) {
        self.link = Link::Udp(UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    }

    /// Goes elsewhere, and has the allocation come too. `leaves` says whether it is gone from where
    /// it was before it is where it goes.
    pub(crate) fn migrate(&mut self, relay: &Relay, over: Over, leaves: bool) {
        let new = Link::open(relay, over);
        let transport = new.transport();
        let old = std::mem::replace(&mut self.link, new);
        let _kept = (!leaves).then_some(old);
        self.client.migrate(Instant::now(), over.server(), transport).expect("a ticket");
        let event = self.next_event();
        assert!(matches!(event, Event::Migrated { .. }), "{event:?}");
    }

    /// A datagram to the peer and one back.
    pub(crate) fn echo(&mut self) {
        let peer = self.peer.local_addr().expect("bound");
        self.send_to(peer, b"there");
        let mut received = [0; 100];
        let (len, from) = self.peer.recv_from(&mut received).expect("nothing is lost here");
        assert_eq!((&received[..len], from), (&b"there"[..], self.relayed));
        self.peer.send_to(b"and back", self.relayed).expect("sent");
        let message = self.receive();
        let input = self.client.handle_input(Instant::now(), &message);
        let Input::Data { peer: from, payload, .. } = input else {
            panic!("not a peer's datagram: {input:?}")
        };
        assert_eq!((from, payload), (peer, &b"and back"[..]));
    }

    /// Sends a datagram to a peer.
    pub(crate) fn send_to(&mut self, peer: SocketAddr, payload: &[u8]) {
        let mut message = [0; 2048];
        let len = self.client.send(Instant::now(), peer, payload, &mut message);
        self.link.send(&message[..len.expect("permitted")]).expect("sent");
    }

    /// As the peer: sends so many datagrams of a length to the client, which does not read.
    pub(crate) fn flood(&self, count: usize, len: usize) {
        let payload = vec![0x5A; len];
        for _ in 0..count {
            self.peer.send_to(&payload, self.relayed).expect("sent");
        }
    }

    /// Takes what has come of a flood until an answer comes: how many datagrams there were, each of
    /// them whole.
    pub(crate) fn take_flood(&mut self, len: usize) -> usize {
        self.client.refresh(Instant::now(), Some(600)).expect("there is an allocation");
        let mut count = 0;
        loop {
            self.transmit();
            if let Some(event) = self.client.poll_event() {
                assert!(matches!(event, Event::Refreshed { .. }), "{event:?}");
                return count;
            }
            let message = self.link.receive().expect("an answer");
            if let Input::Data { payload, .. } = self.client.handle_input(Instant::now(), &message)
            {
                assert_eq!(payload, vec![0x5A; len]);
                count += 1;
            }
        }
    }

    /// Sends a numbered datagram to the peer.
    pub(crate) fn send_number(&mut self, number: u32) {
        let peer = self.peer.local_addr().expect("bound");
        self.send_to(peer, &number.to_be_bytes());
    }

    /// As the peer: takes the datagram of a number, and sends one back.
    pub(crate) fn answer_number(&self, number: u32) {
        let mut received = [0; 100];
        let (len, from) = self.peer.recv_from(&mut received).expect("nothing is lost here");
        assert_eq!((&received[..len], from), (&number.to_be_bytes()[..], self.relayed));
        self.peer.send_to(&number.to_be_bytes(), self.relayed).expect("sent");
    }

    /// Takes what the peer has sent back.
    pub(crate) fn receive_number(&mut self, number: u32) {
        let message = self.receive();
        let input = self.client.handle_input(Instant::now(), &message);
        let Input::Data { payload, .. } = input else { panic!("not a peer's datagram: {input:?}") };
        assert_eq!(payload, number.to_be_bytes());
    }

    /// A datagram to the peer.
    pub(crate) fn send_on(&mut self) {
        let peer = self.peer.local_addr().expect("bound");
        self.send_to(peer, b"on");
        let mut received = [0; 100];
        let (len, from) = self.peer.recv_from(&mut received).expect("nothing is lost here");
        assert_eq!((&received[..len], from), (&b"on"[..], self.relayed));
    }

    /// The client's socket, over UDP.
    pub(crate) fn socket(&self) -> UdpSocket {
        let Link::Udp(socket) = &self.link else { panic!("not over UDP") };
        socket.try_clone().expect("a descriptor")
    }

    /// Ends the connection or association.
    pub(crate) fn hang_up(self) {
        match self.link {
            Link::Dtls(link) => link.close(),
            Link::Udp(_) | Link::Stream(..) => {}
        }
    }

    /// Ends the allocation.
    pub(crate) fn leave(mut self) {
        self.client.refresh(Instant::now(), Some(0)).expect("there is an allocation");
        let event = self.next_event();
        assert!(matches!(event, Event::Ended { .. }), "{event:?}");
    }

    /// Refreshes the allocation.
    pub(crate) fn refresh(&mut self) {
        self.client.refresh(Instant::now(), Some(600)).expect("there is an allocation");
        assert!(matches!(self.next_event(), Event::Refreshed { .. }));
    }

    /// Talks with the relay until something comes of it.
    pub(crate) fn next_event(&mut self) -> Event {
        loop {
            while let Some(message) = self.client.poll_transmit() {
                let message = message.to_vec();
                self.link.send(&message).expect("sent");
            }
            if let Some(event) = self.client.poll_event() {
                return event;
            }
            let message = self.receive();
            self.client.handle_input(Instant::now(), &message);
        }
    }

    fn transmit(&mut self) {
        while let Some(message) = self.client.poll_transmit() {
            let message = message.to_vec();
            self.link.send(&message).expect("sent");
        }
    }

    fn receive(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + SOON;
        loop {
            match self.link.receive() {
                Ok(message) => {
                    self.seen.push(message.clone());
                    return message;
                }
                // A crowd behind one address may exceed what strangers are answered: as all clients
                // do, it asks again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(Instant::now() < deadline, "no answer over {}", self.link);
                    self.client.handle_timeout(Instant::now());
                    self.transmit();
                }
                Err(error) => panic!("{error} over {}", self.link),
            }
        }
    }

    /// Whether the relay has ended the connection.
    pub(crate) fn is_ended(&mut self) -> bool {
        self.link.receive().is_err()
    }

    /// Whether a message that has come holds a text.
    pub(crate) fn has_seen(&self, text: &str) -> bool {
        let holds =
            |message: &Vec<u8>| message.windows(text.len()).any(|window| window == text.as_bytes());
        self.seen.iter().any(holds)
    }
}
