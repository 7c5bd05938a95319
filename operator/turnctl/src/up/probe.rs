//! Whether the relay can be reached, found by relaying through each of its listeners.

use turn_auth::UnixSeconds;
use turn_probe::{Report, echo};
use turn_relay::{ListenerStatus, Relay};

/// The users that the probe allocates as.
const USERS: [&str; 2] = ["turnctl-probe-a", "turnctl-probe-b"];

/// Relays through one listener after the other, and tells of each. The first that does not relay is
/// the error.
pub(super) async fn every_listener(
    relay: &Relay,
    mut tell: impl FnMut(&ListenerStatus, &Report) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for listener in relay.listeners().iter() {
        let expires_at = UnixSeconds(super::now().as_secs() + 60);
        let from = listener.external_address.ip();
        for target in relay.probe_targets(listener, USERS, expires_at, from)? {
            let report = echo(&target).await.map_err(|failure| {
                anyhow::anyhow!("listener {:?} does not relay: {}", listener.name, failure.line())
            })?;
            tell(listener, &report)?;
        }
    }
    Ok(())
}
