//! The rules that real clients rely on, one test each: what libwebrtc and nICEr need from the
//! answers, and what RFC 8489, RFC 8656, RFC 6062 and RFC 8016 ask of a server.

mod allocate;
mod authentication;
mod client_step;
mod conformance;
mod data;
mod discovery;
mod drain;
mod dual_allocation;
mod harness;
mod icmp;
mod limits;
mod mobility;
mod password_algorithms;
mod permission_and_channel;
mod probe_user;
mod reservation;
mod stateless;
mod tcp_relaying;
