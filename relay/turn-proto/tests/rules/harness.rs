//! A server core, a client's hand on it, and a clock that a test moves.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use turn_auth::{
    Credentials, LongTermKey, PasswordAlgorithm, Secret, TimeLimitedCredential, UnixSeconds,
};
use turn_proto::{
    ClientAddr, Command, DropReason, EndReason, FiveTuple, Ledger, Limits, Now, OpenError,
    PeerAddr, PeerConnectionId, PeerPolicy, PeerVerdict, PortRange, Rate, Refusal, RelayAddress,
    RelayedAddr, RelayedId, Server, Settings, Shard, Transport, Verdict,
};
use turn_wire::{
    Attribute, ChannelData, ChannelNumber, Class, ErrorCode, Message, MessageWriter, Method,
    TransactionId,
    attribute::{
        Channel, Data, Lifetime, Nonce, Realm, RequestedTransport, Username, XorPeerAddress,
        XorRelayedAddress,
    },
};

/// The realm of all tests.
pub(crate) const REALM: &str = "example.org";

/// The wall clock at the start of each test.
pub(crate) const EPOCH: UnixSeconds = UnixSeconds(1_700_000_000);

/// An address from text.
pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The server, with all that surrounds it.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) settings: Settings,
    pub(crate) now: Now,
    /// How many of the next relayed sockets are not to be had.
    pub(crate) taken_ports: u32,
    pub(crate) open: Vec<(RelayedId, SocketAddr)>,
    pub(crate) closed: Vec<EndReason>,
    /// Connections to peers that the shell was told to make, and has not yet.
    pub(crate) connecting: Vec<(PeerConnectionId, SocketAddr)>,
    /// Connections to peers that it was told to close.
    pub(crate) closed_connections: Vec<PeerConnectionId>,
    /// Answers that came when time passed.
    pub(crate) late: Vec<Answer>,
    transactions: u8,
}

/// What a client signs with.
#[derive(Clone)]
pub(crate) struct Signing {
    pub(crate) username: String,
    pub(crate) key: LongTermKey,
    pub(crate) nonce: Vec<u8>,
}

/// An answer, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Answer(pub(crate) Vec<u8>);

