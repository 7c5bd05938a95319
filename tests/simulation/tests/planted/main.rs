//! Whether the simulation finds what it is there for: bugs, planted on purpose, one at a time.

mod bugs;
mod scratch;

use std::fs;

use crate::{
    bugs::BUGS,
    scratch::{Scratch, workspace},
};

#[test]
fn the_list_fits_the_source() {
    for bug in BUGS {
        for change in bug.changes {
            let path = workspace().join("relay").join(change.file);
            let source = fs::read_to_string(path).expect("a file of the list");
            let count = source.matches(change.text).count();
            assert_eq!(
                count, 1,
                "renew the list for \"{}\": `{}` stands in {} {count} times",
                bug.sense, change.text, change.file
            );
        }
    }
}

#[test]
fn the_simulation_finds_each_planted_bug_and_nothing_where_none_is() {
    let scratch = Scratch::copy().expect("a copy");
    let (clean, said) = scratch.simulate().expect("a run");
    assert!(clean, "without a bug: {said}");
    let mut survivors = Vec::new();
    for bug in BUGS {
        match scratch.simulate_with(bug) {
            Ok((false, _found)) => {}
            Ok((true, said)) => survivors.push(format!("{}: {said}", bug.sense)),
            Err(error) => survivors.push(format!("{}: {error}", bug.sense)),
        }
    }
    assert!(survivors.is_empty(), "not found:\n{}", survivors.join("\n"));
}
