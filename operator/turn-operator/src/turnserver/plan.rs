//! The decisions about one `TurnServer`, from values to values: each stage that could say no, and
//! what is desired when none did.

use relay_config::ConfigError;
use turn_api::{Invalid, TurnServer, Validated};

use super::{
    certificate::{self, CertificateState},
    credentials::{self, CredentialsState},
    desired::{self, Desired, Rendered, Settings},
    observed::Observed,
    ports::{self, PortProblem},
    rollout,
};

/// Why the spec cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A rule of the resource.
    #[error(transparent)]
    Resource(#[from] Invalid),
    /// A rule of the relay's configuration.
    #[error("the relay would refuse its configuration: {0}")]
    Relay(#[from] ConfigError),
}

/// What was decided about a `TurnServer` whose spec can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The checked resource.
    pub validated: Validated,
    /// What keeps it from its ports.
    pub port_problem: Option<PortProblem>,
    /// What is to be done about its Secret.
    pub credentials: CredentialsState,
    /// What is known of its certificate.
    pub certificate: CertificateState,
    /// What there should be. Applied only when [`Plan::may_apply`].
    pub desired: Desired,
    /// The workloads, by name, that are not to be applied yet: another region goes first.
    pub held_back: Vec<String>,
}

impl Plan {
    /// Decides.
    ///
    /// # Errors
    /// When the spec cannot be carried out.
    pub fn new(
        turn_server: &TurnServer,
        observed: &Observed,
        settings: &Settings,
    ) -> Result<Self, Refused> {
        let validated = Validated::try_from(turn_server)?;
        Self::of_validated(validated, observed, settings)
    }

    /// Decides about a resource that is checked already.
    ///
    /// # Errors
    /// When the relay would refuse its configuration.
    pub fn of_validated(
        validated: Validated,
        observed: &Observed,
        settings: &Settings,
    ) -> Result<Self, Refused> {
        let rendered = Rendered::new(desired::relay_config(&validated, observed))?;
        let desired = desired::desired(&validated, observed, &rendered, settings);
        Ok(Self {
            held_back: rollout::held_back(&validated, observed, &desired),
            port_problem: ports::find_problem(&validated, observed),
            credentials: credentials::state(&validated, observed.secret.as_ref()),
            certificate: certificate::state(&validated, observed.tls_secret.as_ref()),
            desired,
            validated,
        })
    }

    /// Whether the objects may be applied. If not, what exists is left as it is: relays that run
    /// by an older spec go on.
    #[must_use]
    pub fn may_apply(&self) -> bool {
        let credentials = !matches!(self.credentials, CredentialsState::Problem { .. });
        let certificate = !matches!(self.certificate, CertificateState::Problem { .. });
        self.port_problem.is_none() && credentials && certificate
    }
}
