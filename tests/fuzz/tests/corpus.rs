//! What a fuzzer has learned, tried again.

use std::{fs, path::Path};

use fuzz::TARGETS;

#[test]
fn what_the_corpora_hold_breaks_nothing() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        let mut count = 0;
        for entry in fs::read_dir(&folder).expect("a folder for each target") {
            let path = entry.expect("an entry").path();
            (target.run)(&fs::read(&path).expect("a file"));
            count += 1;
        }
        assert!(count > 0, "nothing in {}", folder.display());
    }
}

#[test]
fn each_cut_and_each_changed_bit_of_the_corpora_breaks_nothing() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        for entry in fs::read_dir(&folder).expect("a folder for each target") {
            let bytes = fs::read(entry.expect("an entry").path()).expect("a file");
            for at in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
                (target.run)(&bytes[..at]);
                let mut changed = bytes.clone();
                changed[at] ^= 1 << (at % 8);
                (target.run)(&changed);
            }
        }
    }
}
