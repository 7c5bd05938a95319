//! What is asked for.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Deserialize;
use turn_api::Validated;
use turn_auth::is_probe_user;

use crate::refusal::Refusal;

/// The longest user, in bytes: with the expiry it is a USERNAME of STUN, which has 508 at most
/// (RFC 8489, section 14.3).
const LONGEST_USER: usize = 128;

/// What a request asks for, in its query or as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Asked {
    /// The region whose relays come first. Absent: that of the header `X-Turnpike-Region`, if a load
    /// balancer sets it.
    pub(super) region: Option<String>,
    /// Who the credential is for: the relays count quotas by it and log it. Absent: a random name,
    /// for every request another one.
    pub(super) user: Option<String>,
    /// Say what was left out, and why.
    pub(super) diagnose: bool,
}

/// The same, checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) region: Option<String>,
    pub(super) user: String,
    pub(super) diagnose: bool,
}

impl Asked {
    /// # Errors
    /// When a parameter is unknown or wrong; names it.
    pub(super) fn from_query(query: &str) -> Result<Self, Refusal> {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "region" => asked.region = Some(value.into_owned()),
                "user" => asked.user = Some(value.into_owned()),
                "diagnose" => asked.diagnose = flag(&value)?,
                other => {
                    let message =
                        format!("{other:?}: no such parameter; there are region, user, diagnose");
                    return Err(Refusal::field("query", message));
                }
            }
        }
        Ok(asked)
    }

    /// # Errors
    /// When it is not JSON, or a field is unknown or wrong; names it.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body).map_err(|error| Refusal::field("body", error.to_string()))
    }

    /// Checks it against the `TurnServer`. A region that a load balancer names, and that there is not,
    /// is not the caller's fault: it is passed over.
    ///
    /// # Errors
    /// When a field is wrong; names it.
    pub(super) fn checked(
        self,
        fleet: &Validated,
        of_balancer: Option<&str>,
    ) -> Result<Checked, Refusal> {
        let exists = |name: &str| fleet.regions().iter().any(|region| region.name() == name);
        let region = match self.region {
            Some(region) if exists(&region) => Some(region),
            Some(region) => {
                let names: Vec<_> = fleet.regions().iter().map(|region| region.name()).collect();
                let message = format!("{region:?}: no such region; there are {}", names.join(", "));
                return Err(Refusal::field("region", message));
            }
            None => of_balancer.filter(|name| exists(name)).map(str::to_owned),
        };
        let user = match self.user {
            Some(user) => checked_user(user)?,
            None => random_user()?,
        };
        Ok(Checked { region, user, diagnose: self.diagnose })
    }
}

fn flag(value: &str) -> Result<bool, Refusal> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        other => Err(Refusal::field("diagnose", format!("{other:?}: must be 1 or 0"))),
    }
}

fn checked_user(user: String) -> Result<String, Refusal> {
    let wrong = |why: &str| Err(Refusal::field("user", format!("{user:?}: {why}")));
    if user.is_empty() || user.len() > LONGEST_USER {
        return wrong("must have 1 to 128 bytes");
    }
    if user.chars().any(char::is_control) {
        return wrong("must have no control characters");
    }
    if is_probe_user(&user) {
        return wrong("names that begin so are those of probers");
    }
    Ok(user)
}

/// A name of its own for each request: all clients of a back end under one name would share one
/// quota.
fn random_user() -> Result<String, Refusal> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes)
        .map_err(|_| Refusal::unavailable("the system has no random numbers"))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
