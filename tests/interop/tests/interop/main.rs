//! Clients that nobody here wrote, against relays on loopback: most of them started by `turnctl up`.

mod amplification;
mod certificate;
mod chromium;
mod coturn;
mod coturn_server;
mod doctor;
mod doctor_page;
mod doctor_report;
mod flood;
mod nat_discovery;
mod network;
mod ports;
mod python;
mod relay;
mod turn_client;
mod unauthenticated;
mod up;

use std::{
    net::{IpAddr, Ipv6Addr},
    process::ExitCode,
};

use cluster::requirement::{Requirement, trial};
use coturn::Listener;
use libtest_mimic::{Arguments, Trial};

/// Debian's coturn brings its client, and a peer that sends back what it gets.
const COTURN: &[Requirement] = &[
    Requirement::Program("turnutils_uclient", "coturn"),
    Requirement::Program("turnutils_peer", "coturn"),
];

/// The server that ours is compared with.
const COTURN_SERVER: &[Requirement] = &[Requirement::Program("turnserver", "coturn")];

/// Hosts of a test's own.
const HOSTS: &[Requirement] = &[Requirement::Root, Requirement::Program("ip", "iproute2")];

/// The same, and a firewall.
const FIREWALL: &[Requirement] = &[
    Requirement::Root,
    Requirement::Program("ip", "iproute2"),
    Requirement::Program("nft", "nftables"),
];

/// coturn's client that finds out how a NAT behaves.
const NAT_DISCOVERY: &[Requirement] = &[Requirement::Program("turnutils_natdiscovery", "coturn")];

/// Debian's Chromium and the program that drives it.
const CHROMIUM: &[Requirement] = &[
    Requirement::Program("chromium", "chromium"),
    Requirement::Program("chromedriver", "chromium-driver"),
    Requirement::Program("unshare", "util-linux"),
];

/// A browser behind a firewall.
const FIREWALL_AND_CHROMIUM: &[Requirement] =
    &[FIREWALL[0], FIREWALL[1], FIREWALL[2], CHROMIUM[0], CHROMIUM[1], CHROMIUM[2]];

