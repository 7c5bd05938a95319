//! What visitors' browsers report: it is probed sooner and told, and changes nothing of who is let in.

use super::*;
use crate::{
    sign::SignKind,
    visit::{UrlSeen, Visit, VisitRefused},
};

/// Longer than a visit is told of.
const LONG: u64 = 16 * 60;

fn unreached(url: &str) -> Visit {
    let seen = UrlSeen { url: url.to_owned(), relayed: false, error_code: Some(701) };
    Visit { urls: vec![seen], relays_data: Some(false) }
}

impl Scene {
    fn reports(&mut self, vantage: &str, url: &str) -> Result<usize, VisitRefused> {
        let taken = self.survey.visited(&vantage.into(), &unreached(url), self.now)?;
        Ok(taken.unreached.len())
    }

    /// Who is asked to try which relay over which transport now.
    fn asked(&mut self) -> Vec<(Arc<str>, Arc<str>, Transport)> {
        let vantages: Vec<_> = self.fleet.vantages.iter().map(|one| one.name.clone()).collect();
        let due = vantages.iter().flat_map(|vantage| self.survey.due(vantage, self.now));
        let of = |Order { vantage, subject, .. }| (vantage, subject.relay, subject.transport);
        due.map(of).collect()
    }
}

fn reported(verdict: &Verdict) -> Vec<&str> {
    let reports = verdict.signs.iter().filter(|sign| sign.kind == SignKind::ReportedUnreachable);
    reports.map(|sign| &*sign.says).collect()
}

#[test]
fn what_a_browser_does_not_reach_is_tried_at_once_by_all_and_nothing_else_is() {
    let three = ["one", "two", "three"].map(|name| vantage(name, VantageKind::Outside, None));
    let mut scene = Scene::new(fleet(2, three.into()));
    scene.pass(20, 0, &all_well);
    assert_eq!(scene.asked(), [], "nothing is due");
    assert_eq!(scene.reports("one", "turn:192.0.2.1:3478?transport=udp"), Ok(1));
    let asked = |name: &str| (name.into(), "relay-1".into(), Transport::Udp);
    assert_eq!(scene.asked(), ["one", "two", "three"].map(asked));
}

#[test]
fn no_report_lets_a_relay_out_and_it_is_told_until_it_is_old() {
    let mut scene = Scene::new(fleet(2, outside()));
    scene.pass(20, 0, &all_well);
    for relay in 1..=2 {
        for _ in 0..10 {
            let url = format!("turn:192.0.2.{relay}");
            scene.reports("outside", &url).expect("of the fleet");
            let verdict = scene.pass(2, 0, &all_well);
            assert_eq!(admitted(&verdict), [true, true]);
            let says = reported(&verdict);
            assert!(says.iter().any(|says| says.contains(&url)), "{says:?}");
            assert!(says.iter().any(|says| says.contains("probes reach it")), "{says:?}");
        }
    }
    let verdict = scene.pass(LONG, 0, &all_well);
    assert_eq!((admitted(&verdict), reported(&verdict)), (vec![true, true], vec![]));
    assert!(scene.let_out.is_empty());
}

#[test]
fn no_report_lets_a_relay_in() {
    let nobody_reaches = |_: &str, _: &str, _: Transport| Some(Fault::Silence);
    let mut scene = Scene::new(fleet(1, outside()));
    scene.pass(20, 0, &nobody_reaches);
    let seen = UrlSeen { url: "turn:192.0.2.1".to_owned(), relayed: true, error_code: None };
    let works = Visit { urls: vec![seen], relays_data: Some(true) };
    let taken = scene.survey.visited(&"outside".into(), &works, scene.now);
    assert!(taken.expect("of the fleet").unreached.is_empty());
    assert_eq!(admitted(&scene.pass(5, 0, &nobody_reaches)), [false]);
}

#[test]
fn what_is_refused_leaves_what_was_told_before() {
    let mut scene = Scene::new(fleet(1, outside()));
    scene.reports("outside", "turn:192.0.2.1").expect("of the fleet");
    let told = scene.pass(1, 0, &all_well).signs;
    assert_eq!(scene.reports("outside", "turn:198.51.100.9"), Err(VisitRefused::Foreign));
    let is_told = |says: &str| says.contains("turn:192.0.2.1");
    assert!(told.iter().any(|sign| is_told(&sign.says)), "{told:?}");
    assert!(reported(&scene.pass(1, 0, &all_well)).iter().any(|says| is_told(says)));
}
