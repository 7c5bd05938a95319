//! One client's association.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use dimpl::{Dtls, Error, Output, SecurityError};
use turn_proto::FiveTuple;

use crate::{HandshakeFailure, pending::Wait};

use super::{
    DtlsIdentity,
    cookie::{padding, while_verified},
    hello::{ClientHello, Version},
};

/// The longest message that fits a record (RFC 6347, section 4.1.1).
const MAX_MESSAGE: usize = 16_384;

/// One client's association.
pub(crate) struct Association {
    dtls: Dtls,
    /// The random number of its ClientHello: the same once more is a retransmission.
    pub(crate) random: [u8; 32],
    /// Which listener it came through.
    pub(crate) listener: usize,
    pub(crate) five_tuple: FiveTuple,
    /// Tells this association from others that have had its place.
    pub(crate) serial: u64,
    /// While it has no allocation.
    pub(crate) pending: Option<Wait>,
    /// When it is to be looked at.
    pub(crate) due: Option<Instant>,
    pub(crate) is_connected: bool,
}

/// Later than anything that an association waits for.
const FAR: Duration = Duration::from_secs(86_400);

/// What has come of something that was given to an association.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    /// To be sent to the client.
    pub(crate) packets: Vec<Vec<u8>>,
    /// From the client.
    pub(crate) messages: Vec<Vec<u8>>,
    /// The client has said goodbye.
    pub(crate) is_closed: bool,
}

/// Nothing more comes of an association.
#[derive(Debug)]
pub(crate) enum Broken {
    Library(Error),
    /// The library asks for a cookie in other words than we did.
    Request,
    TooLong,
    Panicked,
}

impl Broken {
    /// What is counted.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows")]
    pub(crate) fn reason(&self) -> HandshakeFailure {
        match self {
            Self::Library(Error::SecurityError(error)) => match error {
                SecurityError::FatalAlert { .. } => HandshakeFailure::RefusedByClient,
                SecurityError::NoMutuallyAcceptableCipherSuite
                | SecurityError::NoCommonCipherSuite
                | SecurityError::NoCommonKeyExchangeGroup
                | SecurityError::ExtendedMasterSecretNotNegotiated => {
                    HandshakeFailure::NothingInCommon
                }
                _ => HandshakeFailure::Dtls,
            },
            Self::Library(_) | Self::Request | Self::TooLong | Self::Panicked => {
                HandshakeFailure::Dtls
            }
        }
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl Association {
    /// Begins with a hello whose cookie has been verified, and the datagram that it came in.
    pub(crate) fn begin(
        identity: &DtlsIdentity,
        now: Instant,
        (five_tuple, listener, serial): (FiveTuple, usize, u64),
        (hello, cookie): (&ClientHello<'_>, [u8; 32]),
        datagram: &[u8],
    ) -> Result<(Self, Drained), Broken> {
        let (config, certificate) = (Arc::clone(&identity.config), identity.certificate.clone());
        let dtls = match hello.version {
            Version::V12 => Dtls::new_12(config, certificate, now),
            Version::V13 { .. } => Dtls::new_13(config, certificate, now),
        };
        let mut association = Self {
            dtls,
            random: hello.random,
            listener,
            five_tuple,
            serial,
            pending: None,
            due: None,
            is_connected: false,
        };
        let drained = while_verified(hello.random, cookie, || {
            let asked = association.receive(now, &hello.without_cookie(padding(&cookie)))?;
            let is_same = asked.packets.iter().any(|packet| *packet == hello.request(&cookie));
            // Of DTLS 1.2 neither the first hello nor the answer goes into the handshake's hash.
            if !is_same && hello.version != Version::V12 {
                return Err(Broken::Request);
            }
            association.receive(now, datagram)
        })?;
        Ok((association, drained))
    }

    /// Takes a datagram from the client.
    pub(crate) fn receive(&mut self, now: Instant, datagram: &[u8]) -> Result<Drained, Broken> {
        self.act(now, |dtls| dtls.handle_packet(datagram))
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<Drained, Broken> {
        self.act(now, |_| Ok(()))
    }

    /// Encrypts a message to the client.
    pub(crate) fn send(&mut self, now: Instant, message: &[u8]) -> Result<Drained, Broken> {
        if message.len() > MAX_MESSAGE {
            return Err(Broken::TooLong);
        }
        self.act(now, |dtls| dtls.send_application_data(message).map(|_| ()))
    }

    /// What says to the client that nothing more comes.
    pub(crate) fn goodbye(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.act(now, Dtls::close).map(|drained| drained.packets).unwrap_or_default()
    }

    /// The library is full of assertions, and one that fails must not end the worker and all of its
    /// clients: then it is the end of this association only.
    fn act(
        &mut self,
        now: Instant,
        action: impl FnOnce(&mut Dtls) -> Result<(), Error>,
    ) -> Result<Drained, Broken> {
        let act = || {
            self.dtls.handle_timeout(now)?;
            action(&mut self.dtls)?;
            Ok(self.drain(now))
        };
        catch_unwind(AssertUnwindSafe(act)).unwrap_or(Err(Broken::Panicked))
    }

    fn drain(&mut self, now: Instant) -> Drained {
        let mut drained = Drained::default();
        let mut buffer = vec![0; 2048];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => drained.packets.push(packet.to_vec()),
                Output::ApplicationData(message) => drained.messages.push(message.to_vec()),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::Connected => self.is_connected = true,
                Output::CloseNotify => drained.is_closed = true,
                Output::Timeout(due) => {
                    // With nothing to do, the library names a time years ahead.
                    self.due = (due < now + FAR).then_some(due);
                    return drained;
                }
                // A client's certificate is not asked for, nor keys for SRTP.
                Output::PeerCert(_) | Output::KeyingMaterial(..) | _ => {}
            }
        }
    }
}
