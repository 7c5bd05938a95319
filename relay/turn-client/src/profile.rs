//! How the clients that a relay meets behave.

use std::time::Duration;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// When a request is sent, and when it has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// When it is sent, counted from the first time, which is zero; ascending.
    pub sends: &'static [Duration],
    /// When no answer is waited for any longer, counted from the first sending.
    pub give_up: Duration,
}

impl Schedule {
    /// libwebrtc over UDP: nine times within 31.75 s, then 8 s more.
    pub const LIBWEBRTC: Self = Self {
        sends: &[
            ms(0),
            ms(250),
            ms(750),
            ms(1_750),
            ms(3_750),
            ms(7_750),
            ms(15_750),
            ms(23_750),
            ms(31_750),
        ],
        give_up: ms(39_750),
    };

    /// nICEr over UDP: seven times within 6.3 s, then 4.8 s more.
    pub const NICER: Self = Self {
        sends: &[ms(0), ms(100), ms(300), ms(700), ms(1_500), ms(3_100), ms(6_300)],
        give_up: ms(11_100),
    };

    /// RFC 8489, section 6.2.1, with its defaults: RTO 500 ms, Rc 7, Rm 16.
    pub const RFC8489: Self = Self {
        sends: &[ms(0), ms(500), ms(1_500), ms(3_500), ms(7_500), ms(15_500), ms(31_500)],
        give_up: ms(39_500),
    };

    /// Once, as over a stream, which retransmits by itself (RFC 8489, section 6.2.2).
    #[must_use]
    pub const fn once(give_up: Duration) -> Self {
        Self { sends: &[Duration::ZERO], give_up }
    }
}

/// Whether channels are bound without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelUse {
    /// The first payload to a peer binds a channel to it; until that is bound, payload goes as Send
    /// indications.
    OnFirstPayload,
    /// Only [`crate::Client::bind_channel`] binds.
    OnRequest,
}

/// A client's habits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// When requests are sent over UDP.
    pub datagram: Schedule,
    /// When requests are sent over a stream.
    pub stream: Schedule,
    /// How long before its end an allocation is refreshed. One that lives for less than twice this
    /// is refreshed after half its life.
    pub refresh_margin: Duration,
    /// How long after it was installed a permission is renewed, and a channel bound again.
    pub renewal: Duration,
    /// When channels are bound.
    pub channel_use: ChannelUse,
    /// Whether requests carry a FINGERPRINT.
    pub fingerprint: bool,
    /// Whether requests say in SOFTWARE that they are a prober's, so that our relays do not count them
    /// among what clients do.
    pub probe: bool,
}

impl Profile {
    /// Chrome, Edge, Safari, Android and iOS.
    pub const LIBWEBRTC: Self = Self {
        datagram: Schedule::LIBWEBRTC,
        stream: Schedule::once(ms(39_750)),
        refresh_margin: Duration::from_secs(60),
        renewal: Duration::from_secs(240),
        channel_use: ChannelUse::OnFirstPayload,
        fingerprint: false,
        probe: false,
    };

    /// Firefox.
    pub const NICER: Self = Self {
        datagram: Schedule::NICER,
        stream: Schedule::once(ms(12_800)),
        refresh_margin: Duration::from_secs(10),
        renewal: Duration::from_secs(290),
        channel_use: ChannelUse::OnRequest,
        fingerprint: false,
        probe: false,
    };

    /// RFC 8489 and RFC 8656 by the letter.
    pub const RFC: Self = Self {
        datagram: Schedule::RFC8489,
        stream: Schedule::once(ms(39_500)),
        refresh_margin: Duration::from_secs(60),
        renewal: Duration::from_secs(240),
        channel_use: ChannelUse::OnRequest,
        fingerprint: true,
        probe: false,
    };
}
