//! STUN, TURN and ChannelData bytes.
