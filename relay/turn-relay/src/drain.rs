//! How a relay ends: no new allocations, those that run are served, and then it is over.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, interval, timeout_at};

use crate::Relay;

/// How often the workers are asked whether anything is left.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Drains a relay: returns when its last allocation has ended, or when the time is up. How many
/// allocations were still there then.
pub async fn drain(relay: &Arc<Relay>, timeout: Duration) -> usize {
    relay.drain();
    let deadline = Instant::now() + timeout;
    match timeout_at(deadline, until_empty(relay)).await {
        Ok(()) => 0,
        Err(_elapsed) => left(relay).await,
    }
}

async fn until_empty(relay: &Arc<Relay>) {
    let mut ticks = interval(ASK_EVERY);
    let mut before = None;
    loop {
        ticks.tick().await;
        let left = left(relay).await;
        if before != Some(left) {
            tracing::info!(allocations = left, "draining");
        }
        if left == 0 {
            return;
        }
        before = Some(left);
    }
}

async fn left(relay: &Arc<Relay>) -> usize {
    let relay = Arc::clone(relay);
    let asked = tokio::task::spawn_blocking(move || relay.snapshot()).await;
    // Workers that do not answer serve nobody.
    asked.ok().and_then(Result::ok).map_or(0, |snapshot| snapshot.allocations)
}
