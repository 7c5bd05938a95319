//! A relay in one struct, as good or as bad as a test wants it.

use std::{collections::HashMap, net::SocketAddr};

use md5::{Digest, Md5};
use turn_wire::{
    ChannelData, ChannelNumber, Class, ErrorCode, Kind, Message, MessageWriter, Method,
    TransactionId,
    attribute::{
        Channel, Data, Lifetime, Nonce, Realm, RelayPort, XorMappedAddress, XorPeerAddress,
        XorRelayedAddress,
    },
    kind, padded,
};

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// It answers nothing.
    Silent,
    /// It answers Binding, and nothing else.
    SilentToAllocate,
    /// It refuses the second allocation.
    OneAllocation,
    /// It relays nothing.
    NeverRelays,
    /// It relays from the first client only.
    RelaysOneWay,
    /// It relays something else.
    ChangesPayload,
    /// It relays what it has relayed to somebody else before, as a cache would.
    RepeatsYesterday,
    /// The same of what comes through its relay ports from elsewhere.
    RepeatsYesterdayIn,
    /// The same of what it sends elsewhere.
    RepeatsYesterdayOut,
    /// It relays from another port than it says.
    TranslatesPort,
    /// It relays nothing that came through a channel.
    NoChannelData,
    /// It never sends through channels.
    IndicationsOnly,
    /// It loses some datagrams.
    Lossy,
    /// Nothing long comes through.
    DropsLong,
    /// Nothing comes through its relay ports from elsewhere.
    ClosedToOutside,
    /// The same through its second relay port only, or its first one.
    SecondClosedToOutside,
    FirstClosedToOutside,
    /// It sends nothing elsewhere.
    SendsNothingOut,
    /// The same from its second relay port only.
    SecondSendsNothingOut,
    /// Its rules deny peers elsewhere.
    DeniesOutside,
}

/// One client, as the relay knows it.
#[derive(Default)]
struct Allocation {
    relayed: Option<SocketAddr>,
    channels: HashMap<u16, SocketAddr>,
}

pub(crate) struct Relay {
    flaw: Flaw,
    key: [u8; 16],
    /// By the client's address.
    clients: HashMap<SocketAddr, Allocation>,
    allocated: u16,
    relayed_datagrams: u32,
    /// How many allocations were ended by their client.
    pub(crate) released: usize,
}

impl Relay {
    pub(crate) fn new(flaw: Flaw) -> Self {
        let key = Md5::digest("prober:example.org:secret").into();
        Self { flaw, key, clients: HashMap::new(), allocated: 0, relayed_datagrams: 0, released: 0 }
    }

    /// How many allocations there are.
    pub(crate) fn allocations(&self) -> usize {
        self.clients.values().filter(|client| client.relayed.is_some()).count()
    }

    /// What a message leads to: messages to clients.
    pub(crate) fn handle(&mut self, from: SocketAddr, bytes: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        if self.flaw == Flaw::Silent {
            return Vec::new();
        }
        if kind(bytes) == Kind::ChannelData {
            let message = ChannelData::decode(bytes).expect("the probe writes messages");
            let number = message.channel.number();
            let peer = self.clients.get(&from).and_then(|client| client.channels.get(&number));
            let Some(peer) = peer.copied().filter(|_| self.flaw != Flaw::NoChannelData) else {
                return Vec::new();
            };
            return self.relay(from, peer, message.data);
        }
        let message = Message::decode(bytes).expect("the probe writes messages");
        assert!(message.class() == Class::Indication || message.has_fingerprint());
        if message.method() == Method::SEND {
            let Ok(Some(XorPeerAddress(peer))) = message.get() else { return Vec::new() };
            let Ok(Some(Data(payload))) = message.get() else { return Vec::new() };
            return self.relay(from, peer, payload);
        }
        self.answer(from, &message).map(|answer| (from, answer)).into_iter().collect()
    }

