//! What a visitor's own browser has found, on the page at `/doctor`: the ICE-servers API's view of one
//! device in one network, when somebody says that calls do not work.
//!
//! Nobody ordered it, and one browser's network is no proof of anything else. So it lets nobody in or
//! out: what was not reached is told as a [`Sign`], and probed at once from everywhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    Transport,
    plan::Subject,
    sign::{Sign, SignKind},
};

/// How many URLs a visit may speak of: more than any browser would take.
const MOST_URLS: usize = 64;
/// The longest URL, in bytes.
const LONGEST_URL: usize = 300;
/// How long a visit is told of.
const TOLD_FOR: Duration = Duration::from_secs(15 * 60);
/// The code of `icecandidateerror` for a server that was not reached.
const NOT_REACHED: u16 = 701;

/// What a visitor's browser has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Visit {
    /// What came of each URL alone; between 1 and 64.
    pub urls: Vec<UrlSeen>,
    /// Whether data went from relay to relay and back. Absent: that was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relays_data: Option<bool>,
}

/// What came of gathering with one URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UrlSeen {
    /// The URL, of at most 300 bytes.
    pub url: String,
    /// Whether there was a relayed candidate.
    pub relayed: bool,
    /// The `errorCode` of its `icecandidateerror`, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<u16>,
}

/// Why a visit is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VisitRefused {
    /// None, or too many.
    #[error("urls: has {0} items; must have between 1 and {MOST_URLS}")]
    Count(usize),
    /// What is no URL of a TURN server.
    #[error(
        "urls[{0}].url: must be a turn: or turns: URL of at most {LONGEST_URL} bytes, such as \
         turn:192.0.2.1:3478?transport=udp"
    )]
    Url(usize),
    /// None of them belongs to the fleet.
    #[error("urls: no relay of this TurnServer has any of them")]
    Foreign,
}

/// Where a URL leads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// None: a name, which may stand for any relay.
    address: Option<IpAddr>,
    port: u16,
    transport: Transport,
}

impl Place {
    /// Reads a URL (RFC 7065) as browsers do: none speaks TURN over DTLS, and `turns:` is TLS to them
    /// whatever stands behind it.
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once(':')?;
        let is_secure = match &*scheme.to_ascii_lowercase() {
            "turn" => false,
            "turns" => true,
            _ => return None,
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let transport = match (query, is_secure) {
            ("transport=udp" | "", false) => Transport::Udp,
            ("transport=tcp", false) => Transport::Tcp,
            ("transport=udp" | "transport=tcp" | "", true) => Transport::Tls,
            _ => return None,
        };
        let (host, port) = match place.rsplit_once(':').filter(|_| !place.ends_with(']')) {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (place, if is_secure { 5349 } else { 3478 }),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let address = match bare {
            Some(v6) => Some(IpAddr::V6(v6.parse().ok()?)),
            None => host.parse().ok().filter(IpAddr::is_ipv4),
        };
        // It stands in a condition's message then.
        let is_of_names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let is_named = !host.is_empty() && host.chars().all(is_of_names);
        (address.is_some() || is_named).then_some(Self { address, port, transport })
    }

    fn leads_to(&self, subject: &Subject) -> bool {
        self.address.is_none_or(|address| address == subject.address)
            && (self.port, self.transport) == (subject.port, subject.transport)
    }
}

/// A URL that gave no candidate, and what it leads to.
#[derive(Debug)]
struct Unreached {
    url: String,
    error_code: Option<u16>,
    subjects: Vec<Subject>,
}

/// The latest visit of a vantage.
#[derive(Debug)]
struct Told {
    at: Instant,
    unreached: Vec<Unreached>,
    /// Candidates came, and no data.
    carries_nothing: bool,
}

/// The latest visit of each vantage.
#[derive(Debug, Default)]
pub(crate) struct Visits(BTreeMap<Arc<str>, Told>);

/// What a visit has brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// What is to be probed now, since it was not reached.
    pub unreached: BTreeSet<Subject>,
    /// How many of the URLs are the fleet's.
    pub known: usize,
}

