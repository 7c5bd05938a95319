//! Which regions may replace their relays now. A workload replaces its relays one at a time; this
//! does the same for the regions, so that never more than one relay of a fleet is away on purpose,
//! and a spec that brings no ready relay stops at the first region.

use turn_api::{Validated, Workload};

use super::{
    desired::{Child, Desired},
    names,
    observed::{Observed, WorkloadFacts},
};

/// How far a region is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is no workload yet: nobody misses what it would replace.
    New,
    /// It has the present spec, and all its relays are ready.
    Done,
    /// It has the present spec, and relays are missing.
    Rolling,
    /// It has another spec, and all its relays are ready.
    Stale,
    /// It has another spec, and relays are missing already.
    StaleAndBroken,
}

/// The workloads, by name, that have to wait until another region has replaced its relays.
#[must_use]
pub fn held_back(validated: &Validated, observed: &Observed, desired: &Desired) -> Vec<String> {
    let stages: Vec<(&Child, Stage)> = validated
        .regions()
        .iter()
        .filter_map(|region| {
            let name = names::workload(validated.name(), region.name());
            let child = desired.workload(&name)?;
            let relays = match validated.workload() {
                Workload::Deployment => Some(i32::from(region.replicas())),
                Workload::DaemonSet => None,
            };
            Some((child, stage(child, region.name(), relays, observed)))
        })
        .collect();
    let missing =
        stages.iter().any(|(_, stage)| matches!(stage, Stage::Rolling | Stage::StaleAndBroken));
    let stale = stages.iter().filter(|(_, stage)| *stage == Stage::Stale);
    // While relays are missing no region may begin; else the first may.
    let may_begin = usize::from(!missing);
    stale.skip(may_begin).map(|(child, _)| child.name.clone()).collect()
}

fn stage(child: &Child, region: &str, relays: Option<i32>, observed: &Observed) -> Stage {
    let Some(facts) = observed.workloads.iter().find(|facts| facts.name == child.name) else {
        return Stage::New;
    };
    let WorkloadFacts { desired, settled, .. } = facts;
    // A region that is to become smaller is not waited for.
    let wanted = relays.map_or(*desired, |relays| relays.min(*desired));
    let ready = observed.pods.iter().filter(|pod| pod.ready && pod.region == region).count();
    let whole = *settled && i64::try_from(ready).is_ok_and(|ready| ready >= wanted.into());
    match (has_template(child, facts), whole) {
        (true, true) => Stage::Done,
        (true, false) => Stage::Rolling,
        (false, true) => Stage::Stale,
        (false, false) => Stage::StaleAndBroken,
    }
}

/// Whether the workload has been given the pods that are desired.
#[must_use]
pub fn has_template(child: &Child, facts: &WorkloadFacts) -> bool {
    child.template_digest().is_some_and(|digest| facts.template_digest == digest)
}

#[cfg(test)]
mod tests {
    use turn_api::Document;

    use super::*;
    use crate::turnserver::{desired::Settings, plan::Plan, relay_pod::RelayPod};

    /// Four regions of one relay each; of each, whether its workload has the present spec, and
    /// whether its relay is ready.
    #[track_caller]
    fn check(regions: [Option<(bool, bool)>; 4], expected: &[&str]) {
        let text = "{apiVersion: turnpike.dev/v1alpha1, kind: TurnServer, metadata: {name: e}, \
                    spec: {regions: [{name: a}, {name: b}, {name: c}, {name: d}]}}";
        let server = Document::read_all(text).remove(0).expect("a good one").turn_server;
        let settings = Settings { relay_image: "r".to_owned(), relay_image_pull_policy: None };
        let mut observed = Observed::default();
        let plan = Plan::new(&server, &observed, &settings).expect("accepted");
        for (region, state) in ["a", "b", "c", "d"].into_iter().zip(regions) {
            let Some((present, ready)) = state else { continue };
            let name = names::workload("e", region);
            let child = plan.desired.workload(&name).expect("a workload");
            let digest = if present { child.template_digest().expect("one") } else { "old" };
            observed.workloads.push(WorkloadFacts {
                region: region.to_owned(),
                template_digest: digest.to_owned(),
                name,
                desired: 1,
                settled: true,
            });
            observed.pods.push(RelayPod { region: region.to_owned(), ready, ..Default::default() });
        }
        let held = held_back(&plan.validated, &observed, &plan.desired);
        let expected: Vec<String> = expected.iter().map(|r| names::workload("e", r)).collect();
        assert_eq!(held, expected);
    }

    #[test]
    fn one_region_at_a_time() {
        let (new, done, rolling) = (None, Some((true, true)), Some((true, false)));
        let (stale, broken) = (Some((false, true)), Some((false, false)));
        check([new, new, new, new], &[]);
        check([stale, stale, stale, stale], &["b", "c", "d"]);
        check([rolling, stale, stale, stale], &["b", "c", "d"]);
        check([done, stale, stale, stale], &["c", "d"]);
        check([done, done, done, stale], &[]);
        // What is broken anyway is given the new spec at once.
        check([stale, broken, stale, new], &["a", "c"]);
    }
}
