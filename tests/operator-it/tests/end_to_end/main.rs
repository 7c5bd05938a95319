//! End-to-end tests on a real cluster with two nodes, which all of them share.

mod harness;
mod shared;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share the cluster, and what one does to the operator another would see.
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, harness::trials());
    let stopped = shared::stop(conclusion.has_failed());
    assert!(stopped.is_ok(), "the cluster did not stop: {stopped:?}");
    conclusion.exit_code()
}