impl Answer {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::decode(&self.0).expect("a well-formed answer")
    }

    /// Zero for a success.
    pub(crate) fn code(&self) -> u16 {
        let message = self.message();
        match message.class() {
            Class::Success => 0,
            Class::Error => {
                message.get::<ErrorCode<'_>>().expect("well-formed").expect("a code").code
            }
            class @ (Class::Request | Class::Indication) => panic!("{class:?} is no answer"),
        }
    }

    pub(crate) fn get<'a, A: Attribute<'a>>(&'a self) -> Option<A> {
        self.message().get::<A>().expect("well-formed")
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A server with settings that differ from the usual ones.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let range = PortRange { from: 61_000, to: 61_063 };
        Self::made(&["198.51.100.1", "2001:db8::1"], range, change)
    }

    /// A server on addresses and ports that differ from the usual ones.
    pub(crate) fn on(addresses: &[&str], range: PortRange) -> Self {
        Self::made(addresses, range, |_| {})
    }

    fn made(addresses: &[&str], range: PortRange, change: impl FnOnce(&mut Settings)) -> Self {
        let own = |text: &&str| {
            let local: IpAddr = text.parse().expect("an address");
            RelayAddress { local, external: local }
        };
        let addresses: Vec<_> = addresses.iter().map(own).collect();
        let mut settings = Settings::new(
            credentials(&["north"]),
            PeerPolicy {
                own: addresses.iter().map(|own| own.local).collect(),
                own_listener_ports: vec![3478],
                own_stream_ports: vec![3478, 9478],
                ..PeerPolicy::default()
            },
            Limits {
                allocations_per_user: 4,
                allocations: 8,
                permissions_per_allocation: 4,
                channels_per_allocation: 4,
                unauthenticated_replies_per_second_per_prefix: 1000,
                new_peers_per_second: 100,
                allocation_rate: Rate::default(),
                user_rate: Rate::default(),
                relay_rate: Rate::default(),
            },
        );
        change(&mut settings);
        #[expect(clippy::disallowed_methods, reason = "any instant will do for a test's start")]
        let start = Instant::now();
        let ledger = Arc::new(Ledger::new(addresses, range, 1, start));
        let shard = Shard { number: 0, ledger: Arc::clone(&ledger), seed: [1; 32], start };
        Self {
            server: Server::new(Arc::new(settings.clone()), shard),
            ledger,
            settings,
            now: Now { instant: start, unix: EPOCH },
            taken_ports: 0,
            open: Vec::new(),
            closed: Vec::new(),
            connecting: Vec::new(),
            closed_connections: Vec::new(),
            late: Vec::new(),
            transactions: 0,
        }
    }

    /// Takes changed settings, as a reload does.
    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.server.apply(Arc::new(self.settings.clone()));
    }

    /// Lets time pass, on both clocks.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.pass_millis(seconds * 1000);
    }

    /// The same, finer.
    pub(crate) fn pass_millis(&mut self, millis: u64) {
        let until = self.now.instant + Duration::from_millis(millis);
        self.now.unix.0 += millis / 1000;
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= until) {
            self.server.handle_timeout(due);
            self.obey();
        }
        self.now.instant = until;
    }

    /// Hands bytes to the server, and carries out what it wants.
    pub(crate) fn deliver(&mut self, from: &FiveTuple, bytes: &[u8]) -> (Verdict, Vec<u8>) {
        let mut out = vec![0; Server::ANSWER_LEN];
        let mut verdict = self.server.handle_client(self.now, from, bytes, &mut out);
        while verdict == Verdict::Opening {
            let (relayed, local) = match self.server.poll_command() {
                Some(Command::Open { relayed, local } | Command::Listen { relayed, local }) => {
                    (relayed, local)
                }
                Some(Command::Connect { connection, peer, .. }) => {
                    self.connecting.push((connection, peer.0));
                    return (verdict, out);
                }
                other => panic!("opening, but no command to open: {other:?}"),
            };
            let opened = if self.taken_ports > 0 {
                self.taken_ports -= 1;
                Err(OpenError::PortTaken)
            } else {
                self.open.push((relayed, local));
                Ok(())
            };
            verdict = self.server.handle_opened(self.now, relayed, opened, &mut out);
        }
        if verdict == Verdict::Moving {
            verdict = self.move_here(&mut out);
        }
        self.obey();
        if let Verdict::Respond { len }
        | Verdict::RespondFrom { len, .. }
        | Verdict::Bind { len, .. } = verdict
        {
            out.truncate(len);
        }
        (verdict, out)
    }

    /// Carries an allocation to where its client is.
    fn move_here(&mut self, out: &mut [u8]) -> Verdict {
        let (_, wanted) = self.server.poll_move().expect("something wanted");
        let arrival = self.server.depart(wanted);
        let gone: Vec<_> = arrival.departed().into_iter().flat_map(|gone| gone.relayed()).collect();
        let (id, len) = self.server.arrive(self.now, arrival, out);
        for (open, _) in self.open.iter_mut().filter(|(open, _)| gone.contains(open)) {
            open.allocation = id.expect("what has gone has come");
        }
        Verdict::Respond { len }
    }

    /// A connection to a peer is there, or is not to be had: what the client is told.
    pub(crate) fn connected(&mut self, id: PeerConnectionId, connected: bool) -> Answer {
        let mut out = vec![0; Server::ANSWER_LEN];
        let verdict = self.server.handle_connected(self.now, id, connected, &mut out);
        let Verdict::Respond { len } = verdict else { panic!("no answer: {verdict:?}") };
        out.truncate(len);
        Answer(out)
    }

    pub(crate) fn obey(&mut self) {
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::Close { relayed, reason, .. } => {
                    self.open.retain(|(open, _)| *open != relayed);
                    self.closed.push(reason);
                }
                Command::CloseConnection { connection } => {
                    self.connecting.retain(|(id, _)| *id != connection);
                    self.closed_connections.push(connection);
                }
                Command::AbortConnect { connection } => {
                    self.connecting.retain(|(id, _)| *id != connection);
                    let answer = self.connected(connection, false);
                    self.late.push(answer);
                }
                Command::Open { .. } | Command::Listen { .. } | Command::Connect { .. } => {
                    panic!("a socket is to be opened, but for whom?")
                }
            }
        }
    }

    /// Hands a request to the server, which has to answer it.
    pub(crate) fn ask(&mut self, from: &FiveTuple, bytes: &[u8]) -> Answer {
        match self.deliver(from, bytes) {
            (Verdict::Respond { .. }, out) => Answer(out),
            (verdict, _) => panic!("no answer: {verdict:?}"),
        }
    }

    /// Hands something to the server, which has to drop it.
    pub(crate) fn dropped(&mut self, from: &FiveTuple, bytes: &[u8]) -> DropReason {
        match self.deliver(from, bytes).0 {
            Verdict::Drop(reason) => reason,
            verdict @ (Verdict::ToPeer { .. }
            | Verdict::Respond { .. }
            | Verdict::RespondFrom { .. }
            | Verdict::Bind { .. }
            | Verdict::Moving
            | Verdict::Opening) => {
                panic!("not dropped: {verdict:?}")
            }
        }
    }

    pub(crate) fn transaction(&mut self) -> TransactionId {
        self.transactions += 1;
        TransactionId([self.transactions; 12])
    }

    /// An unsigned request.
    pub(crate) fn bare(
        &mut self,
        method: Method,
        body: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
    ) -> Vec<u8> {
        let transaction = self.transaction();
        write(Class::Request, method, transaction, body)
    }

    /// A signed request.
    pub(crate) fn signed(
        &mut self,
        signing: &Signing,
        method: Method,
        body: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
    ) -> Vec<u8> {
        let transaction = self.transaction();
        sign(transaction, signing, method, body)
    }

    /// Gets what a client needs to sign: credentials of a user, and a nonce.
    pub(crate) fn signing(&mut self, from: &FiveTuple, user: &str) -> Signing {
        let expiry = UnixSeconds(self.now.unix.0 + 86_400);
        self.signing_with(from, "north", user, expiry)
    }

    pub(crate) fn signing_with(
        &mut self,
        from: &FiveTuple,
        secret: &str,
        user: &str,
        expiry: UnixSeconds,
    ) -> Signing {
        let secret = Secret::from_file(secret.as_bytes()).expect("a secret");
        self.signing_as(from, TimeLimitedCredential::mint(&secret, user, expiry))
    }

    /// Gets what a prober needs to sign.
    pub(crate) fn signing_of_probe(&mut self, from: &FiveTuple, label: &str) -> Signing {
        let expiry = UnixSeconds(self.now.unix.0 + 300);
        let secret = Secret::from_file(b"north").expect("a secret");
        self.signing_as(from, TimeLimitedCredential::mint_for_probe(&secret, label, expiry))
    }

    fn signing_as(&mut self, from: &FiveTuple, minted: TimeLimitedCredential) -> Signing {
        let (name, password) = (minted.username.as_bytes(), minted.password.as_bytes());
        let key = LongTermKey::derive(PasswordAlgorithm::Md5, name, REALM.as_bytes(), password);
        let request = self.bare(Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
        let challenge = self.ask(from, &request);
        assert_eq!(challenge.code(), 401);
        let nonce = challenge.get::<Nonce<'_>>().expect("a nonce").0.to_vec();
        Signing { username: minted.username, key, nonce }
    }

    /// Makes an allocation, which has to succeed.
    pub(crate) fn allocate(&mut self, from: &FiveTuple, user: &str) -> (Signing, RelayedAddr) {
        let signing = self.signing(from, user);
        let request =
            self.signed(&signing, Method::ALLOCATE, |writer| writer.put(&RequestedTransport::UDP));
        let answer = self.ask(from, &request);
        assert_eq!(answer.code(), 0);
        let relayed = answer.get::<XorRelayedAddress>().expect("a relayed address");
        (signing, RelayedAddr(relayed.0))
    }

    pub(crate) fn refresh(
        &mut self,
        from: &FiveTuple,
        signing: &Signing,
        lifetime: Option<u32>,
    ) -> Answer {
        let request = self.signed(signing, Method::REFRESH, |writer| {
            writer.put_some(lifetime.map(Lifetime).as_ref())
        });
        self.ask(from, &request)
    }

    pub(crate) fn permit(&mut self, from: &FiveTuple, signing: &Signing, peers: &[&str]) -> u16 {
        let request = self.signed(signing, Method::CREATE_PERMISSION, |writer| {
            peers.iter().fold(writer, |writer, peer| writer.put(&XorPeerAddress(addr(peer))))
        });
        self.ask(from, &request).code()
    }

    pub(crate) fn bind(
        &mut self,
        from: &FiveTuple,
        signing: &Signing,
        channel: u16,
        peer: &str,
    ) -> u16 {
        let channel = ChannelNumber::new(channel).expect("a channel");
        let request = self.signed(signing, Method::CHANNEL_BIND, |writer| {
            writer.put(&Channel(channel)).put(&XorPeerAddress(addr(peer)))
        });
        self.ask(from, &request).code()
    }

    /// Sends data to a peer by a Send indication: what became of it.
    pub(crate) fn send(&mut self, from: &FiveTuple, peer: &str, data: &[u8]) -> Sent {
        let bytes = send_indication(peer, data);
        self.sent(from, &bytes)
    }

    /// Sends data on a channel.
    pub(crate) fn send_on(&mut self, from: &FiveTuple, channel: u16, data: &[u8]) -> Sent {
        let bytes = channel_data(channel, data);
        self.sent(from, &bytes)
    }

    fn sent(&mut self, from: &FiveTuple, bytes: &[u8]) -> Sent {
        match self.deliver(from, bytes).0 {
            Verdict::ToPeer { peer: PeerAddr(peer), payload, .. } => {
                Sent::To(peer, bytes[payload].to_vec())
            }
            Verdict::Drop(reason) => Sent::Dropped(reason),
            verdict @ (Verdict::Respond { .. }
            | Verdict::RespondFrom { .. }
            | Verdict::Bind { .. }
            | Verdict::Moving
            | Verdict::Opening) => {
                panic!("neither sent nor dropped: {verdict:?}")
            }
        }
    }

    /// A peer sends data to a relayed address: what the client gets.
    pub(crate) fn arrive(&mut self, to: RelayedAddr, peer: &str, data: &[u8]) -> Got {
        let (id, _) =
            *self.open.iter().find(|(_, local)| *local == to.0).expect("an open relayed socket");
        let mut head = [0; Server::HEAD_LEN];
        let from = PeerAddr(addr(peer));
        match self.server.handle_peer(self.now.instant, id, from, data.len(), &mut head) {
            PeerVerdict::ToClient { five_tuple, head_len, padding } => {
                let mut bytes = head[Server::HEAD_LEN - head_len..].to_vec();
                bytes.extend_from_slice(data);
                bytes.resize(bytes.len() + padding, 0);
                Got::Bytes(five_tuple, bytes)
            }
            PeerVerdict::Drop(reason) => Got::Dropped(reason),
        }
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.server.counters().drops[reason as usize]
    }

    pub(crate) fn refusals(&self, refusal: Refusal) -> u64 {
        self.server.counters().refusals[refusal as usize]
    }
}

