//! A session that bytes decide instead of a seed: what a fuzzer plays with.

use std::{
    convert::Infallible,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, TryRng};
use turn_auth::{PasswordAlgorithm, UnixSeconds};
use turn_proto::{FiveTuple, Transport};

use crate::{
    oracle::Broken,
    prober::{Credential, Deed, Prober},
    relay::{Relay, Sent, five_tuple},
    rules::{EPOCH, Rules},
};

/// More deeds than these are not looked at: a fuzzer needs many runs.
const MAX_DEEDS: u32 = 200;

/// A die whose throws are written down.
struct Script<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Script<'_> {
    fn is_over(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest[..len.min(rest.len())].to_vec();
        self.at += len;
        taken
    }
}

impl TryRng for Script<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // One byte is enough for most throws, which look at the upper bits.
        let byte = u32::from(self.take(1).first().copied().unwrap_or_default());
        // Where it is over, throws differ still, or who draws until something fits would not end.
        let filler = u32::try_from(self.at).unwrap_or_default().wrapping_mul(0x9E37_79B9);
        Ok(byte << 24 | filler >> 8)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from(self.try_next_u32()?) << 32 | u64::from(self.try_next_u32()?))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        // Transaction ids and the like: of no consequence, but each another.
        self.at += 1;
        for (index, byte) in out.iter_mut().enumerate() {
            *byte = u8::try_from((self.at * 31 + index * 7) % 256).unwrap_or_default();
        }
        Ok(())
    }
}

/// Lets clients do what `bytes` say, and judges the server after each deed.
///
/// # Errors
/// What was broken.
pub fn session(bytes: &[u8]) -> Result<(), String> {
    let mut script = Script { bytes, at: 0 };
    let start = Instant::now();
    let rules = Rules {
        generations: vec![0],
        per_user: 3,
        in_all: 4,
        denied: Vec::new(),
        draining: false,
        sibling: None,
        idle: Some(Duration::from_secs(60)),
    };
    let mut relay = Relay::new(start, 1, rules);
    let until = start + Duration::from_secs(100_000);
    let mut probers = [0, 1].map(|index| prober(index, until));
    let mut now = start;
    for _ in 0..MAX_DEEDS {
        if script.is_over() {
            break;
        }
        let index = script.random_range(..2_usize);
        let home = five_tuple(client(u16::try_from(index).unwrap_or_default(), 0), Transport::Udp);
        let deeds = match script.random_range(..8_u32) {
            0 => {
                let len = script.random_range(..64_usize);
                vec![Deed::Say(home, script.take(len))]
            }
            1 => {
                let len = script.random_range(..64_usize);
                let any = script.take(len);
                vec![Deed::Say(home, probers[index].sign_any(&any, &mut script))]
            }
            2 => operate(&mut relay, now, &mut script)?,
            _ => {
                let others = [five_tuple(client(0, 0), Transport::Udp)];
                let (deeds, next) = probers[index].probe(now, &relay.oracle, &others, &mut script);
                let passed = next.filter(|_| script.random());
                now = pass(&mut relay, now, passed.unwrap_or(now))?;
                deeds
            }
        };
        perform(&mut relay, now, deeds, &mut probers[index])?;
    }
    let end = pass(&mut relay, now, now + Duration::from_secs(3700))?;
    relay.is_as_new(end).map(|_| ())
}

fn client(index: u16, second: u16) -> SocketAddr {
    SocketAddr::from(([8, 8, 4, 4], 3000 + 2 * index + second))
}

fn prober(index: u16, until: Instant) -> Prober {
    let expires_at = UnixSeconds(EPOCH + 50_000);
    let algorithms = [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256];
    let own = Credential::new(index, 0, algorithms[usize::from(index)], expires_at);
    let other = Credential::new(1 - index, 0, PasswordAlgorithm::Md5, expires_at);
    let peers = vec![
        SocketAddr::from(([8, 8, 8, 1], 4001)),
        SocketAddr::from(([8, 8, 8, 2], 4002)),
        SocketAddr::from(([0x2001, 0x4860, 0, 0, 0, 0, 0, 1], 5001)),
    ];
    let transport = if index == 0 { Transport::Udp } else { Transport::Tcp };
    let addresses = [0, 1].map(|second| five_tuple(client(index, second), transport));
    Prober::new(addresses, vec![own, other], peers, until)
}

/// Lets time pass, with all that is due meanwhile.
fn pass(relay: &mut Relay, now: Instant, until: Instant) -> Result<Instant, Broken> {
    let until = until.max(now);
    while let Some(due) = relay.next_at().filter(|due| *due <= until) {
        relay.pass(due.max(now))?;
    }
    Ok(until)
}

fn operate(relay: &mut Relay, now: Instant, script: &mut Script<'_>) -> Result<Vec<Deed>, Broken> {
    match script.random_range(..4_u32) {
        0 => relay.reload(|rules| rules.generations.insert(0, rules.generations[0] + 1)),
        1 => relay.reload(|rules| rules.denied = vec![[8, 8, 8, 1].into()]),
        2 if script.random() => relay.changes_listener(now, Transport::Udp)?,
        2 => relay.reload(|rules| rules.draining = true),
        _ => relay.restart(now, 2)?,
    }
    Ok(Vec::new())
}

fn perform(
    relay: &mut Relay,
    now: Instant,
    deeds: Vec<Deed>,
    prober: &mut Prober,
) -> Result<(), Broken> {
    for deed in deeds {
        match deed {
            Deed::Say(from, bytes) => hear(relay, now, &from, &bytes, prober)?,
            Deed::Peer { from, to } => drop(relay.hears_peer(now, to, from, b"knock")?),
            Deed::Disconnect(client) => relay.disconnects(now, &client)?,
        }
    }
    Ok(())
}

fn hear(
    relay: &mut Relay,
    now: Instant,
    from: &FiveTuple,
    bytes: &[u8],
    prober: &mut Prober,
) -> Result<(), Broken> {
    if let Some(Sent::ToClient { bytes, .. }) = relay.hears_client(now, from, bytes)? {
        prober.hear(&bytes);
    }
    Ok(())
}
