//! Why relays are not reached: the observations of all vantages side by side.

use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc};

use crate::{Transport, observation::Fault, plan::PortRange};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Why a relay is not reached; the worst first.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)+ }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name, as it stands in conditions.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
}

reasons! {
    /// The relay does not take fresh credentials because its clock is another one.
    ClockSkew,
    /// The relay does not take fresh credentials.
    CredentialsRejected,
    /// The relay's certificate is over, or not yet valid.
    CertificateInvalid,
    /// What answers on a TLS or DTLS port speaks no TLS, or has another certificate.
    TLSInterceptedOrMisconfigured,
    /// What answers speaks no TURN, or not as it should.
    NotTurn,
    /// Something translates addresses between the relay and its peers.
    AddressMismatch,
    /// Long packets do not arrive, short ones do.
    PathMTUTooSmall,
    /// A listener's port refuses.
    ListenerRefused,
    /// UDP is answered by no relay, and TCP is.
    UDPBlocked,
    /// TCP is answered by no relay, and UDP is.
    TCPBlocked,
    /// The relay answers over IPv4 and not over IPv6.
    IPv6Unreachable,
    /// A listener does not answer.
    ListenerPortBlocked,
    /// Some of the relay ports are open, others are not.
    RelayRangePartiallyBlocked,
    /// None of the relay ports that were tried is open.
    RelayRangeBlocked,
    /// Who shares the relay's node does not reach it at its public address, and nobody else tries:
    /// that shows nothing, since a node need not reach itself that way.
    HairpinUnsupported,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with one listener at one address, or with the relay ports there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Why.
    pub reason: Reason,
    /// What was seen, without anything that differs from one probe to the next.
    pub observation: String,
    /// What would mend it: the firewall rule, where one would.
    pub remedy: String,
}

impl Finding {
    /// Both in one line.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}; {}", self.observation, self.remedy)
    }
}

/// What the rest of the fleet shows of a listener that says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Elsewhere {
    /// Some listener of the same wire (UDP or TCP) is answered, at any relay.
    pub(crate) same_wire: bool,
    /// Some listener of the other wire is.
    pub(crate) other_wire: bool,
    /// This very relay answers over IPv4.
    pub(crate) same_relay_over_ipv4: bool,
}

/// What a transport is to a firewall.
pub(crate) const fn wire(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp | Transport::Dtls => "UDP",
        Transport::Tcp | Transport::Tls => "TCP",
    }
}

/// A firewall rule that lets a port or a range of them in, in the words of nftables.
fn rule(address: IpAddr, wire: &str, ports: &str) -> String {
    let family = if address.is_ipv4() { "ip" } else { "ip6" };
    format!("{family} daddr {address} {} dport {ports} accept", wire.to_lowercase())
}

/// What is wrong with a listener. `skewed` says that the relay's clock is known to be another one.
pub(crate) fn of_listener(
    fault: Fault,
    transport: Transport,
    address: IpAddr,
    port: u16,
    elsewhere: Elsewhere,
    skewed: bool,
) -> Finding {
    let wire = wire(transport);
    let place = format!("{transport} {}", std::net::SocketAddr::new(address, port));
    let open = || format!("open {wire} {port}: {}", rule(address, wire, &port.to_string()));
    let finding =
        |reason, observation: String, remedy: String| Finding { reason, observation, remedy };
    match fault {
        Fault::Silence | Fault::NoRoute | Fault::Full | Fault::Busy => {
            let reason = silence(address, wire, elsewhere);
            finding(reason, format!("{place} does not answer"), open())
        }
        Fault::Refused => {
            let says = format!("{place} refuses");
            finding(Reason::ListenerRefused, says, format!("do not reject: {}", open()))
        }
        Fault::CertificateTime => {
            let says = format!("the certificate on {place} has ended or not begun");
            finding(Reason::CertificateInvalid, says, "renew it".to_owned())
        }
        Fault::CertificateOther => {
            let says = format!("{place} shows another certificate than the relay's");
            let remedy = "see which proxy or load balancer stands before the relay";
            finding(Reason::TLSInterceptedOrMisconfigured, says, remedy.to_owned())
        }
        Fault::Handshake => {
            let says = format!("no TLS handshake with {place}");
            let remedy = "see which proxy or load balancer stands before the relay";
            finding(Reason::TLSInterceptedOrMisconfigured, says, remedy.to_owned())
        }
        Fault::NotTurn | Fault::Other => {
            let says = format!("what answers on {place} is no TURN server, or a broken one");
            finding(
                Reason::NotTurn,
                says,
                "see the relay's log, and what stands before it".to_owned(),
            )
        }
        Fault::Credentials if skewed => {
            let says = format!("{place} refuses credentials, and the relay's clock is another one");
            finding(Reason::ClockSkew, says, "set the clock of its node".to_owned())
        }
        Fault::Credentials => {
            let says = format!("{place} refuses credentials of the fleet's own secret");
            let remedy = "see whether the relay could read the Secret: its log tells";
            finding(Reason::CredentialsRejected, says, remedy.to_owned())
        }
        Fault::LongPackets => {
            let says = format!("packets of 1,200 bytes do not get through {place}, short ones do");
            let remedy = format!(
                "let packets of 1,280 bytes through to {address} and from it, and do not drop ICMP errors"
            );
            finding(Reason::PathMTUTooSmall, says, remedy)
        }
        Fault::AddressMismatch | Fault::RelayPorts => {
            let says = format!("what the relay at {address} sends comes from another address");
            let remedy = "let nothing translate the ports between the relay and its peers";
            finding(Reason::AddressMismatch, says, remedy.to_owned())
        }
    }
}

