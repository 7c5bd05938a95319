//! The URLs of STUN and TURN servers (RFC 7064, RFC 7065), and what browsers make of them.

use std::{fmt, net::IpAddr};

use turn_probe::Transport;

/// A `stun:`, `stuns:`, `turn:` or `turns:` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IceUrl {
    pub(super) relays: bool,
    pub(super) transport: Transport,
    pub(super) host: Host,
    pub(super) port: u16,
    names_port: bool,
    names_transport: bool,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    Ip(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(ip) => write!(f, "{ip}"),
        }
    }
}

/// What a client would refuse a URL for, and what would be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) says: &'static str,
    pub(super) remedy: &'static str,
}

const FORM: &str = "write scheme:host:port, such as turn:turn.example.org:3478?transport=udp";

const fn malformed(says: &'static str, remedy: &'static str) -> Malformed {
    Malformed { says, remedy }
}

impl IceUrl {
    /// Reads it as browsers do.
    ///
    /// # Errors
    /// When a browser would throw, or pass over it.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        let (scheme, rest) = text.split_once(':').ok_or(malformed("no scheme", FORM))?;
        let (relays, secure) = match scheme.to_ascii_lowercase().as_str() {
            "stun" => (false, false),
            "stuns" => (false, true),
            "turn" => (true, false),
            "turns" => (true, true),
            _ => return Err(malformed("not a scheme of STUN or TURN", FORM)),
        };
        if rest.starts_with("//") {
            return Err(malformed("no // belongs behind the scheme: browsers throw", FORM));
        }
        let (authority, query) = rest.split_once('?').map_or((rest, None), |(a, q)| (a, Some(q)));
        if authority.contains(['@', '/', '#', ' ']) {
            let remedy = "give username and credential beside the URL, and nothing behind the port";
            return Err(malformed("more than host and port", remedy));
        }
        if query.is_some() && !relays {
            return Err(malformed("a stun: URL takes nothing behind ?", "leave it out"));
        }
        let stream = match query {
            None => secure,
            Some("transport=udp") => false,
            Some("transport=tcp") => true,
            Some(_) => {
                let remedy = "write ?transport=udp or ?transport=tcp, in small letters";
                return Err(malformed("neither ?transport=udp nor ?transport=tcp", remedy));
            }
        };
        let transport = match (stream, secure) {
            (false, false) => Transport::Udp,
            (true, false) => Transport::Tcp,
            (true, true) => Transport::Tls,
            (false, true) => Transport::Dtls,
        };
        let (host, port) = host_and_port(authority)?;
        let default = if secure { 5349 } else { 3478 };
        Ok(Self {
            relays,
            transport,
            host,
            port: port.unwrap_or(default),
            names_port: port.is_some(),
            names_transport: query.is_some(),
        })
    }

    /// Whether browsers connect to its port at all: libwebrtc to 53, 80, 443 and from 1024 on
    /// (`IsAllowedByPortRange` of its TURN port), Firefox to none of its banned ones, of which 53 is
    /// one.
    pub(super) const fn has_port_for_browsers(&self) -> bool {
        matches!(self.port, 80 | 443 | 1024..)
    }

    /// Whether browsers speak it at all: none speaks TURN over DTLS. A `turns:` URL is one of TLS over
    /// TCP to them, whatever it says of the transport (libwebrtc `pc/ice_server_parsing.cc`, Firefox
    /// `PeerConnectionImpl`).
    pub(super) fn is_for_browsers(&self) -> bool {
        self.transport != Transport::Dtls
    }

    /// What works, and could be better.
    pub(super) fn advice(&self) -> Vec<(&'static str, &'static str)> {
        let mut advice = Vec::new();
        if !self.names_port {
            advice.push(("no port, so clients take 3478, or 5349 over TLS", "name the port"));
        }
        if self.relays && self.transport == Transport::Udp && !self.names_transport {
            let remedy = "add ?transport=udp, and a URL with ?transport=tcp beside it";
            advice.push(("says nothing of the transport, so clients take UDP alone", remedy));
        }
        if !self.is_for_browsers() {
            let remedy = "give browsers turns: with ?transport=tcp";
            advice.push((
                "TURN over DTLS, which no browser speaks: they take it for TLS over TCP",
                remedy,
            ));
        }
        if self.transport == Transport::Tls && matches!(self.host, Host::Ip(_)) {
            let remedy = "give a name that stands in the certificate";
            advice.push(("TLS to an IP address: few certificates are for one", remedy));
        }
        advice
    }
}

/// A URL as it may be shown: without what stands before an `@`, which people take for the place of a
/// password.
pub(super) fn shown(url: &str) -> String {
    let Some((before, host)) = url.rsplit_once('@') else { return url.to_owned() };
    let scheme = before.split_once(':').map_or("", |(scheme, _)| scheme);
    format!("{scheme}:…@{host}")
}

