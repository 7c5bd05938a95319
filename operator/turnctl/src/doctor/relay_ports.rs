//! Which relay ports are open: sampled, since a range can be open in part.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::task::JoinSet;
use turn_probe::{Target, echo};

use super::findings::{Check, Outcome, Ports};

/// How many are found to be alike before the range is taken to be: a range half of which is closed is
/// taken for something else once in 30,000 times.
const ENOUGH: usize = 16;
/// How many are tried at a time: a user may have few allocations, and each takes two.
const AT_ONCE: usize = 4;
/// How long one more may take: that the relay answers soon is known.
const LIMIT: Duration = Duration::from_millis(1_500);

impl Ports {
    /// Whether one more would tell more.
    fn is_unclear(&self) -> bool {
        let (open, closed) = (self.open.len(), self.closed.len());
        (open == 0 || closed == 0) && open < ENOUGH && closed < ENOUGH
    }

    fn see(&mut self, port: u16, is_open: bool) {
        let ports = if is_open { &mut self.open } else { &mut self.closed };
        ports.push(port);
    }
}

/// The relay ports that were tried from here, and whether each is open.
pub(super) fn tried(outcome: &Outcome) -> &[(SocketAddr, bool)] {
    match outcome {
        Outcome::Works(report) => &report.outside,
        Outcome::Failed(failure) => &failure.outside,
        Outcome::Unusable(_) | Outcome::Unresolved(_) | Outcome::NoRoute => &[],
    }
}

/// Tries ports that the relay draws: those that could be tried, and whether they are open.
async fn try_some(target: &Target) -> Vec<(SocketAddr, bool)> {
    let mut running = JoinSet::new();
    for _ in 0..AT_ONCE {
        let target = target.clone();
        running.spawn(async move { echo(&target).await });
    }
    let tried = running.join_all().await.into_iter().flat_map(|outcome| match outcome {
        Ok(report) => report.outside,
        Err(failure) => failure.outside,
    });
    tried.collect()
}

/// Tries more ports of each address that relays, until it is clear. `targets` are what the checks
/// tried.
pub(super) async fn sample(
    checks: &[Check],
    targets: &[Option<Target>],
) -> BTreeMap<IpAddr, Ports> {
    let mut seen = BTreeMap::<IpAddr, (Ports, &Target)>::new();
    for (check, target) in checks.iter().zip(targets) {
        let Some(target) = target else { continue };
        for (relayed, is_open) in tried(&check.outcome) {
            let (ports, _) = seen.entry(relayed.ip()).or_insert((Ports::default(), target));
            ports.see(relayed.port(), *is_open);
        }
    }
    let mut all = BTreeMap::new();
    for (ip, (mut ports, target)) in seen {
        let target = Target { limit: target.limit.min(LIMIT), ..target.clone() };
        while ports.is_unclear() {
            let mut more = try_some(&target).await;
            more.retain(|(relayed, _)| relayed.ip() == ip);
            if more.is_empty() {
                break;
            }
            for (relayed, is_open) in more {
                ports.see(relayed.port(), is_open);
            }
        }
        all.insert(ip, ports);
    }
    all
}
