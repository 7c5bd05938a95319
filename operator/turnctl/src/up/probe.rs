//! Whether the relay can be reached, found by relaying through each of its listeners.

use std::time::Duration;

use relay_config::Protocol;
use turn_auth::UnixSeconds;
use turn_probe::{Report, Target, Transport, echo};
use turn_relay::{ListenerStatus, Relay};

/// How long one listener may take.
const LIMIT: Duration = Duration::from_secs(3);

/// The users that the probe allocates as.
const USERS: [&str; 2] = ["turnctl-probe-a", "turnctl-probe-b"];

/// Relays through one listener after the other, and tells of each. The first that does not relay is
/// the error.
pub(super) async fn every_listener(
    relay: &Relay,
    mut tell: impl FnMut(&ListenerStatus, &Report) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for listener in relay.listeners() {
        let expires_at = UnixSeconds(super::now().as_secs() + 60);
        let [first, second] = USERS.map(|user| relay.own_credential(user, expires_at));
        let target = Target {
            server: listener.external_address,
            transport: match listener.protocol {
                Protocol::Udp => Transport::Udp,
                Protocol::Tcp => Transport::Tcp,
            },
            credentials: [first?, second?],
            limit: LIMIT,
            bind: None,
            relayed_at: None,
        };
        let report = echo(&target).await.map_err(|failure| {
            anyhow::anyhow!("listener {:?} does not relay: {}", listener.name, failure.line())
        })?;
        tell(listener, &report)?;
    }
    Ok(())
}