/// What is known of a listener that nobody has tried but who shares its node, and does not reach it.
pub(crate) fn of_hairpin(by: &[Arc<str>], address: IpAddr) -> Finding {
    let observation = format!(
        "{}, on the relay's own node, does not reach it at {address}, and nobody else tries: many \
         networks lead no node to itself through its public address (hairpin)",
        by.join(", ")
    );
    let remedy = "run an agent elsewhere (turnctl vantage), or relays on a second node".to_owned();
    Finding { reason: Reason::HairpinUnsupported, observation, remedy }
}

fn silence(address: IpAddr, wire: &str, elsewhere: Elsewhere) -> Reason {
    let Elsewhere { same_wire, other_wire, same_relay_over_ipv4 } = elsewhere;
    if address.is_ipv6() && same_relay_over_ipv4 {
        return Reason::IPv6Unreachable;
    }
    match wire {
        _ if same_wire || !other_wire => Reason::ListenerPortBlocked,
        "UDP" => Reason::UDPBlocked,
        _ => Reason::TCPBlocked,
    }
}

/// What is wrong with the relay ports of a relay.
pub(crate) fn of_range(
    address: IpAddr,
    range: PortRange,
    open: &BTreeSet<u16>,
    closed: &BTreeSet<u16>,
) -> Finding {
    let all = format!("{}-{}", range.from, range.to);
    let remedy = format!("open UDP {all}: {}", rule(address, "UDP", &all));
    if open.is_empty() {
        let observation = format!("no relay port of {address} lets datagrams in and out");
        return Finding { reason: Reason::RelayRangeBlocked, observation, remedy };
    }
    let observation = format!("of the relay ports of {address}, {}", ranges(open, closed));
    Finding { reason: Reason::RelayRangePartiallyBlocked, observation, remedy }
}

/// The ports that were tried, neighbours of one kind as a range.
fn ranges(open: &BTreeSet<u16>, closed: &BTreeSet<u16>) -> String {
    let ports: BTreeSet<_> = open.union(closed).copied().collect();
    let mut runs: Vec<(u16, u16, bool)> = Vec::new();
    for port in ports {
        let is_closed = closed.contains(&port);
        match runs.last_mut() {
            Some((_, last, kind)) if *kind == is_closed => *last = port,
            _ => runs.push((port, port, is_closed)),
        }
    }
    let run = |(first, last, is_closed): &(u16, u16, bool)| {
        let state = if *is_closed { "closed" } else { "open" };
        if first == last {
            format!("{first} is {state}")
        } else {
            format!("{first}-{last} are {state}")
        }
    };
    let shown: Vec<_> = runs.iter().take(6).map(run).collect();
    format!("as far as tried, {}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(fault: Fault, address: &str, elsewhere: Elsewhere) -> Finding {
        let address = address.parse().expect("an address");
        of_listener(fault, Transport::Udp, address, 3478, elsewhere, false)
    }

    #[test]
    fn silence_is_judged_by_what_else_is_answered() {
        let is = |same_wire, other_wire, same_relay_over_ipv4| Elsewhere {
            same_wire,
            other_wire,
            same_relay_over_ipv4,
        };
        let reason = |address, elsewhere| udp(Fault::Silence, address, elsewhere).reason;
        assert_eq!(reason("192.0.2.1", is(true, true, false)), Reason::ListenerPortBlocked);
        assert_eq!(reason("192.0.2.1", is(false, true, false)), Reason::UDPBlocked);
        assert_eq!(reason("192.0.2.1", is(false, false, false)), Reason::ListenerPortBlocked);
        assert_eq!(reason("2001:db8::1", is(true, true, true)), Reason::IPv6Unreachable);
    }

    #[test]
    fn the_rule_that_would_mend_it_is_named() {
        let finding = udp(Fault::Silence, "192.0.2.1", Elsewhere::default());
        let rule = "ip daddr 192.0.2.1 udp dport 3478 accept";
        assert_eq!(
            finding.line(),
            format!("UDP 192.0.2.1:3478 does not answer; open UDP 3478: {rule}")
        );
    }

    #[test]
    fn a_range_that_is_partly_closed_is_told_by_its_parts() {
        let range = PortRange { from: 61_000, to: 65_535 };
        let address = "192.0.2.1".parse().expect("an address");
        let (open, closed) = ([63_000, 65_535].into(), [61_000, 61_700, 62_900].into());
        let finding = of_range(address, range, &open, &closed);
        assert_eq!(finding.reason, Reason::RelayRangePartiallyBlocked);
        let says = "61000-62900 are closed, 63000-65535 are open";
        assert!(finding.observation.ends_with(says), "{}", finding.observation);
        assert!(finding.remedy.ends_with("ip daddr 192.0.2.1 udp dport 61000-65535 accept"));
        let none = of_range(address, range, &BTreeSet::new(), &closed);
        assert_eq!(none.reason, Reason::RelayRangeBlocked);
    }
}
