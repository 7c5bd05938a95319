//! Clients that nobody here wrote, against a relay that `turnctl up` started on loopback.

mod chromium;
mod coturn;
mod python;
mod turn_client;
mod up;

use std::process::ExitCode;

use cluster::requirement::{Requirement, trial};
use libtest_mimic::{Arguments, Trial};

/// Debian's coturn brings its client, and a peer that sends back what it gets.
const COTURN: &[Requirement] = &[
    Requirement::Program("turnutils_uclient", "coturn"),
    Requirement::Program("turnutils_peer", "coturn"),
];

/// Debian's Chromium and the program that drives it.
const CHROMIUM: &[Requirement] = &[
    Requirement::Program("chromium", "chromium"),
    Requirement::Program("chromedriver", "chromium-driver"),
    Requirement::Program("unshare", "util-linux"),
];

/// Python, which can make environments: Debian has that in a package of its own.
const PYTHON: &[Requirement] = &[Requirement::Program("python3", "python3-venv")];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let uclient = |name: &str, options: &'static [&'static str]| {
        trial(&format!("uclient_{name}"), COTURN, move || coturn::loses_nothing(options))
    };
    let browsers = |transport: &'static str| {
        trial(&format!("chromium_carries_a_file_over_{transport}"), CHROMIUM, move || {
            chromium::carries_a_file(transport)
        })
    };
    let pythons = |library: &str, program: python::Program, transport: &'static str| {
        trial(&format!("{library}_peers_reach_each_other_over_{transport}"), PYTHON, move || {
            python::run(program, transport)
        })
    };
    let trials: Vec<Trial> = vec![
        uclient("over_udp_with_channels", &[]),
        uclient("over_udp_with_send_indications", &["-s"]),
        uclient("over_tcp_with_channels", &["-t"]),
        uclient("over_tcp_with_send_indications", &["-t", "-s"]),
        trial("uclient_with_a_wrong_secret_gets_nothing", COTURN, coturn::wrong_secret),
        browsers("udp"),
        browsers("tcp"),
        pythons("aioice", python::ICE, "udp"),
        pythons("aioice", python::ICE, "tcp"),
        pythons("aiortc", python::RTC, "udp"),
        pythons("aiortc", python::RTC, "tcp"),
        trial(
            "turn_client_proto_keeps_an_allocation_over_udp",
            &[],
            turn_client::keeps_an_allocation_over_udp,
        ),
        trial(
            "turn_client_proto_keeps_an_allocation_over_tcp",
            &[],
            turn_client::keeps_an_allocation_over_tcp,
        ),
        trial(
            "turn_client_proto_keeps_an_allocation_with_sha256",
            &[],
            turn_client::keeps_an_allocation_with_sha256,
        ),
        trial("up_prints_ice_servers_that_work", COTURN, coturn::printed_credential),
        trial("up_names_a_port_that_is_taken", &[], up::port_taken),
        trial("up_names_a_wrong_field", &[], up::wrong_field),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
