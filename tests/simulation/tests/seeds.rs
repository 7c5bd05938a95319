//! Seeds in number: each a different story.

use turn_proto::{DropReason, EndReason, Refusal};

/// What a simulated relay cannot come to: its limits of rates are off, its sockets open at once, no
/// datagram is long, TCP is not relayed, and nobody moves.
const OUT_OF_REACH: [DropReason; 9] = [
    DropReason::AllocationRate,
    DropReason::UserRate,
    DropReason::RelayRate,
    DropReason::AllocationOpening,
    DropReason::Icmp,
    DropReason::TooLong,
    DropReason::RelaysStreams,
    DropReason::TooManyConnections,
    DropReason::ClientAway,
];

/// The same of refusals.
const NEVER_REFUSED: [Refusal; 2] = [Refusal::ConnectionExists, Refusal::ConnectionFailed];

/// The same of ends.
const NEVER_ENDED: [EndReason; 2] = [EndReason::NotOpened, EndReason::Disallowed];

#[test]
fn no_seed_breaks_a_promise() {
    let summary = simulation::run_all(0..10_000).unwrap_or_else(|broken| panic!("{broken}"));
    // A simulation in which nothing happens holds every promise.
    assert!(summary.echoed > 100_000, "only {} datagrams came back", summary.echoed);
    let counters = summary.counters;
    for reason in DropReason::ALL.into_iter().filter(|reason| !OUT_OF_REACH.contains(reason)) {
        assert!(counters.drops[reason as usize] > 100, "hardly any {reason:?}");
    }
    for refusal in Refusal::ALL.into_iter().filter(|refusal| !NEVER_REFUSED.contains(refusal)) {
        assert!(counters.refusals[refusal as usize] > 100, "hardly any {refusal:?}");
    }
    for reason in EndReason::ALL.into_iter().filter(|reason| !NEVER_ENDED.contains(reason)) {
        assert!(counters.ended[reason as usize] > 10, "hardly any {reason:?}");
    }
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    for seed in [1, 2, 3] {
        assert_eq!(simulation::run(seed), simulation::run(seed));
    }
}