    /// What a datagram from elsewhere to a relayed address leads to.
    pub(crate) fn handle_peer(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> Option<(SocketAddr, Vec<u8>)> {
        let is_closed = self.flaw == Flaw::ClosedToOutside
            || self.flaw == Flaw::FirstClosedToOutside && to.port() == 61_000
            || self.flaw == Flaw::SecondClosedToOutside && to.port() == 61_001;
        let client = self.clients.iter().find(|(_, client)| client.relayed == Some(to));
        let (client, _) = client.filter(|_| !is_closed)?;
        let repeats = self.flaw == Flaw::RepeatsYesterdayIn;
        let payload = if repeats { &yesterday(payload) } else { payload };
        Some((*client, indication(from, payload)))
    }

    /// What a message of a client sends elsewhere: from which relayed address, to whom, and what.
    pub(crate) fn sent_out(
        &self,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let message = Message::decode(bytes).ok().filter(|found| found.method() == Method::SEND)?;
        let XorPeerAddress(peer) = message.get().ok()??;
        let Data(payload) = message.get().ok()??;
        let relayed = self.clients.get(&from)?.relayed?;
        let is_dropped = self.flaw == Flaw::SendsNothingOut
            || self.flaw == Flaw::SecondSendsNothingOut && relayed.port() == 61_001;
        let is_elsewhere = peer.ip() != relayed.ip() && !is_dropped;
        let repeats = self.flaw == Flaw::RepeatsYesterdayOut;
        let payload = if repeats { yesterday(payload) } else { payload.to_vec() };
        is_elsewhere.then_some((relayed, peer, payload))
    }

    fn answer(&mut self, from: SocketAddr, request: &Message<'_>) -> Option<Vec<u8>> {
        if request.method() == Method::BINDING {
            return Some(write(request, Class::Success, None, |writer| {
                writer.put(&XorMappedAddress(from))
            }));
        }
        if self.flaw == Flaw::SilentToAllocate {
            return None;
        }
        if !request.verify_integrity(&self.key) {
            let challenge = ErrorCode { code: 401, reason: b"" };
            return Some(write(request, Class::Error, None, |writer| {
                writer.put(&challenge).put(&Realm(b"example.org")).put(&Nonce(b"nonce"))
            }));
        }
        let key = Some(self.key);
        match self.apply(from, request) {
            Ok(()) => {
                let relayed = self.clients[&from].relayed.map(XorRelayedAddress);
                let lifetime = request.get::<Lifetime>().ok().flatten().unwrap_or(Lifetime(600));
                Some(write(request, Class::Success, key, |writer| {
                    let writer = writer.put(&XorMappedAddress(from)).put(&lifetime);
                    writer.put_some(relayed.as_ref())
                }))
            }
            Err(code) => Some(write(request, Class::Error, key, |writer| {
                writer.put(&ErrorCode { code, reason: b"" })
            })),
        }
    }

    fn apply(&mut self, from: SocketAddr, request: &Message<'_>) -> Result<(), u16> {
        let client = self.clients.entry(from).or_default();
        match request.method() {
            Method::ALLOCATE if client.relayed.is_none() => {
                if self.flaw == Flaw::OneAllocation && self.allocated == 1 {
                    return Err(486);
                }
                let wished = request.get().ok().flatten().map(|RelayPort(port)| port);
                let port = wished.unwrap_or(61_000 + self.allocated);
                client.relayed = Some(SocketAddr::from(([192, 0, 2, 1], port)));
                self.allocated += 1;
            }
            Method::REFRESH if request.get() == Ok(Some(Lifetime(0))) => {
                client.relayed = None;
                self.released += 1;
            }
            Method::CREATE_PERMISSION if self.flaw == Flaw::DeniesOutside => {
                let Ok(Some(XorPeerAddress(peer))) = request.get() else { return Err(400) };
                if client.relayed.is_none_or(|relayed| relayed.ip() != peer.ip()) {
                    return Err(403);
                }
            }
            Method::CHANNEL_BIND => {
                let Ok(Some(Channel(number))) = request.get() else { return Err(400) };
                let Ok(Some(XorPeerAddress(peer))) = request.get() else { return Err(400) };
                client.channels.insert(number.number(), peer);
            }
            _ => {}
        }
        Ok(())
    }

    /// From the relayed address of a client to another relayed address.
    fn relay(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> Vec<(SocketAddr, Vec<u8>)> {
        self.relayed_datagrams += 1;
        let Some(mut source) = self.clients.get(&from).and_then(|client| client.relayed) else {
            return Vec::new();
        };
        let is_dropped = match self.flaw {
            Flaw::NeverRelays => true,
            Flaw::RelaysOneWay => source.port() != 61_000,
            // Twice the way there, and once the way back; then once each.
            Flaw::Lossy => [1, 2, 4, 7, 9].contains(&self.relayed_datagrams),
            Flaw::DropsLong => payload.len() > 1_000,
            Flaw::None
            | Flaw::ClosedToOutside
            | Flaw::FirstClosedToOutside
            | Flaw::SecondClosedToOutside
            | Flaw::SendsNothingOut
            | Flaw::SecondSendsNothingOut
            | Flaw::DeniesOutside
            | Flaw::Silent
            | Flaw::SilentToAllocate
            | Flaw::OneAllocation
            | Flaw::ChangesPayload
            | Flaw::RepeatsYesterday
            | Flaw::RepeatsYesterdayIn
            | Flaw::RepeatsYesterdayOut
            | Flaw::TranslatesPort
            | Flaw::NoChannelData
            | Flaw::IndicationsOnly => false,
        };
        let mut payload = payload.to_vec();
        if self.flaw == Flaw::ChangesPayload {
            payload[0] ^= 1;
        }
        if self.flaw == Flaw::RepeatsYesterday {
            payload = yesterday(&payload);
        }
        let receiver = self.clients.iter().find(|(_, client)| client.relayed == Some(to));
        let Some((receiver, allocation)) = receiver.filter(|_| !is_dropped) else {
            return Vec::new();
        };
        let channel = allocation.channels.iter().find(|(_, peer)| **peer == source);
        let channel = channel.filter(|_| self.flaw != Flaw::IndicationsOnly);
        if self.flaw == Flaw::TranslatesPort {
            source.set_port(1_024);
        }
        let message = match channel {
            Some((number, _)) => channel_data(*number, &payload),
            None => indication(source, &payload),
        };
        vec![(*receiver, message)]
    }
}

/// What another probe has sent in the place of this: as long, and as little to be guessed.
fn yesterday(payload: &[u8]) -> Vec<u8> {
    let digest = Md5::digest(b"yesterday");
    digest.iter().copied().cycle().take(payload.len()).collect()
}

fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let channel = ChannelNumber::new(number).expect("a channel");
    let len = u16::try_from(payload.len()).expect("it is short");
    let mut message = [&ChannelData::header(channel, len)[..], payload].concat();
    message.resize(padded(message.len()), 0);
    message
}

fn indication(peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; 2_048];
    let id = TransactionId([5; 12]);
    let len = MessageWriter::new(&mut buffer, Class::Indication, Method::DATA, id)
        .put(&XorPeerAddress(peer))
        .put(&Data(payload))
        .finish()
        .expect("it fits");
    buffer.truncate(len);
    buffer
}

fn write(
    request: &Message<'_>,
    class: Class,
    key: Option<[u8; 16]>,
    fill: impl for<'b> FnOnce(MessageWriter<'b>) -> MessageWriter<'b>,
) -> Vec<u8> {
    let mut buffer = vec![0; 1_024];
    let id = request.transaction_id();
    let mut writer = fill(MessageWriter::new(&mut buffer, class, request.method(), id));
    if let Some(key) = key {
        writer = writer.put_integrity(&key);
    }
    let len = writer.put_fingerprint().finish().expect("it fits");
    buffer.truncate(len);
    buffer
}
