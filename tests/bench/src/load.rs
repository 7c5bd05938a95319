//! The load: datagrams at a rate, both ways at the same time, and what comes out at the other side.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::{flows::Flow, frame, interrupt::Interrupt, link::Link};

/// How often a burst is sent. Short, so that bursts stay far below the 256 frames that a cable's end
/// holds.
const TICK: Duration = Duration::from_micros(200);

/// The most frames of one burst, both ways together: what the generator has missed it sends over
/// the following ticks.
const MAX_BURST: u64 = 256;

/// How long after the last was sent datagrams still count: media that is late is lost. A thousand
/// relayed sockets can hold a second's worth of datagrams: without this limit a server that is too
/// slow would pass by delaying.
const GRACE: Duration = Duration::from_millis(20);

/// A server that has relayed nothing for so long has nothing left of a trial.
const QUIET: Duration = Duration::from_millis(50);

/// How long a server may take to relay what is left of a trial.
const DRAIN: Duration = Duration::from_secs(5);

/// By how much sending may take longer than planned before the generator counts as the limit.
const LATENESS: f64 = 1.05;

/// The part of what arrives that may escape the generator before it counts as the limit.
const BLINDNESS: f64 = 0.001;

/// What each payload starts with: what it is, which trial it is of, and which flow.
const MAGIC: [u8; 4] = *b"TpBe";
/// The length of that, in bytes, which is the least payload.
pub(crate) const MARK_LEN: usize = 12;

/// What a trial has come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trial {
    /// Datagrams that were sent, both ways together.
    pub(crate) sent: u64,
    /// Datagrams that came out in time, client to peer and peer to client.
    pub(crate) received: [u64; 2],
    /// How long was sent for.
    pub(crate) took: Duration,
    /// Whether the generator was too slow to send, or to see all that arrived.
    pub(crate) generator_failed: bool,
}

impl Trial {
    /// The part that was lost, or late.
    pub(crate) fn loss(&self) -> f64 {
        let received: u64 = self.received.iter().sum();
        1.0 - received as f64 / self.sent as f64
    }

    /// Relayed datagrams per second.
    pub(crate) fn rate(&self) -> f64 {
        self.received.iter().sum::<u64>() as f64 / self.took.as_secs_f64()
    }
}

/// The generator, with all flows set up.
pub(crate) struct Load<'a> {
    flows: Vec<Flow>,
    links: &'a mut [Link; 2],
    size: usize,
    trial: u32,
    interrupt: &'a Interrupt,
    /// By direction and flow, of the trial that runs.
    received: [Vec<u32>; 2],
}

impl<'a> Load<'a> {
    pub(crate) fn new(
        flows: Vec<Flow>,
        links: &'a mut [Link; 2],
        size: usize,
        interrupt: &'a Interrupt,
    ) -> Self {
        let received = [vec![0; flows.len()], vec![0; flows.len()]];
        Self { flows, links, size, trial: 0, interrupt, received }
    }

    /// That each flow relays both ways, what was sent and to whom it was sent.
    ///
    /// # Errors
    /// When, of several datagrams, not one comes out.
    pub(crate) fn verify(&mut self) -> Result<()> {
        let flows = self.flows.len() as f64;
        self.run(flows, Duration::from_secs(4))?;
        for (direction, received) in ["to its peer", "to its client"].iter().zip(&self.received) {
            let silent = received.iter().filter(|count| **count == 0).count();
            ensure!(silent == 0, "{silent} of {flows} flows carry nothing {direction}");
        }
        Ok(())
    }

    /// Sends `rate` datagrams per second, half of them each way, round the flows.
    pub(crate) fn run(&mut self, rate: f64, duration: Duration) -> Result<Trial> {
        self.begin();
        let arrived_before = self.arrived()?;
        let (mut taken, mut sent) = (0, 0);
        let total = (rate * duration.as_secs_f64()) as u64;
        let start = Instant::now();
        let mut tick = start;
        while sent < total {
            self.interrupt.check()?;
            let due = (rate * start.elapsed().as_secs_f64()) as u64;
            let until = due.min(total).min(sent + MAX_BURST);
            self.send(sent, until)?;
            sent = until;
            taken += self.receive()?;
            tick += TICK;
            match tick.checked_duration_since(Instant::now()) {
                Some(left) => std::thread::sleep(left),
                None => tick = Instant::now(),
            }
        }
        let took = start.elapsed();
        taken += self.receive_for(GRACE)?;
        let received = self.received.each_ref().map(|counts| sum(counts));
        taken += self.drain()?;
        let arrived = self.arrived()? - arrived_before;
        let late = took.as_secs_f64() > duration.as_secs_f64() * LATENESS;
        let blind = (arrived - taken.min(arrived)) as f64 > arrived as f64 * BLINDNESS;
        Ok(Trial { sent, received, took: took.max(duration), generator_failed: late || blind })
    }