impl Visits {
    /// Takes what a browser has found, of a fleet that listens on all of `subjects`.
    pub(crate) fn record(
        &mut self,
        vantage: &Arc<str>,
        visit: &Visit,
        subjects: &[Subject],
        now: Instant,
    ) -> Result<Taken, VisitRefused> {
        if !(1..=MOST_URLS).contains(&visit.urls.len()) {
            return Err(VisitRefused::Count(visit.urls.len()));
        }
        let (mut taken, mut unreached) = (Taken::default(), Vec::new());
        for (index, seen) in visit.urls.iter().enumerate() {
            let UrlSeen { url, relayed, error_code } = seen;
            let place = Some(url).filter(|url| url.len() <= LONGEST_URL);
            let place = place.and_then(|url| Place::parse(url)).ok_or(VisitRefused::Url(index))?;
            let found: Vec<_> =
                subjects.iter().filter(|subject| place.leads_to(subject)).cloned().collect();
            taken.known += usize::from(!found.is_empty());
            if !found.is_empty() && !relayed {
                taken.unreached.extend(found.iter().cloned());
                let (url, error_code) = (url.clone(), *error_code);
                unreached.push(Unreached { url, error_code, subjects: found });
            }
        }
        if taken.known == 0 {
            return Err(VisitRefused::Foreign);
        }
        let carries_nothing = visit.relays_data == Some(false);
        self.0.insert(Arc::clone(vantage), Told { at: now, unreached, carries_nothing });
        Ok(taken)
    }

    /// Forgets vantages and relays that are no more, and visits of long ago.
    pub(crate) fn retain(&mut self, vantages: &BTreeSet<Arc<str>>, relays: &BTreeSet<Arc<str>>) {
        self.0.retain(|vantage, told| {
            for unreached in &mut told.unreached {
                unreached.subjects.retain(|subject| relays.contains(&subject.relay));
            }
            told.unreached.retain(|unreached| !unreached.subjects.is_empty());
            vantages.contains(vantage)
        });
    }

    /// What is told of it; `reached` is what probes say.
    pub(crate) fn signs(
        &self,
        now: Instant,
        reached: impl Fn(&Subject) -> Option<bool>,
    ) -> Vec<Sign> {
        let is_new = |told: &Told| now.saturating_duration_since(told.at) < TOLD_FOR;
        let fresh = self.0.iter().filter(|(_, told)| is_new(told));
        let says = fresh.flat_map(|(vantage, told)| {
            let urls = told.unreached.iter().map(|one| one.says(vantage, &reached));
            let data = format!(
                "a browser, {vantage}, gets relayed candidates and no data through them: the relay \
                 ports may be closed to its network"
            );
            urls.chain(told.carries_nothing.then_some(data)).collect::<Vec<_>>()
        });
        says.map(|says| Sign { kind: SignKind::ReportedUnreachable, says }).collect()
    }
}

