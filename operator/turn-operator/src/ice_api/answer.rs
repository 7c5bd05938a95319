//! What is answered.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

/// What a client needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    /// The `iceServers` of an `RTCConfiguration`.
    pub(super) ice_servers: Vec<IceServer>,
    /// For how long they may be used to begin something, in seconds. What runs by then goes on.
    pub(super) ttl_seconds: u32,
    /// What was left out, and why. Only with `diagnose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) left_out: Option<Vec<LeftOut>>,
}

/// An `RTCIceServer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct IceServer {
    /// Where the relays are: UDP, then TCP, then TLS.
    pub(super) urls: Vec<String>,
    /// The user name.
    pub(super) username: String,
    /// The password.
    pub(super) credential: String,
}

/// Something that clients are not given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeftOut {
    /// The relay's pod.
    pub(super) relay: String,
    /// The URL, if it is one of a relay that others of its URLs were given of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    /// The listener, if it is one that is not reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listener: Option<String>,
    /// Why: a reason of the condition Reachable, or `NotReady`, `Draining`, `Full`, `Limit`.
    pub(super) reason: String,
    /// The same for people, with what would mend it.
    pub(super) message: String,
}

/// A refusal, as `{"error": {"message", "field"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) error: Refused,
    retry_after: Option<Duration>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Refused {
    /// For people: what is wrong, and what would be right.
    pub(super) message: String,
    /// Which part of the request is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<&'static str>,
}

/// The body of a refusal.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ErrorBody {
    pub(super) error: Refused,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let error = Refused { message: message.into(), field: None };
        Self { status, error, retry_after: None }
    }

    /// Something else may be true soon.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).after(Duration::from_secs(1))
    }

    /// A part of the request is wrong.
    pub(super) fn field(field: &'static str, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, message);
        error.error.field = Some(field);
        error
    }

    /// The same, with when to ask again.
    pub(super) fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, error, retry_after } = self;
        let mut response = (status, Json(ErrorBody { error })).into_response();
        if let Some(wait) = retry_after {
            let seconds = wait.as_secs_f64().ceil().max(1.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at least 1, and a float that is too large becomes the largest number"
            )]
            let seconds = HeaderValue::from(seconds as u64);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