    /// Marks all payloads as those of a new trial.
    fn begin(&mut self) {
        self.trial += 1;
        for counts in &mut self.received {
            counts.fill(0);
        }
        for (number, flow) in self.flows.iter_mut().enumerate() {
            let mark = mark(self.trial, number);
            for frame in [&mut flow.from_client, &mut flow.from_peer] {
                let start = frame.len() - self.size;
                frame[start..start + MARK_LEN].copy_from_slice(&mark);
            }
        }
    }

    /// Sends the datagrams with these numbers: the even ones from clients, the odd ones from peers.
    fn send(&mut self, from: u64, until: u64) -> Result<()> {
        let count = self.flows.len() as u64;
        let flow = |number: u64| &self.flows[(number / 2 % count) as usize];
        let numbers = from..until;
        let clients = numbers.clone().filter(|number| number % 2 == 0);
        let clients: Vec<_> = clients.map(|number| &*flow(number).from_client).collect();
        self.links[0].send(&clients)?;
        let peers = numbers.filter(|number| number % 2 == 1);
        let peers: Vec<_> = peers.map(|number| &*flow(number).from_peer).collect();
        self.links[1].send(&peers)
    }

    /// Waits until the server has nothing left.
    fn drain(&mut self) -> Result<u64> {
        let deadline = Instant::now() + DRAIN;
        let mut taken = 0;
        while Instant::now() < deadline {
            match self.receive_for(QUIET)? {
                0 => break,
                more => taken += more,
            }
        }
        Ok(taken)
    }

    fn receive_for(&mut self, time: Duration) -> Result<u64> {
        let end = Instant::now() + time;
        let mut taken = 0;
        while Instant::now() < end {
            std::thread::sleep(TICK);
            taken += self.receive()?;
        }
        Ok(taken)
    }

    fn receive(&mut self) -> Result<u64> {
        let (trial, size) = (self.trial, self.size);
        let [to_peers, to_clients] = &mut self.received;
        let [clients, peers] = &mut *self.links;
        let mut taken = peers.receive(|frame| count(frame, trial, size, to_peers))?;
        taken += clients.receive(|frame| count(frame, trial, size, to_clients))?;
        Ok(taken)
    }

    fn arrived(&mut self) -> Result<u64> {
        let [clients, peers] = &mut *self.links;
        Ok(clients.arrived()? + peers.arrived()?)
    }
}

/// Counts a frame for its flow if it is one of this trial, whole, and where it belongs.
fn count(frame: &[u8], trial: u32, size: usize, counts: &mut [u32]) {
    let Some(datagram) = frame::decode(frame) else { return };
    let flow = crate::flows::flow_of(datagram.to.port());
    let mark = mark(trial, flow);
    // A server may put attributes on both sides of it, each a multiple of four bytes long.
    let mut places = (0..).step_by(4).take_while(|start| start + size <= datagram.payload.len());
    let found = places.any(|start| datagram.payload[start..].starts_with(&mark));
    if found && let Some(count) = counts.get_mut(flow) {
        *count += 1;
    }
}

fn mark(trial: u32, flow: usize) -> [u8; MARK_LEN] {
    let mut mark = [0; MARK_LEN];
    mark[..4].copy_from_slice(&MAGIC);
    mark[4..8].copy_from_slice(&trial.to_be_bytes());
    mark[8..].copy_from_slice(&(flow as u32).to_be_bytes());
    mark
}

fn sum(counts: &[u32]) -> u64 {
    counts.iter().map(|count| u64::from(*count)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(sent: u64, received: [u64; 2]) -> Trial {
        Trial { sent, received, took: Duration::from_secs(2), generator_failed: false }
    }

    #[test]
    fn the_loss_is_of_both_directions_together() {
        assert!((trial(1_000, [500, 490]).loss() - 0.01).abs() < 1e-12);
        assert!((trial(1_000, [500, 490]).rate() - 495.0).abs() < 1e-12);
    }

    #[test]
    fn only_the_datagrams_of_this_trial_and_this_flow_are_counted() {
        use std::net::{Ipv4Addr, SocketAddrV4};
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 99, 1, 1), 3478);
        let mut counts = [0; 4];
        let mut check = |trial_of, flow_of, to_flow: u16, head: &[u8]| {
            let to = SocketAddrV4::new(Ipv4Addr::new(10, 99, 1, 2), 2_000 + to_flow);
            let mut payload = head.to_vec();
            payload.extend_from_slice(&mark(trial_of, flow_of));
            payload.extend_from_slice(&[0; 20]);
            let frame = frame::encode(([2; 6], [4; 6]), from, to, &payload);
            count(&frame, 7, MARK_LEN + 20, &mut counts);
        };
        check(7, 2, 2, &[0x40, 0, 0, 32]);
        check(7, 2, 2, &[9; 32]);
        check(7, 3, 3, &[]);
        check(6, 1, 1, &[]);
        check(7, 0, 1, &[]);
        assert_eq!(counts, [0, 0, 2, 1]);
    }
}
