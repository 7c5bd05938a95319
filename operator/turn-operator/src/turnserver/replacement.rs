//! Relays that are not reached for long, and are replaced on other nodes where the spec says so.
//!
//! The region is asked for one relay more, which finds a node that has none: the one that is not
//! reached keeps its node's ports, so that it is in nobody's way, and is tried on. When it is reached
//! again the region goes back to its size, and Kubernetes ends the relay that became ready last: the
//! one that came back, which has no clients yet.

use std::collections::BTreeSet;

use k8s_openapi::jiff::SignedDuration;
use turn_api::{Gate, Validated, ValidatedRegion, Workload};

use super::{observed::Observed, relay_pod::RelayPod};

/// How many relays a region is to have, with those that replace others. Only of a Deployment: at most
/// twice as many as the spec says, so that a fault of a whole region does not take all its nodes, and
/// not more than it has nodes.
#[must_use]
pub fn replicas(validated: &Validated, region: &ValidatedRegion, observed: &Observed) -> usize {
    let asked = usize::from(region.replicas());
    let replaced = unreached(validated, region, observed).count().min(asked);
    let nodes = observed.nodes_of(region).count();
    (asked + replaced).min(nodes.max(asked))
}

/// The relays that others serve instead of: the region has as many ready ones as the spec says.
#[must_use]
pub fn replaced<'a>(validated: &'a Validated, observed: &'a Observed) -> BTreeSet<&'a str> {
    let is_whole = |region: &&ValidatedRegion| {
        let of_region = |pod: &&RelayPod| pod.ready && pod.region == region.name();
        let ready = observed.pods.iter().filter(of_region).count();
        ready > 0 && ready >= usize::from(region.replicas())
    };
    let whole = validated.regions().iter().filter(is_whole);
    whole.flat_map(|region| unreached(validated, region, observed)).map(|pod| &*pod.name).collect()
}

/// The relays of a region that are not reached for as long as the spec says.
fn unreached<'a>(
    validated: &'a Validated,
    region: &'a ValidatedRegion,
    observed: &'a Observed,
) -> impl Iterator<Item = &'a RelayPod> {
    let settings = validated.reachability();
    let may = settings.gate == Gate::Enforce && validated.workload() == Workload::Deployment;
    let after = settings.replace_after_seconds.filter(|_| may);
    let after = after.map(|seconds| SignedDuration::from_secs(seconds.into()));
    observed.pods.iter().filter(move |pod| {
        let is_long = pod.unreached_for.zip(after).is_some_and(|(passed, after)| passed >= after);
        is_long && pod.region == region.name() && !pod.draining && !pod.ended
    })
}

#[cfg(test)]
mod tests {
    use turn_api::Document;

    use super::*;
    use crate::turnserver::observed::NodeFacts;

    fn validated(reachability: &str) -> Validated {
        let text = format!(
            "{{apiVersion: turnpike.dev/v1alpha1, kind: TurnServer, metadata: {{name: e}}, spec: \
             {{replicas: 2, reachability: {reachability}}}}}"
        );
        Document::read_all(&text).remove(0).expect("a good one").validated
    }

    /// So many nodes, and relays that are ready, or not reached for so many seconds.
    fn observed(nodes: usize, relays: &[Option<i64>]) -> Observed {
        let node = |index| NodeFacts { name: format!("n{index}"), ..NodeFacts::default() };
        let relay = |(index, unreached): (usize, &Option<i64>)| RelayPod {
            name: format!("r{index}"),
            region: turn_api::DEFAULT_REGION.to_owned(),
            ready: unreached.is_none(),
            unreached_for: unreached.map(SignedDuration::from_secs),
            ..RelayPod::default()
        };
        Observed {
            nodes: (0..nodes).map(node).collect(),
            pods: relays.iter().enumerate().map(relay).collect(),
            ..Observed::default()
        }
    }

    #[track_caller]
    fn check(reachability: &str, observed: &Observed, expected: usize, names: &[&str]) {
        let validated = validated(reachability);
        assert_eq!(replicas(&validated, &validated.regions()[0], observed), expected);
        assert_eq!(replaced(&validated, observed), names.iter().copied().collect());
    }

    #[test]
    fn a_relay_that_is_not_reached_for_long_is_replaced_where_a_node_is_free() {
        const REPLACES: &str = "{replaceAfterSeconds: 600}";
        check(REPLACES, &observed(3, &[None, None]), 2, &[]);
        check(REPLACES, &observed(3, &[None, Some(599)]), 2, &[]);
        check(REPLACES, &observed(3, &[None, Some(600)]), 3, &[]);
        check("{}", &observed(3, &[None, Some(600)]), 2, &[]);
        // The other one serves.
        check(REPLACES, &observed(3, &[None, Some(700), None]), 3, &["r1"]);
        // No other node, and no more nodes than relays at first.
        check(REPLACES, &observed(2, &[None, Some(600)]), 2, &[]);
        check(REPLACES, &observed(1, &[None]), 2, &[]);
        // At most twice as many, however many fail.
        let all = [Some(900), Some(900), Some(700), Some(700)];
        check(REPLACES, &observed(9, &all), 4, &[]);
    }
}
