//! Asks the relays of a fleet what their clients do, and hands it to the survey.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use turn_probe::clients::ClientCounts;

use super::{
    observed_fleet::ObservedFleet,
    relay_client::{AskError, RelayClient},
};

/// How often each relay is asked.
const ASK_EVERY: Duration = Duration::from_secs(15);
/// How many are asked at a time, of one fleet.
const AT_ONCE: usize = 32;

/// What came of asking a relay.
type Asked = (Arc<str>, Result<ClientCounts, AskError>);

/// Asks until it is dropped.
pub(super) async fn watch(fleet: Arc<ObservedFleet>, client: RelayClient) {
    let mut rounds = interval(ASK_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let relays: Vec<_> = {
            let admin = &fleet.state().facts.admin;
            admin.iter().map(|(relay, admin)| (Arc::clone(relay), *admin)).collect()
        };
        ask_all(&fleet, &client, relays).await;
    }
}

async fn ask_all(fleet: &ObservedFleet, client: &RelayClient, relays: Vec<(Arc<str>, SocketAddr)>) {
    let mut asking = JoinSet::new();
    for (relay, admin) in relays {
        if asking.len() >= AT_ONCE {
            take_next(fleet, &mut asking).await;
        }
        let client = client.clone();
        asking.spawn(async move { (relay, client.clients(admin).await) });
    }
    while !asking.is_empty() {
        take_next(fleet, &mut asking).await;
    }
}

/// What nobody tells is not known: nothing follows from it.
async fn take_next(fleet: &ObservedFleet, asking: &mut JoinSet<Asked>) {
    let Some(Ok((relay, asked))) = asking.join_next().await else { return };
    let relay_name = &*relay;
    match asked {
        Ok(counts) => {
            let now = Instant::now();
            let taken = fleet.state().survey.record_clients(&relay, &counts, now);
            if let Err(refused) = taken {
                tracing::debug!(relay = relay_name, %refused, "what it tells of clients is not taken");
            }
        }
        Err(error) => {
            tracing::debug!(relay = relay_name, %error, "a relay tells nothing of clients")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::{Json, Router, routing::get};
    use tokio::{net::TcpListener, sync::mpsc, time::timeout};

    use super::*;
    use crate::{
        metrics::Metrics,
        reachability::{Facts, Reachability, fixture},
    };

    #[tokio::test]
    async fn the_relays_of_a_fleet_that_is_observed_are_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let admin = listener.local_addr().expect("bound");
        let (asked, mut asks) = mpsc::unbounded_channel();
        let answer = get(async move || {
            asked.send(()).expect("somebody waits for it");
            Json(ClientCounts::default())
        });
        let router = Router::new().route("/clients", answer);
        let _serving = tokio::spawn(axum::serve(listener, router).into_future());
        let reachability =
            Reachability::new(Metrics::new().expect("metrics"), Arc::new(|_: &str| {}));
        let admin = BTreeMap::from([("a".into(), admin)]);
        reachability.follow("uid", Some(Facts { admin, ..fixture::facts() }));
        let first = timeout(Duration::from_secs(20), asks.recv()).await;
        assert_eq!(first, Ok(Some(())));
    }
}
