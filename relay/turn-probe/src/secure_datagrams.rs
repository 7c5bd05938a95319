//! DTLS towards a server.

use std::{collections::VecDeque, io, net::IpAddr, sync::Arc};

use aws_lc_rs::{
    error::Unspecified,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use dimpl::{Config, Dtls, DtlsCertificate, Output};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};

use crate::{Cause, Trust};

/// More than any datagram of a server's handshake.
const DATAGRAM_LEN: usize = 4_096;

/// A UDP socket with DTLS on it.
pub(crate) struct SecureDatagrams {
    socket: UdpSocket,
    dtls: Box<Dtls>,
    due: Instant,
    messages: VecDeque<Vec<u8>>,
    state: State,
    /// Whether the server has answered at all.
    is_answered: bool,
    peer: IpAddr,
    /// What is wrong with the certificate.
    fault: Option<Cause>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Handshaking,
    /// A certificate came that is not believed.
    Distrusted,
    Connected,
    Closed,
}

/// Whether a server's answer may begin with it: an alert or a part of a handshake, not encrypted. What
/// is left of an association that had this port before is neither (RFC 6347, section 4.1.2.7), and the
/// library would take it for a server that speaks no DTLS.
fn may_begin(datagram: &[u8]) -> bool {
    matches!(datagram, [21 | 22, _, _, 0, 0, ..])
}

fn handshake_failed(error: impl std::fmt::Display) -> Cause {
    Cause::Handshake(format!("DTLS: {error}"))
}

/// The library wants each client to have a key. No relay asks for it, and this one is signed by
/// nobody.
fn nobody() -> Result<DtlsCertificate, Unspecified> {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
    let private_key = key.to_pkcs8v1()?.as_ref().to_vec();
    Ok(DtlsCertificate { certificate: vec![0], private_key })
}

impl SecureDatagrams {
    /// Does the handshake.
    pub(crate) async fn connect(socket: UdpSocket, trust: &Trust) -> Result<Self, Cause> {
        let config = Config::builder().build().map_err(handshake_failed)?;
        let now = Instant::now();
        let nobody = nobody().map_err(handshake_failed)?;
        let mut dtls = Box::new(Dtls::new_auto(Arc::new(config), nobody, now.into_std()));
        dtls.set_active(true);
        dtls.handle_timeout(now.into_std()).map_err(handshake_failed)?;
        let (messages, state) = (VecDeque::new(), State::Handshaking);
        let peer = socket.peer_addr()?.ip();
        let mut link =
            Self { socket, dtls, due: now, messages, state, is_answered: false, peer, fault: None };
        link.drain(Some(trust))?;
        loop {
            match link.state {
                State::Connected => return Ok(link),
                State::Distrusted => return Err(link.fault.unwrap_or(Cause::Closed)),
                State::Closed => return Err(Cause::Closed),
                State::Handshaking => link.step(Some(trust)).await?,
            }
        }
    }

    /// Waits for a datagram or for what is due, and does what it asks for.
    async fn step(&mut self, trust: Option<&Trust>) -> Result<(), Cause> {
        let mut datagram = [0; DATAGRAM_LEN];
        let received = tokio::select! {
            received = self.socket.recv(&mut datagram) => Some(received?),
            () = sleep_until(self.due) => None,
        };
        let now = Instant::now().into_std();
        self.dtls.handle_timeout(now).map_err(handshake_failed)?;
        let received = received.map(|len| &datagram[..len]);
        if let Some(datagram) = received.filter(|datagram| self.is_answered || may_begin(datagram))
        {
            self.is_answered = true;
            self.dtls.handle_packet(datagram).map_err(handshake_failed)?;
        }
        self.drain(trust)
    }

    fn drain(&mut self, trust: Option<&Trust>) -> Result<(), Cause> {
        let mut buffer = vec![0; DATAGRAM_LEN];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                // What the kernel does not take at once is lost, as on any network.
                Output::Packet(packet) => match self.socket.try_send(packet) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                        return Err(error.into());
                    }
                    Ok(_) | Err(_) => {}
                },
                Output::ApplicationData(message) => self.messages.push_back(message.to_vec()),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::PeerCert(certificate) => {
                    let judged = trust.map(|trust| trust.judge(certificate, self.peer));
                    if let Some(Err(fault)) = judged {
                        self.fault = Some(fault);
                        self.state = State::Distrusted;
                    }
                }
                Output::Connected if self.state == State::Handshaking => {
                    self.state = State::Connected;
                }
                Output::CloseNotify => self.state = State::Closed,
                Output::Timeout(due) => {
                    self.due = Instant::from_std(due);
                    return Ok(());
                }
                // Keys for SRTP are not asked for.
                Output::Connected | Output::KeyingMaterial(..) | _ => {}
            }
        }
    }

    /// Reads one message; none when the server has said goodbye. Losing a race against something else
    /// loses nothing.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                let len = message.len().min(buffer.len());
                buffer[..len].copy_from_slice(&message[..len]);
                return Ok(len);
            }
            if self.state == State::Closed {
                return Ok(0);
            }
            self.step(None).await.map_err(|cause| io::Error::other(cause.to_string()))?;
        }
    }

    pub(crate) async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        self.dtls.handle_timeout(Instant::now().into_std()).map_err(io::Error::other)?;
        self.dtls.send_application_data(message).map_err(io::Error::other)?;
        self.drain(None).map_err(|cause| io::Error::other(cause.to_string()))
    }

    /// Says that nothing more comes, as far as the kernel takes it at once.
    pub(crate) fn say_goodbye(&mut self) {
        if self.dtls.close().is_ok() {
            let _gone_anyway = self.drain(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_an_earlier_association_begins_none() {
        // A HelloVerifyRequest, and an alert.
        assert!(may_begin(&[22, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3]));
        assert!(may_begin(&[21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 70]));
        // Data and an alert of DTLS 1.2, a record of DTLS 1.3, and nothing.
        assert!(!may_begin(&[23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 9, 0, 4]));
        assert!(!may_begin(&[21, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 9, 0, 4]));
        assert!(!may_begin(&[0x2F, 0, 1, 0, 20]));
        assert!(!may_begin(&[]));
    }
}
