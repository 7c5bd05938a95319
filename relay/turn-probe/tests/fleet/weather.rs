//! How long a probe takes, and how it ends, where datagrams get lost.
//!
//! The model is the real probe's: its stages one after the other, and what is repeated in each.
//! - A request over UDP is repeated as nICEr does (after 0.1, 0.3, 0.7, 1.5 and 3.1 s and so on), and needs its
//!   own datagram and the answer's.
//! - A payload is repeated four times a second, and needs four datagrams in a row: to the relay, to
//!   the other client, and both back; between two relayed addresses of one relay none gets lost.
//! - Over TCP nothing gets lost but time: the kernel repeats a SYN after 1, 3 and 7 s, and other segments
//!   after 0.2 s, 0.6 s and so on. From outside to the relay port it is UDP again.
//!
//! Both clients do each stage at the same time, and the slower counts. What does not fit into the
//! limit has failed. That the real probe fails as rarely is seen in `tests/echo`.

use std::time::Duration;

use rand::{RngExt as _, rngs::StdRng};
use turn_probe::{Datagrams, Fault, Transport, plan::Order};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// When a request is sent over UDP.
const REQUEST: [Duration; 7] = [ms(0), ms(100), ms(300), ms(700), ms(1_500), ms(3_100), ms(6_300)];
/// When a segment of an open connection is.
const SEGMENT: [Duration; 6] = [ms(0), ms(200), ms(600), ms(1_400), ms(3_000), ms(6_200)];
/// When a SYN is.
const SYN: [Duration; 4] = [ms(0), ms(1_000), ms(3_000), ms(7_000)];
/// Longer than any probe.
const FOR_EVER: Duration = ms(60_000);
/// How often a payload is sent again.
const PAYLOAD_EVERY: Duration = ms(250);

/// A network that loses datagrams.
pub(crate) struct Weather {
    /// How many of a hundred.
    pub(crate) loss_percent: u32,
    pub(crate) round_trip: Duration,
}

impl Weather {
    pub(crate) const FAIR: Self = Self { loss_percent: 0, round_trip: ms(20) };

    /// A probe of a relay that is well: how long it takes, and what it takes for a fault.
    pub(crate) fn probe(&self, rng: &mut StdRng, order: &Order) -> (Duration, Option<Fault>) {
        let stream = matches!(order.subject.transport, Transport::Tcp | Transport::Tls);
        let mut took = Duration::ZERO;
        let mut stages = vec![
            (Fault::Silence, Stage::Request),
            // Without credentials at first.
            (Fault::Silence, Stage::Request),
            (Fault::Silence, Stage::Request),
            (Fault::Other, Stage::Request),
            (Fault::RelayPorts, Stage::Payload),
            (Fault::Other, Stage::Request),
            (Fault::RelayPorts, Stage::Payload),
            (Fault::LongPackets, Stage::Payload),
            (Fault::Other, Stage::Request),
            (Fault::Other, Stage::Request),
            (Fault::RelayPorts, Stage::FromOutside),
        ];
        if stream {
            // One connection after the other.
            stages.splice(0..0, [(Fault::Silence, Stage::Connect); 2]);
        }
        for (fault, stage) in stages {
            let once = |rng: &mut StdRng| self.stage(rng, stage, stream);
            let first = once(rng);
            took += if stage == Stage::Connect { first } else { first.max(once(rng)) };
            if took > order.limit {
                return (order.limit, Some(fault));
            }
        }
        (took, None)
    }

    /// What a probe over UDP that came through has sent, and what came back: each there and back, or
    /// to the other client.
    pub(crate) fn datagrams(&self, rng: &mut StdRng, order: &Order) -> Option<Datagrams> {
        const SENT: u32 = 26;
        let returned = (0..SENT).filter(|_| self.arrives(rng, 2)).count();
        let datagrams = Datagrams { sent: SENT, returned: u32::try_from(returned).ok()? };
        (order.subject.transport == Transport::Udp).then_some(datagrams)
    }

    fn stage(&self, rng: &mut StdRng, stage: Stage, stream: bool) -> Duration {
        match (stage, stream) {
            (Stage::Connect, _) => self.until(rng, &SYN, 2),
            (Stage::Request, false) => self.until(rng, &REQUEST, 2),
            (Stage::Request, true) => self.until(rng, &SEGMENT, 1) + self.until(rng, &SEGMENT, 1),
            (Stage::Payload, true) => (0..4).map(|_| self.until(rng, &SEGMENT, 1)).sum(),
            (Stage::FromOutside, true) => {
                let by_stream: Duration = (0..2).map(|_| self.until(rng, &SEGMENT, 1)).sum();
                by_stream + self.repeated(rng, 2)
            }
            (Stage::Payload | Stage::FromOutside, false) => self.repeated(rng, 4),
        }
    }

    /// When all of so many datagrams arrive, if they are sent at these times.
    fn until(&self, rng: &mut StdRng, sends: &[Duration], datagrams: u32) -> Duration {
        let sent = sends.iter().find(|_| self.arrives(rng, datagrams));
        sent.map_or(FOR_EVER, |at| *at + self.round_trip)
    }

    fn repeated(&self, rng: &mut StdRng, datagrams: u32) -> Duration {
        let lost = (0..40).take_while(|_| !self.arrives(rng, datagrams)).count();
        PAYLOAD_EVERY * u32::try_from(lost).unwrap_or(u32::MAX) + self.round_trip * 2
    }

    fn arrives(&self, rng: &mut StdRng, datagrams: u32) -> bool {
        (0..datagrams).all(|_| rng.random_range(0..100) >= self.loss_percent)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connect,
    Request,
    Payload,
    FromOutside,
}
