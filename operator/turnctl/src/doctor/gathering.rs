//! How long browsers gather because of what was found.
//!
//! Gathering is complete when each URL has been tried on each network interface, so the slowest one
//! counts. The times are those of the clients' own sources: libwebrtc (Chrome, Edge, Safari, iOS and
//! Android apps) sends a request nine times and gives up 39.75 s after the first (`stun_request.cc`);
//! nICEr (Firefox) after 11.1 s over UDP, 12.8 s over TCP and TLS (`stun_client_ctx.c`,
//! `ice_component.c`). Measured with stock browsers, a TCP connection that nothing answers ends
//! libwebrtc's gathering only when the system gives it up, later than an app waits; and over UDP a
//! refusal by ICMP helps no more than silence.
//!
//! A URL of TURN over DTLS counts for nothing here: browsers take it for one of TLS over TCP, and that
//! is not tried.

use std::{io::ErrorKind, time::Duration};

use serde::Serialize;
use turn_probe::{Cause, Failure, Stage, Timing, Transport};

use super::findings::{Check, Outcome};

/// A family of browsers with one implementation of ICE.
struct Browser {
    name: &'static str,
    /// Until it gives up a server that says nothing over UDP.
    silent_datagrams: Duration,
    /// Until it gives up a connection that stands, but says nothing.
    silent_stream: Duration,
    /// Until it gives up a connection that nothing answers; none if it leaves that to the system.
    silent_connect: Option<Duration>,
}

const LIBWEBRTC: Browser = Browser {
    name: "Chrome",
    silent_datagrams: Duration::from_millis(39_750),
    silent_stream: Duration::from_millis(39_750),
    silent_connect: None,
};

const BROWSERS: [Browser; 3] = [
    LIBWEBRTC,
    Browser { name: "Safari and iOS", ..LIBWEBRTC },
    Browser {
        name: "Firefox",
        silent_datagrams: Duration::from_millis(11_100),
        silent_stream: Duration::from_millis(12_800),
        silent_connect: Some(Duration::from_millis(12_800)),
    },
];

/// How long a browser gathers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Gathering {
    pub(super) browser: &'static str,
    /// None: it does not end before the system gives up a connection, which takes minutes.
    pub(super) seconds: Option<f64>,
}

/// How long each browser gathers with these results.
pub(super) fn of(checks: &[Check]) -> Vec<Gathering> {
    let slowest = |browser: &Browser| {
        let times = checks.iter().map(|check| time(browser, check));
        times.collect::<Option<Vec<_>>>().map(|times| times.into_iter().max().unwrap_or_default())
    };
    let gathering = |browser: &Browser| Gathering {
        browser: browser.name,
        seconds: slowest(browser).map(|longest| longest.as_secs_f64()),
    };
    BROWSERS.iter().map(gathering).collect()
}

/// How long a browser is busy with one URL over one address. None: too long for anybody.
fn time(browser: &Browser, check: &Check) -> Option<Duration> {
    let is_tried = check.parsed.as_ref().is_some_and(super::ice_url::IceUrl::is_for_browsers);
    match &check.outcome {
        _ if !is_tried => Some(Duration::ZERO),
        Outcome::Works(report) => Some(until_candidate(&report.stages)),
        Outcome::Failed(failure) => time_of_failure(browser, failure),
        Outcome::Unusable(_) | Outcome::Unresolved(_) | Outcome::NoRoute => Some(Duration::ZERO),
    }
}

fn time_of_failure(browser: &Browser, failure: &Failure) -> Option<Duration> {
    let before = until_candidate(&failure.before);
    let is_datagrams = failure.transport == Transport::Udp;
    let is_refused_datagram = matches!(
        *failure.cause,
        Cause::Io { kind: ErrorKind::ConnectionRefused, .. } if is_datagrams
    );
    let is_silent = matches!(*failure.cause, Cause::Silence(_)) || is_refused_datagram;
    match failure.stage {
        Stage::Connect if is_silent => browser.silent_connect,
        Stage::Binding | Stage::Allocate if is_silent && is_datagrams => {
            Some(browser.silent_datagrams)
        }
        Stage::Binding | Stage::Allocate if is_silent => Some(browser.silent_stream),
        // Refused at once, or with a candidate that will not work: no browser notices that.
        Stage::Connect
        | Stage::Binding
        | Stage::Allocate
        | Stage::Permission
        | Stage::Echo
        | Stage::ChannelBind
        | Stage::ChannelEcho
        | Stage::LargeEcho
        | Stage::Refresh
        | Stage::PeerPermission
        | Stage::PeerEcho => Some(before),
    }
}

/// A browser has its candidate when it is connected and has allocated; it asks for no Binding first.
fn until_candidate(stages: &[Timing]) -> Duration {
    let counted = [Stage::Connect, Stage::Allocate];
    let counted = stages.iter().filter(|timing| counted.contains(&timing.stage));
    counted.map(|timing| timing.duration).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::ice_url::IceUrl;

    fn check(url: &str, stage: Stage, cause: Cause) -> Check {
        let parsed = IceUrl::parse(url).expect("a URL");
        let address = ([192, 0, 2, 1], parsed.port).into();
        let failure = Failure {
            stage,
            server: address,
            transport: parsed.transport,
            outside: Vec::new(),
            before: vec![Timing { stage: Stage::Connect, duration: Duration::from_secs(1) }],
            cause: Box::new(cause),
        };
        Check {
            url: url.to_owned(),
            username: None,
            parsed: Some(parsed),
            address: Some(address),
            outcome: Outcome::Failed(failure),
        }
    }

    fn seconds(checks: &[Check]) -> Vec<Option<f64>> {
        of(checks).into_iter().map(|gathering| gathering.seconds).collect()
    }

    const SILENCE: Cause = Cause::Silence(Duration::from_secs(10));

    fn refused() -> Cause {
        std::io::Error::from(ErrorKind::ConnectionRefused).into()
    }

    #[test]
    fn silence_is_waited_for_as_each_browser_does() {
        let udp = check("turn:a.example:3478?transport=udp", Stage::Binding, SILENCE);
        assert_eq!(seconds(std::slice::from_ref(&udp)), [Some(39.75), Some(39.75), Some(11.1)]);
        let stream = check("turn:a.example:3478?transport=tcp", Stage::Allocate, SILENCE);
        assert_eq!(seconds(&[stream]), [Some(39.75), Some(39.75), Some(12.8)]);
        let connect = check("turns:a.example:443", Stage::Connect, SILENCE);
        assert_eq!(seconds(&[udp, connect]), [None, None, Some(12.8)], "the slowest counts");
    }

    #[test]
    fn a_refusal_ends_it_at_once_over_tcp_and_helps_nobody_over_udp() {
        let udp = check("turn:a.example:3478?transport=udp", Stage::Binding, refused());
        assert_eq!(seconds(&[udp]), [Some(39.75), Some(39.75), Some(11.1)]);
        let tcp = check("turn:a.example:3478?transport=tcp", Stage::Connect, refused());
        assert_eq!(seconds(&[tcp]), [Some(1.0); 3]);
    }

    #[test]
    fn what_browsers_do_not_notice_or_not_try_costs_nothing() {
        let closed = check("turn:a.example:3478?transport=udp", Stage::Echo, SILENCE);
        assert_eq!(seconds(&[closed]), [Some(1.0); 3]);
        let dtls = check("turns:a.example:5349?transport=udp", Stage::Connect, SILENCE);
        assert_eq!(seconds(&[dtls]), [Some(0.0); 3]);
    }
}
