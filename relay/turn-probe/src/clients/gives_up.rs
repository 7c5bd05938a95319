//! A listener whose clients are answered, and hardly ever come to an allocation.

use super::{
    STEADY,
    counts::{ALLOCATED, CHALLENGED, REFUSED, WRONG_CREDENTIALS},
    window::{Bucket, Window},
};
use crate::sign::{Sign, SignKind};

/// How many buckets are looked at.
const BUCKETS: u64 = 3;
/// How many challenges each of them has to have. A client whose answers are lost asks seven times; so
/// these are some clients, again and again, and not one stranger who tries the door.
const ENOUGH: u64 = 10;
/// Hardly ever: fewer than one of so many. Strangers who look for open relays are challenged too, so
/// that not each challenge is followed by a client where all is well.
const ONE_OF: u64 = 20;
/// Until it is more than one of so many.
const UNTIL_ONE_OF: u64 = 5;

/// How far clients come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GiveUp {
    /// Their Bindings are answered, and no Allocate follows.
    AfterBinding,
    /// They are challenged, and do not come back.
    AfterChallenge,
    /// Their credentials are refused.
    WrongCredentials,
}

/// Whether, and how, clients give up at a listener.
pub(super) fn found(own: &Window<5>, others: &[&Window<5>], now: Bucket) -> Option<GiveUp> {
    let buckets = own.full(now, BUCKETS)?;
    let is_tried = buckets.iter().all(|bucket| bucket[CHALLENGED] >= ENOUGH);
    let total = total(&buckets);
    let is_rare = came(&total).saturating_mul(ONE_OF) < total[CHALLENGED];
    let is_well = |other: &&Window<5>| {
        let Some(buckets) = other.full(now, BUCKETS) else { return false };
        let total = self::total(&buckets);
        let is_busy = buckets.iter().all(|bucket| bucket[ALLOCATED] >= STEADY);
        is_busy && came(&total).saturating_mul(2) >= total[CHALLENGED]
    };
    if !is_tried || !is_rare || !others.iter().any(is_well) {
        return None;
    }
    let is_wrong = total[WRONG_CREDENTIALS].saturating_mul(2) >= total[CHALLENGED];
    Some(if is_wrong { GiveUp::WrongCredentials } else { GiveUp::AfterChallenge })
}

/// Whether they still do, who are challenged.
pub(super) fn lasts(own: &Window<5>, now: Bucket) -> bool {
    let latest = own.sum(now, 1);
    let is_rare = came(&latest).saturating_mul(UNTIL_ONE_OF) < latest[CHALLENGED];
    // While nobody tries it is as it was found.
    is_rare || came(&latest) == 0
}

/// Who has proved his credentials: an Allocate that is refused then is no client that gives up.
const fn came(counts: &[u64; 5]) -> u64 {
    counts[ALLOCATED].saturating_add(counts[REFUSED])
}

fn total(buckets: &[[u64; 5]]) -> [u64; 5] {
    let mut sums = [0_u64; 5];
    for bucket in buckets {
        for (sum, count) in sums.iter_mut().zip(bucket) {
            *sum = sum.saturating_add(*count);
        }
    }
    sums
}

pub(super) fn sign_of(how: GiveUp, at: &str) -> Sign {
    let says = match how {
        GiveUp::AfterBinding => format!(
            "clients of {at} get answers to Bindings and ask for allocations no more, while elsewhere \
             they do: look for what drops an Allocate on the way"
        ),
        GiveUp::AfterChallenge => format!(
            "clients of {at} are challenged (401) and do not come back, while elsewhere they allocate: \
             answers may not get back to them; look at the way out of its node"
        ),
        GiveUp::WrongCredentials => format!(
            "clients of {at} are refused for their credentials (401), while elsewhere they allocate: \
             look at the secret and the clock of that relay"
        ),
    };
    Sign { kind: SignKind::ClientsGiveUp, says }
}
