//! The ports on which clients are served, and the certificate of those that are secure.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::spec::up_to_ranges;
use crate::rules;

/// A port on which clients are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, extend("x-kubernetes-validations" = rules::LISTENER))]
pub struct Listener {
    /// The name of the listener, for logs and metrics: a DNS label, unique among the listeners.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = rules::LABEL))]
    pub name: String,
    /// The transport between client and relay: UDP, TCP, TLS, DTLS, or Auto (TCP and TLS on one
    /// port, told apart by a connection's first byte). No browser speaks DTLS with a relay, so a
    /// DTLS listener stands in no URL of the status.
    pub protocol: Protocol,
    /// The port on the node. The relay's process is root, with no other capability than
    /// NET_BIND_SERVICE, when a port is below 1024. Port 53 is served but stands in no URL of the
    /// status, because browsers refuse it.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The addresses (CIDR) of load balancers that stand before this listener and tell whom they
    /// connect for in a PROXY protocol v2 header. Their connections must begin with one, and those
    /// of everybody else must not. Not with UDP and DTLS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "few_ranges")]
    pub proxy_protocol: Vec<String>,
}

/// The transport between client and relay.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(inline)]
pub enum Protocol {
    /// One message in each datagram.
    #[serde(rename = "UDP")]
    Udp,
    /// Messages in a stream.
    #[serde(rename = "TCP")]
    Tcp,
    /// Messages in a stream within TLS 1.2 or 1.3.
    #[serde(rename = "TLS")]
    Tls,
    /// Datagrams within DTLS 1.2 or 1.3.
    #[serde(rename = "DTLS")]
    Dtls,
    /// TCP and TLS on one port.
    Auto,
}

impl Protocol {
    /// As it stands in a manifest: `UDP`, `TCP`, `TLS`, `DTLS` or `Auto`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Dtls => "DTLS",
            Self::Auto => "Auto",
        }
    }

    /// Whose ports it takes, [`Protocol::Udp`] or [`Protocol::Tcp`]: two listeners of one transport
    /// cannot share a port.
    #[must_use]
    pub const fn transport(self) -> Self {
        match self {
            Self::Udp | Self::Dtls => Self::Udp,
            Self::Tcp | Self::Tls | Self::Auto => Self::Tcp,
        }
    }

    /// Whether it needs a certificate.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        match self {
            Self::Tls | Self::Dtls | Self::Auto => true,
            Self::Udp | Self::Tcp => false,
        }
    }
}

/// The certificate of the TLS, DTLS and Auto listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Tls {
    /// A Secret of the same namespace, of the type `kubernetes.io/tls`, as cert-manager makes them:
    /// `tls.crt` holds the certificate and, behind it, those that lead to the authority's, and
    /// `tls.key` its private key. Clients are told the realm as the relays' name if the certificate
    /// is valid for it, else the first name of the certificate; the DNS has to lead from there to
    /// the relays. A DTLS listener needs a key of the curve P-256 or P-384.
    pub secret_ref: TlsSecretRef,
}

/// The Secret with certificate and key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct TlsSecretRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = rules::SECRET_NAME))]
    pub name: String,
}

/// A list of ranges for each of several things, whose rules together must not cost too much.
fn few_ranges(_: &mut SchemaGenerator) -> Schema {
    up_to_ranges(16)
}
