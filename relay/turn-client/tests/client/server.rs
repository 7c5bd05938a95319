//! A server as good as a client needs one, made of the codec alone; and what drives both.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use turn_client::{Client, Config, Credentials, Event, Input, Profile, Transport};
use turn_wire::{
    Class, ErrorCode, Message, MessageWriter, Method, TransactionId,
    attribute::{
        ConnectionId, Lifetime, Nonce, Realm, RequestedTransport, Username, XorMappedAddress,
        XorRelayedAddress,
    },
};

/// MD5 over `user:example.org:secret`.
pub(crate) const KEY: [u8; 16] = [
    0xa9, 0x83, 0x2f, 0xed, 0x4a, 0x75, 0x67, 0xb4, 0x0e, 0x43, 0x44, 0x3f, 0x9f, 0x30, 0xc2, 0x72,
];

/// What each connection to a peer is called.
pub(crate) const CONNECTION: ConnectionId = ConnectionId(0x1234_5678);

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(crate) fn relayed() -> SocketAddr {
    address("198.51.100.7:61000")
}

pub(crate) fn mapped() -> SocketAddr {
    address("203.0.113.9:40000")
}

pub(crate) fn peer() -> SocketAddr {
    address("192.0.2.55:7000")
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn config(profile: Profile) -> Config {
    Config {
        server: address("198.51.100.7:3478"),
        transport: Transport::Udp,
        credentials: Credentials::new("user", "secret").expect("it is short"),
        profile,
        seed: [7; 32],
    }
}

/// What the server knows and has seen.
pub(crate) struct Server {
    pub(crate) nonce: Vec<u8>,
    pub(crate) lifetime_seconds: u32,
    /// The methods of all requests, in their order.
    pub(crate) seen: Vec<Method>,
    /// Answers each signed request with this error instead.
    pub(crate) refuse: Option<u16>,
    /// What Allocate has to ask for.
    pub(crate) relays: RequestedTransport,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self {
            nonce: b"first".to_vec(),
            lifetime_seconds: 600,
            seen: Vec::new(),
            refuse: None,
            relays: RequestedTransport::UDP,
        }
    }

    /// The answer to a request.
    pub(crate) fn respond(&mut self, bytes: &[u8]) -> Vec<u8> {
        let request = Message::decode(bytes).expect("the client writes messages");
        assert_eq!(request.class(), Class::Request);
        self.seen.push(request.method());
        if request.method() == Method::BINDING {
            return write(&request, Class::Success, |writer| {
                writer.put(&XorMappedAddress(mapped()))
            });
        }
        if !request.has_integrity() {
            return self.challenge(&request, 401);
        }
        assert!(request.verify_integrity(&KEY), "the request is signed with the user's key");
        assert_eq!(request.get(), Ok(Some(Username(b"user"))));
        assert_eq!(request.get(), Ok(Some(Realm(b"example.org"))));
        if request.get() != Ok(Some(Nonce(&self.nonce))) {
            return self.challenge(&request, 438);
        }
        if let Some(code) = self.refuse {
            let error = ErrorCode { code, reason: b"no\n" };
            return write(&request, Class::Error, |writer| writer.put(&error).put_integrity(&KEY));
        }
        self.succeed(&request)
    }

    pub(crate) fn challenge(&self, request: &Message<'_>, code: u16) -> Vec<u8> {
        write(request, Class::Error, |writer| {
            writer
                .put(&ErrorCode { code, reason: b"" })
                .put(&Realm(b"example.org"))
                .put(&Nonce(&self.nonce))
        })
    }

    fn succeed(&self, request: &Message<'_>) -> Vec<u8> {
        write(request, Class::Success, |writer| {
            let writer = match request.method() {
                Method::ALLOCATE => {
                    let wanted = self.relays;
                    assert_eq!(request.get(), Ok(Some(wanted)));
                    writer
                        .put(&XorRelayedAddress(relayed()))
                        .put(&XorMappedAddress(mapped()))
                        .put(&Lifetime(self.lifetime_seconds))
                }
                Method::REFRESH => {
                    let asked = request.get::<Lifetime>().expect("it is no lifetime");
                    writer.put(&asked.unwrap_or(Lifetime(self.lifetime_seconds)))
                }
                Method::CONNECT => writer.put(&CONNECTION),
                Method::CONNECTION_BIND => {
                    assert_eq!(request.get(), Ok(Some(CONNECTION)));
                    writer
                }
                _ => writer,
            };
            writer.put_integrity(&KEY)
        })
    }
}

/// Writes an answer.
pub(crate) fn write(
    request: &Message<'_>,
    class: Class,
    fill: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
) -> Vec<u8> {
    written(class, request.method(), request.transaction_id(), fill)
}

/// Writes a message.
pub(crate) fn written(
    class: Class,
    method: Method,
    id: TransactionId,
    fill: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
) -> Vec<u8> {
    let mut buffer = vec![0; 2_048];
    let len = fill(MessageWriter::new(&mut buffer, class, method, id)).finish().expect("it fits");
    buffer.truncate(len);
    buffer
}

/// Everything that the client sends now.
pub(crate) fn sent(client: &mut Client) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| client.poll_transmit().map(<[u8]>::to_vec)).collect()
}

/// Everything that has happened.
pub(crate) fn events(client: &mut Client) -> Vec<Event> {
    std::iter::from_fn(|| client.poll_event()).collect()
}

/// Carries requests and answers to and fro, until both are silent.
pub(crate) fn exchange(client: &mut Client, server: &mut Server, now: Instant) {
    loop {
        let requests = sent(client);
        if requests.is_empty() {
            return;
        }
        for request in requests {
            let answer = server.respond(&request);
            assert_eq!(client.handle_input(now, &answer), Input::Handled);
        }
    }
}

/// Lets the time pass up to `until`, stopping wherever the client wants to.
pub(crate) fn pass(client: &mut Client, server: &mut Server, until: Instant) {
    while let Some(at) = client.poll_timeout().filter(|at| *at <= until) {
        client.handle_timeout(at);
        exchange(client, server, at);
    }
}

/// A client with an allocation.
pub(crate) fn allocated(profile: Profile, server: &mut Server, now: Instant) -> Client {
    let mut client = Client::new(config(profile));
    client.allocate(now, None, None).expect("there is none yet");
    exchange(&mut client, server, now);
    let lifetime_seconds = server.lifetime_seconds;
    let expected = Event::Allocated { relayed: relayed(), mapped: mapped(), lifetime_seconds };
    assert_eq!(events(&mut client), [expected]);
    client
}
