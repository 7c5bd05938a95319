//! A handshake without a network, against the library's own client.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use dimpl::{Config, Dtls, DtlsCertificate, Output};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use turn_proto::{ClientAddr, FiveTuple, Transport};

use super::{
    DtlsIdentity,
    association::Association,
    cookie::Cookies,
    hello::{Beginning, ClientHello, Version},
};

const CLIENT: &str = "192.0.2.1:5000";

fn certificate() -> DtlsCertificate {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let params = CertificateParams::new(Vec::<String>::new()).expect("no names");
    let certificate = params.self_signed(&key).expect("signed").der().to_vec();
    DtlsCertificate { certificate, private_key: key.serialize_der() }
}

fn identity() -> DtlsIdentity {
    let DtlsCertificate { certificate, private_key } = certificate();
    DtlsIdentity::new(&certificate, &private_key).expect("it works").expect("of a curve")
}

/// A client of the library's, and what it has to say.
struct Client(Dtls);

impl Client {
    fn new(version: fn(Arc<Config>, DtlsCertificate, Instant) -> Dtls) -> Self {
        let config = Config::builder().build().expect("a configuration");
        let now = Instant::now();
        let mut dtls = version(Arc::new(config), certificate(), now);
        dtls.set_active(true);
        dtls.handle_timeout(now).expect("it starts");
        Self(dtls)
    }

    fn packets(&mut self) -> (Vec<Vec<u8>>, bool) {
        let mut packets = Vec::new();
        let mut connected = false;
        let mut buffer = [0; 4096];
        loop {
            match self.0.poll_output(&mut buffer) {
                Output::Packet(packet) => packets.push(packet.to_vec()),
                Output::Connected => connected = true,
                Output::Timeout(_) => return (packets, connected),
                Output::KeyingMaterial(..)
                | Output::BufferTooSmall { .. }
                | Output::CloseNotify
                | _ => {}
            }
        }
    }

    fn receive(&mut self, packet: &[u8]) {
        self.0.handle_packet(packet).expect("no error");
    }
}

#[track_caller]
fn hello(packet: &[u8]) -> ClientHello<'_> {
    let beginning = Beginning::of(packet);
    let Beginning::Hello(hello) = beginning else { panic!("no hello: {beginning:?}") };
    hello
}

fn check(version: fn(Arc<Config>, DtlsCertificate, Instant) -> Dtls) -> Version {
    let now = Instant::now();
    let from: SocketAddr = CLIENT.parse().expect("an address");
    let cookies = Cookies::new([7; 32], now);
    let mut client = Client::new(version);
    let (packets, _) = client.packets();
    let first = hello(&packets[0]);
    assert_eq!(first.cookie, None);
    assert_eq!(first.without_cookie(first.padding)[13..], packets[0][13..]);
    client.receive(&first.request(&cookies.issue(now, from, &first)));
    let (packets, _) = client.packets();
    let second = hello(&packets[0]);
    let cookie = cookies.verify(now, from, &second).expect("the cookie that it was given");
    let five_tuple =
        FiveTuple { client: ClientAddr(from), server: from, transport: Transport::Dtls };
    let begun =
        Association::begin(&identity(), now, (five_tuple, 0, 0), (&second, cookie), &packets[0]);
    let (mut server, mut drained) = begun.expect("it begins");
    for _ in 0..10 {
        drained.packets.iter().for_each(|packet| client.receive(packet));
        let (packets, connected) = client.packets();
        drained.packets.clear();
        for packet in packets {
            drained.packets.extend(server.receive(now, &packet).expect("no error").packets);
        }
        if connected && drained.packets.is_empty() {
            break;
        }
    }
    assert!(server.is_connected);
    client.0.send_application_data(b"hello").expect("connected");
    let (packets, _) = client.packets();
    let received = server.receive(now, &packets[0]).expect("no error");
    assert_eq!(received.messages, [b"hello"]);
    second.version
}

#[test]
fn a_handshake_of_each_version_succeeds_after_a_cookie_that_nothing_was_kept_for() {
    assert_eq!(check(Dtls::new_12), Version::V12);
    assert!(matches!(check(Dtls::new_13), Version::V13 { .. }));
    assert!(matches!(check(Dtls::new_auto), Version::V13 { .. }));
}
