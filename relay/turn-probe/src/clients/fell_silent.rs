//! A listener that was busy and fell silent, while others are busy still.

use super::{
    STEADY, Told,
    counts::{ALLOCATED, BINDINGS, CHALLENGED, REFUSED, WRONG_CREDENTIALS},
    gives_up::GiveUp,
    window::{Bucket, Window},
};
use crate::sign::{Sign, SignKind};

/// How many buckets have to be busy: half an hour. A crowd that goes home, or a listener whose URL is
/// handed out no more, dwindles over some time.
const BUSY: u64 = 6;
/// How many have to be silent then, after one in which it may have happened.
const SILENT: u64 = 2;
/// What strangers who look for open relays send in a bucket is no client's.
const STRAYS: u64 = 2;

/// Whether a listener fell silent within the last quarter of an hour. Where Bindings still come, and
/// nothing else, it is not the listener that is not found.
pub(super) fn found(own: &Window<5>, others: &[&Window<5>], now: Bucket) -> Option<Told> {
    let all = own.full(now, BUSY + 1 + SILENT)?;
    let (before, after) = all.split_at_checked(usize::try_from(BUSY + 1).ok()?)?;
    let (_, before) = before.split_last()?;
    let was_busy = before.iter().all(|bucket| bucket[ALLOCATED] >= STEADY);
    let is_busy = |other: &&Window<5>| {
        let latest = other.full(now, SILENT);
        latest.is_some_and(|latest| latest.iter().all(|bucket| bucket[ALLOCATED] >= STEADY))
    };
    if !was_busy || !after.iter().all(is_silent) || !others.iter().any(is_busy) {
        return None;
    }
    if after.iter().all(|bucket| bucket[BINDINGS] >= STEADY) {
        return Some(Told::GivesUp(GiveUp::AfterBinding));
    }
    Some(Told::FellSilent)
}

fn is_silent(bucket: &[u64; 5]) -> bool {
    bucket[ALLOCATED] == 0
        && bucket[REFUSED] == 0
        && bucket[CHALLENGED] <= STRAYS
        && bucket[WRONG_CREDENTIALS] <= STRAYS
}

/// Whether it is silent still: nobody has proved who he is.
pub(super) fn lasts(own: &Window<5>, now: Bucket) -> bool {
    let latest = own.sum(now, 1);
    latest[ALLOCATED] == 0 && latest[REFUSED] == 0
}

pub(super) fn sign_of(at: &str) -> Sign {
    let says = format!(
        "{at} had a steady stream of clients and has none any more, while others have: look at what \
         lies in front of that port, and whether clients are still given its URL"
    );
    Sign { kind: SignKind::ListenerFellSilent, says }
}