/// What became of data towards a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    To(SocketAddr, Vec<u8>),
    Dropped(DropReason),
}

/// What became of data towards a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    Bytes(FiveTuple, Vec<u8>),
    Dropped(DropReason),
}

impl Got {
    /// The peer and the data of a Data indication.
    pub(crate) fn indication(&self) -> (SocketAddr, Vec<u8>) {
        let Self::Bytes(_, bytes) = self else { panic!("{self:?}") };
        let message = Message::decode(bytes).expect("a message");
        assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
        let peer = message.get::<XorPeerAddress>().expect("well-formed").expect("a peer");
        let data = message.get::<Data<'_>>().expect("well-formed").expect("data");
        (peer.0, data.0.to_vec())
    }

    /// The channel and the data of a ChannelData message.
    pub(crate) fn channel_data(&self) -> (u16, Vec<u8>) {
        let Self::Bytes(_, bytes) = self else { panic!("{self:?}") };
        let message = ChannelData::decode(bytes).expect("a message");
        (message.channel.number(), message.data.to_vec())
    }
}

/// A client's five-tuple over UDP.
pub(crate) fn udp(client: &str) -> FiveTuple {
    let client = addr(client);
    let server = if client.is_ipv4() { "198.51.100.1:3478" } else { "[2001:db8::1]:3478" };
    FiveTuple { client: ClientAddr(client), server: addr(server), transport: Transport::Udp }
}