impl Unreached {
    fn says(&self, vantage: &str, reached: impl Fn(&Subject) -> Option<bool>) -> String {
        let Self { url, error_code, subjects } = self;
        let why = match error_code {
            Some(NOT_REACHED) => " (701, no answer)".to_owned(),
            Some(code) => format!(" (error {code})"),
            None => String::new(),
        };
        let by_probes = match subjects.iter().map(reached).min() {
            Some(Some(true)) => "probes reach it, so look at the way from that network",
            Some(Some(false)) => "probes do not reach it either",
            Some(None) | None => "no probe has said yet whether it is reached",
        };
        format!("a browser, {vantage}, got no relayed candidate from {url}{why}: {by_probes}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(relay: u8, transport: Transport, port: u16) -> Subject {
        Subject {
            relay: format!("relay-{relay}").into(),
            address: IpAddr::from([192, 0, 2, relay]),
            listener: "one".into(),
            transport,
            port,
        }
    }

    fn subjects() -> Vec<Subject> {
        let of = |relay| [(Transport::Udp, 3478), (Transport::Tls, 443)].map(|of| (relay, of));
        let all = [1, 2].into_iter().flat_map(of);
        all.map(|(relay, (transport, port))| subject(relay, transport, port)).collect()
    }

    fn visit(urls: &[(&str, bool, Option<u16>)]) -> Visit {
        let seen = |(url, relayed, error_code): &(&str, bool, Option<u16>)| UrlSeen {
            url: (*url).to_owned(),
            relayed: *relayed,
            error_code: *error_code,
        };
        Visit { urls: urls.iter().map(seen).collect(), relays_data: None }
    }

    fn record(visits: &mut Visits, visit: &Visit) -> Result<Taken, VisitRefused> {
        visits.record(&"phone".into(), visit, &subjects(), Instant::now())
    }

    #[test]
    fn a_url_is_found_among_what_the_fleet_listens_on() {
        let place = |url| Place::parse(url).map(|of| (of.address, of.port, of.transport));
        let one = Some(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(place("turn:192.0.2.1"), Some((one, 3478, Transport::Udp)));
        assert_eq!(place("turn:192.0.2.1:80?transport=tcp"), Some((one, 80, Transport::Tcp)));
        assert_eq!(place("turns:a.example"), Some((None, 5349, Transport::Tls)));
        let v6 = Some("2001:db8::1".parse().expect("an address"));
        assert_eq!(place("turn:[2001:db8::1]"), Some((v6, 3478, Transport::Udp)));
        // None speaks DTLS: to browsers that is TLS.
        assert_eq!(place("turns:[2001:db8::1]:9?transport=udp"), Some((v6, 9, Transport::Tls)));
        assert_eq!(place("TURN:turn_1.example"), Some((None, 3478, Transport::Udp)));
        for bad in [
            "",
            "stun:a",
            "turn:",
            "turn://a",
            "turn:a:b",
            "turn:a?x",
            "turn:2001:db8::1",
            "turn:a b",
            "turn:a\n",
        ] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_a_browser_does_not_reach_is_told_for_a_while_and_until_it_does() {
        let (mut visits, now) = (Visits::default(), Instant::now());
        let urls = [
            ("turn:192.0.2.1:3478?transport=udp", false, Some(701)),
            ("turns:turn.example.com:443?transport=tcp", true, None),
            ("turn:198.51.100.9:3478?transport=udp", false, None),
        ];
        let taken = record(&mut visits, &visit(&urls)).expect("two of the fleet's");
        assert_eq!(taken.known, 2);
        assert_eq!(taken.unreached, [subject(1, Transport::Udp, 3478)].into());
        let says = |visits: &Visits, now, reached| {
            let signs = visits.signs(now, |_| reached);
            signs.into_iter().map(|sign| sign.says).collect::<Vec<_>>()
        };
        let told = says(&visits, now, Some(true));
        let url =
            "got no relayed candidate from turn:192.0.2.1:3478?transport=udp (701, no answer)";
        assert!(told.len() == 1 && told[0].contains(url), "{told:?}");
        assert!(told[0].ends_with("look at the way from that network"), "{told:?}");
        assert!(says(&visits, now, Some(false))[0].ends_with("do not reach it either"));
        assert!(says(&visits, now + TOLD_FOR * 2, None).is_empty());
        record(&mut visits, &visit(&[("turn:192.0.2.1", true, None)])).expect("the fleet's");
        assert!(says(&visits, now, None).is_empty());
    }

    #[test]
    fn relay_ports_that_are_closed_to_a_browser_are_told_and_what_is_gone_is_not() {
        let mut visits = Visits::default();
        let works = visit(&[("turn:192.0.2.1", true, None)]);
        let closed = Visit { relays_data: Some(false), ..works };
        record(&mut visits, &closed).expect("the fleet's");
        assert_eq!(visits.signs(Instant::now(), |_| None).len(), 1);
        visits.retain(&BTreeSet::new(), &BTreeSet::new());
        assert!(visits.signs(Instant::now(), |_| None).is_empty());
    }

    #[test]
    fn what_is_no_visit_of_this_fleet_is_refused_and_the_field_named() {
        let mut visits = Visits::default();
        let refused = |visits: &mut Visits, visit: &Visit| {
            record(visits, visit).expect_err("refused").to_string()
        };
        assert!(refused(&mut visits, &visit(&[])).starts_with("urls: has 0 items"));
        let many = visit(&[("turn:192.0.2.1", false, None); MOST_URLS + 1]);
        assert!(refused(&mut visits, &many).starts_with("urls: has 65 items"));
        let bad = visit(&[("turn:192.0.2.1", true, None), ("http://a", false, None)]);
        assert!(refused(&mut visits, &bad).starts_with("urls[1].url: must be"));
        let long = format!("turn:{}", "a".repeat(LONGEST_URL));
        assert!(refused(&mut visits, &visit(&[(&long, false, None)])).starts_with("urls[0].url"));
        let foreign = visit(&[("turn:198.51.100.1", false, None)]);
        assert_eq!(refused(&mut visits, &foreign), VisitRefused::Foreign.to_string());
        assert!(visits.signs(Instant::now(), |_| None).is_empty());
    }
}
