//! Seeds in number: each a different story.

#[test]
fn no_seed_breaks_a_promise() {
    let mut echoed = 0;
    for seed in 0..300 {
        match simulation::run(seed) {
            Ok(summary) => echoed += summary.echoed,
            Err(broken) => panic!("{broken}"),
        }
    }
    // A simulation in which nobody talks holds every promise.
    assert!(echoed > 10_000, "only {echoed} datagrams came back");
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    for seed in [1, 2, 3] {
        assert_eq!(simulation::run(seed), simulation::run(seed));
    }
}