/// A client's five-tuple over TCP.
pub(crate) fn tcp(client: &str) -> FiveTuple {
    FiveTuple { transport: Transport::Tcp, ..udp(client) }
}

/// The credentials of some secrets, and of the static user `bob` with the password `pass`.
pub(crate) fn credentials(secrets: &[&str]) -> Credentials {
    let secret = |text: &str| Secret::from_file(text.as_bytes()).expect("a secret");
    let password = secret("pass");
    let secrets = secrets.iter().map(|text| secret(text)).collect();
    Credentials::new(REALM, secrets, [("bob", &password)])
}

pub(crate) fn write(
    class: Class,
    method: Method,
    transaction: TransactionId,
    body: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
) -> Vec<u8> {
    let mut buffer = vec![0; 4096];
    let writer = MessageWriter::new(&mut buffer, class, method, transaction);
    let len = body(writer).finish().expect("room");
    buffer.truncate(len);
    buffer
}

pub(crate) fn sign(
    transaction: TransactionId,
    signing: &Signing,
    method: Method,
    body: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
) -> Vec<u8> {
    write(Class::Request, method, transaction, |writer| {
        body(writer)
            .put(&Username(signing.username.as_bytes()))
            .put(&Realm(REALM.as_bytes()))
            .put(&Nonce(&signing.nonce))
            .put_integrity(signing.key.as_bytes())
    })
}

pub(crate) fn send_indication(peer: &str, data: &[u8]) -> Vec<u8> {
    write(Class::Indication, Method::SEND, TransactionId([9; 12]), |writer| {
        writer.put(&XorPeerAddress(addr(peer))).put(&Data(data))
    })
}

pub(crate) fn channel_data(channel: u16, data: &[u8]) -> Vec<u8> {
    let channel = ChannelNumber::new(channel).expect("a channel");
    let len = u16::try_from(data.len()).expect("not too long");
    [&ChannelData::header(channel, len)[..], data].concat()
}