/// Python, which can make environments: Debian has that in a package of its own.
const PYTHON: &[Requirement] = &[Requirement::Program("python3", "python3-venv")];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let uclient = |name: &str, options: &'static [&'static str]| {
        trial(&format!("uclient_{name}"), COTURN, move || coturn::loses_nothing(options))
    };
    let dual_uclient = |name: &str, peer: IpAddr, options: &'static [&'static str]| {
        trial(&format!("uclient_{name}"), COTURN, move || {
            coturn::loses_nothing_with_both_families(peer, options)
        })
    };
    let secure_uclient = |name: &str, listener, options: &'static [&'static str]| {
        trial(&format!("uclient_{name}"), COTURN, move || {
            coturn::loses_nothing_securely(listener, options)
        })
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
    let pages = |name: &str, test: fn() -> anyhow::Result<()>| {
        trial(&format!("doctor_page_{name}"), FIREWALL_AND_CHROMIUM, test)
    };
    let trials: Vec<Trial> = vec![
        // `-c`: one relayed address for each client, instead of a pair for RTP and RTCP.
        uclient("over_udp_with_channels", &["-c"]),
        uclient("over_udp_with_send_indications", &["-c", "-s"]),
        uclient("over_udp_with_dont_fragment", &["-c", "-g"]),
        uclient("over_tcp_with_channels", &["-c", "-t"]),
        uclient("over_tcp_with_send_indications", &["-c", "-t", "-s"]),
        uclient("over_udp_with_reserved_ports", &[]),
        uclient("over_tcp_with_reserved_ports", &["-t"]),
        uclient("to_other_relayed_clients", &["-y"]),
        dual_uclient("relays_to_ipv6", Ipv6Addr::LOCALHOST.into(), &["-c", "-x"]),
        dual_uclient("relays_to_ipv6_over_tcp", Ipv6Addr::LOCALHOST.into(), &["-c", "-x", "-t"]),
        // Asks for both families, and takes the second for a peer of that family.
        dual_uclient("has_two_families_of_one_allocation", Ipv6Addr::LOCALHOST.into(), &["-Z"]),
        dual_uclient(
            "has_two_families_of_one_allocation_over_tcp",
            Ipv6Addr::LOCALHOST.into(),
            &["-Z", "-t"],
        ),
        trial("uclient_relays_tcp", COTURN, || coturn::relays_tcp(&[])),
        trial("uclient_relays_tcp_over_tls", COTURN, coturn::relays_tcp_securely),
        trial(
            "natdiscovery_learns_that_there_is_no_nat",
            NAT_DISCOVERY,
            nat_discovery::learns_that_there_is_no_nat,
        ),
        trial("uclient_with_a_wrong_secret_gets_nothing", COTURN, coturn::wrong_secret),
        secure_uclient("over_tls_with_channels", Listener::Secure, &["-c", "-t", "-S"]),
        secure_uclient(
            "over_tls_with_send_indications",
            Listener::Secure,
            &["-c", "-t", "-S", "-s"],
        ),
        // It draws a version for each connection, and tries again when that is DTLS 1.0.
        secure_uclient("over_dtls_with_channels", Listener::Secure, &["-c", "-S"]),
        secure_uclient("over_dtls_with_send_indications", Listener::Secure, &["-c", "-S", "-s"]),
        secure_uclient("over_tcp_where_tls_is_too", Listener::Auto, &["-c", "-t"]),
        secure_uclient("over_tls_where_tcp_is_too", Listener::Auto, &["-c", "-t", "-S"]),
        browsers("udp"),
        browsers("tcp"),
        browsers("tls"),
        pythons("aioice", python::ICE, "udp"),
        pythons("aioice", python::ICE, "tcp"),
        pythons("aioice", python::ICE, "tls"),
        pythons("aiortc", python::RTC, "udp"),
        pythons("aiortc", python::RTC, "tcp"),
        pythons("aiortc", python::RTC, "tls"),
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
            "turn_client_proto_keeps_an_allocation_of_a_hidden_name",
            &[],
            turn_client::keeps_an_allocation_of_a_hidden_name,
        ),
        trial(
            "turn_client_proto_has_addresses_of_both_families",
            &[],
            turn_client::has_addresses_of_both_families,
        ),
        trial(
            "amplification_is_never_more_than_coturns",
            COTURN_SERVER,
            amplification::is_never_more_than_coturns,
        ),
        trial(
            "fifty_thousand_forged_sources_leave_memory_and_clients_alone",
            HOSTS,
            flood::leaves_memory_and_clients_alone,
        ),
        trial("up_prints_ice_servers_that_work", COTURN, coturn::printed_credential),
        trial("up_names_a_port_that_is_taken", &[], up::port_taken),
        trial("up_names_a_wrong_field", &[], up::wrong_field),
        trial("doctor_finds_nothing_wrong_with_a_relay", &[], doctor::finds_nothing_wrong),
        trial("doctor_names_what_is_wrong", &[], doctor::names_what_is_wrong),
        trial("doctor_refuses_bad_input", &[], doctor::refuses_bad_input),
        trial("doctor_names_what_a_firewall_drops", FIREWALL, doctor::names_what_a_firewall_drops),
        trial(
            "doctor_knows_how_long_chromium_gathers",
            FIREWALL_AND_CHROMIUM,
            doctor::knows_how_long_chromium_gathers,
        ),
        pages("finds_a_network_that_is_whole", doctor_page::finds_a_network_that_is_whole),
        pages("says_what_a_firewall_drops", doctor_page::says_what_a_firewall_drops),
        pages("finds_closed_relay_ports", doctor_page::finds_closed_relay_ports),
        pages("tells_wrong_credentials", doctor_page::tells_wrong_credentials),
        pages("refuses_bad_input", doctor_page::refuses_bad_input),
        pages("sends_what_it_has_found", doctor_report::sends_what_it_has_found),
        pages("stops_and_hands_out_its_result", doctor_report::stops_and_hands_out_its_result),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