fn host_and_port(authority: &str) -> Result<(Host, Option<u16>), Malformed> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let remedy = "write an IPv6 address in brackets, such as turn:[2001:db8::1]:3478";
        let wrong = malformed("no IPv6 address stands in the brackets", remedy);
        let (ip, rest) = rest.split_once(']').ok_or(wrong)?;
        let ip = ip.parse().map(IpAddr::V6).map_err(|_| wrong)?;
        (
            Host::Ip(ip),
            if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(wrong)?) },
        )
    } else {
        let (host, port) =
            authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        if port.is_some_and(|port| port.contains(':')) {
            let remedy = "write an IPv6 address in brackets, such as turn:[2001:db8::1]:3478";
            return Err(malformed("an IPv6 address without brackets, or two ports", remedy));
        }
        if host.is_empty() {
            return Err(malformed("no host", FORM));
        }
        let name = || Host::Name(host.to_owned());
        (host.parse().map_or_else(|_| name(), |ip| Host::Ip(IpAddr::V4(ip))), port)
    };
    let port = port.map(str::parse::<u16>).transpose().ok().filter(|port| *port != Some(0));
    let port = port.ok_or(malformed("the port is no number", "name a port from 1 to 65535"))?;
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_take_is_taken_as_they_take_it() {
        for (text, transport, host, port) in [
            ("turn:a.example", Transport::Udp, "a.example", 3478),
            ("TURN:a.example:80", Transport::Udp, "a.example", 80),
            ("turn:a.example?transport=tcp", Transport::Tcp, "a.example", 3478),
            ("turn:192.0.2.1:3479?transport=udp", Transport::Udp, "192.0.2.1", 3479),
            ("turns:a.example:443?transport=tcp", Transport::Tls, "a.example", 443),
            ("turns:a.example", Transport::Tls, "a.example", 5349),
            ("turns:a.example?transport=udp", Transport::Dtls, "a.example", 5349),
            ("stun:[2001:db8::1]:3478", Transport::Udp, "2001:db8::1", 3478),
            ("stuns:[2001:db8::1]", Transport::Tls, "2001:db8::1", 5349),
        ] {
            let url = IceUrl::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
            assert_eq!((url.transport, url.port), (transport, port), "{text}");
            assert_eq!(url.host.to_string(), host, "{text}");
        }
    }

    #[test]
    fn what_browsers_refuse_is_refused_and_said_how_it_would_be_right() {
        for (text, says) in [
            ("turn.example.org", "no scheme"),
            ("http:turn.example.org", "not a scheme"),
            ("turn://a.example:3478", "no //"),
            ("turn:user@a.example", "more than host and port"),
            ("turn:a.example:3478/path", "more than host and port"),
            ("turn:", "no host"),
            ("turn::3478", "no host"),
            ("turn:a.example:", "the port is no number"),
            ("turn:a.example:0", "the port is no number"),
            ("turn:a.example:65536", "the port is no number"),
            ("turn:2001:db8::1", "without brackets"),
            ("turn:[2001:db8::1", "brackets"),
            ("turn:[a.example]:1", "brackets"),
            ("turn:a.example?transport=UDP", "neither"),
            ("turn:a.example?transport=tls", "neither"),
            ("turn:a.example?", "neither"),
            ("stun:a.example?transport=udp", "takes nothing"),
        ] {
            let wrong = IceUrl::parse(text).expect_err(text);
            assert!(wrong.says.contains(says), "{text}: {wrong:?}");
            assert!(!wrong.remedy.is_empty());
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        for (url, expected) in [
            ("turn:a.example:3478", "turn:a.example:3478"),
            ("turn:alice:hidden@a.example:3478", "turn:…@a.example:3478"),
            ("turn://alice:hid@den@a.example", "turn:…@a.example"),
            ("hidden@a.example", ":…@a.example"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn what_works_but_could_be_better_is_said() {
        let advice = |text| IceUrl::parse(text).expect("a URL").advice().len();
        assert_eq!(advice("turn:a.example:3478?transport=udp"), 0);
        assert_eq!(advice("turn:a.example"), 2);
        assert_eq!(advice("turns:192.0.2.1:443"), 1);
        assert_eq!(advice("turns:a.example:443?transport=udp"), 1);
        for (port, expected) in [(53, false), (80, true), (443, true), (22, false), (1024, true)] {
            let url = IceUrl::parse(&format!("turn:a.example:{port}")).expect("a URL");
            assert_eq!(url.has_port_for_browsers(), expected, "{port}");
        }
    }
}
