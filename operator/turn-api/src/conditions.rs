//! The conditions of a `TurnServer` and their reasons, each in one place.

use std::fmt;

macro_rules! names {
    ($(#[$of:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident,)+ }) => {
        $(#[$of])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name as it stands in the status.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// What a condition is about.
    ConditionType {
        /// The sum of the others: every relay that the spec asks for serves clients.
        Ready,
        /// The spec is one that can be carried out.
        Accepted,
        /// No other `TurnServer` has the same ports on the same nodes.
        PortsAllocated,
        /// The Secret is there and holds what the relays sign and verify with.
        CredentialsReady,
        /// The Secret with the certificate holds one that clients take, if a listener needs one.
        CertificateReady,
        /// The relays run the present spec and are ready.
        Available,
        /// Every relay is reached from outside: each listener, and the relay ports.
        Reachable,
        /// Something is amiss although clients are served: not among what `Ready` sums up, and
        /// `False` is as it should be.
        Degraded,
    }
}

names! {
    /// Why a condition has its status.
    Reason {
        /// Nothing to add: the condition is `True`.
        Ok,
        /// Another condition has to be `True` first.
        Waiting,
        /// The spec breaks a rule; the message names field, value and what would be right.
        Invalid,
        /// An older `TurnServer` has the same ports on some of the same nodes.
        PortConflict,
        /// Two regions of a DaemonSet select the same node.
        RegionsOverlap,
        /// The Secret does not exist.
        SecretNotFound,
        /// The Secret lacks a key.
        SecretKeyMissing,
        /// A key of the Secret holds nothing.
        SecretKeyEmpty,
        /// A key of the Secret holds no certificate, or no private key.
        CertificateInvalid,
        /// The private key is not that of the certificate.
        CertificateKeyMismatch,
        /// The certificate's key is of a kind that a listener cannot use.
        CertificateKeyUnsuited,
        /// The time of the certificate is over.
        CertificateExpired,
        /// The time of the certificate has not begun.
        CertificateNotYetValid,
        /// The certificate names nothing by which clients could reach a relay.
        CertificateNameless,
        /// An object of the name that is needed exists and belongs to someone else.
        NotOwned,
        /// The API server could not be read.
        ReadFailed,
        /// The API server refused an object.
        ApplyFailed,
        /// The spec asks for no relay at all.
        NoRelays,
        /// No node matches a region's selector.
        NoNodes,
        /// Relays are being started or replaced.
        RollingOut,
        /// A region asks for more relays than there are nodes for it.
        TooFewNodes,
        /// A relay cannot be placed on any node.
        Unschedulable,
        /// A port that a relay needs is taken on its node.
        PortTaken,
        /// A relay ends, or cannot be started.
        RelayFailing,
        /// A relay runs and says that it is not ready.
        RelayNotReady,
        /// A relay's node has no address that clients could be told.
        NoAddress,
        /// Nobody tries: `reachability.gate` is Off.
        NotProbed,
        /// Nobody has said anything lately of whether a relay is reached.
        VantagesSilent,
        /// All that a vantage tries fails, at every relay: its own network is the suspect.
        VantageBroken,
        /// From where it was tried UDP is answered nowhere, and TCP is.
        UDPBlocked,
        /// From where it was tried TCP is answered nowhere, and UDP is.
        TCPBlocked,
        /// A listener's port does not answer, while others of its transport do.
        ListenerPortBlocked,
        /// A listener's port refuses.
        ListenerRefused,
        /// None of the relay ports that were tried is open.
        RelayRangeBlocked,
        /// Some of the relay ports are open, others are not.
        RelayRangePartiallyBlocked,
        /// What answers on a TLS or DTLS port speaks no TLS, or another one than the relay.
        TLSInterceptedOrMisconfigured,
        /// The relay's addresses are not those that clients are told: something translates them.
        AddressMismatch,
        /// The relay is reached over IPv4 and not over IPv6.
        IPv6Unreachable,
        /// Long packets do not arrive, short ones do.
        PathMTUTooSmall,
        /// The relay does not take credentials that the operator has minted.
        CredentialsRejected,
        /// The relay does not take them because its clock is another one.
        ClockSkew,
        /// What answers speaks no TURN, or not as it should.
        NotTurn,
        /// Who shares the relay's node does not reach it at its public address, and nobody else tries.
        HairpinUnsupported,
        /// The addresses could not be written for external-dns.
        DNSNotWritten,
        /// A visitor's browser (the page at `/doctor`) does not reach a URL.
        ReportedUnreachable,
        /// Many datagrams are lost between a vantage and a relay.
        HighLoss,
        /// A listener that clients came to steadily, and none any more.
        ListenerFellSilent,
        /// A listener whose clients are answered, and hardly ever come to an allocation.
        ClientsGiveUp,
        /// A network whose clients never come over UDP.
        NetworkWithoutUDP,
    }
}
