//! The 20 bytes that each STUN message starts with (RFC 8489, section 5).

use std::fmt;

/// The length of the header, in bytes.
pub const HEADER_LEN: usize = 20;

/// The third to sixth byte pair of each message since RFC 5389; RFC 3489 messages lack it.
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// Whether a message asks, tells, or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wants a response.
    Request,
    /// Wants none.
    Indication,
    /// A request succeeded.
    Success,
    /// A request failed.
    Error,
}

impl Class {
    const fn bits(self) -> u16 {
        match self {
            Self::Request => 0x0000,
            Self::Indication => 0x0010,
            Self::Success => 0x0100,
            Self::Error => 0x0110,
        }
    }

    const fn from_type(message_type: u16) -> Self {
        match message_type & 0x0110 {
            0x0000 => Self::Request,
            0x0010 => Self::Indication,
            0x0100 => Self::Success,
            _ => Self::Error,
        }
    }
}

/// The twelve bits that say what a message is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method(u16);

impl Method {
    /// RFC 8489, section 18.2.
    pub const BINDING: Self = Self(0x001);
    /// RFC 8656, section 7.
    pub const ALLOCATE: Self = Self(0x003);
    /// RFC 8656, section 8.
    pub const REFRESH: Self = Self(0x004);
    /// RFC 8656, section 11. Indication only.
    pub const SEND: Self = Self(0x006);
    /// RFC 8656, section 11. Indication only.
    pub const DATA: Self = Self(0x007);
    /// RFC 8656, section 10.
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// RFC 8656, section 12.
    pub const CHANNEL_BIND: Self = Self(0x009);
    /// RFC 6062, section 4.3.
    pub const CONNECT: Self = Self(0x00A);
    /// RFC 6062, section 4.4.
    pub const CONNECTION_BIND: Self = Self(0x00B);
    /// RFC 6062, section 4.4. Indication only.
    pub const CONNECTION_ATTEMPT: Self = Self(0x00C);

    /// The method of this number, if it fits into twelve bits.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < 0x1000 { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    // The class has two bits in the midst of the method's twelve.
    const fn bits(self) -> u16 {
        (self.0 & 0x000F) | ((self.0 & 0x0070) << 1) | ((self.0 & 0x0F80) << 2)
    }

    const fn from_type(message_type: u16) -> Self {
        Self(
            (message_type & 0x000F)
                | ((message_type & 0x00E0) >> 1)
                | ((message_type & 0x3E00) >> 2),
        )
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::BINDING => "Binding",
            Self::ALLOCATE => "Allocate",
            Self::REFRESH => "Refresh",
            Self::SEND => "Send",
            Self::DATA => "Data",
            Self::CREATE_PERMISSION => "CreatePermission",
            Self::CHANNEL_BIND => "ChannelBind",
            Self::CONNECT => "Connect",
            Self::CONNECTION_BIND => "ConnectionBind",
            Self::CONNECTION_ATTEMPT => "ConnectionAttempt",
            Self(number) => return write!(f, "Method({number:#05x})"),
        };
        f.write_str(name)
    }
}

/// The two bytes of a message's type.
pub(crate) const fn message_type(class: Class, method: Method) -> u16 {
    class.bits() | method.bits()
}

/// Takes a message's type apart.
pub(crate) const fn from_message_type(message_type: u16) -> (Class, Method) {
    (Class::from_type(message_type), Method::from_type(message_type))
}

/// What tells one request from another: 96 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub [u8; 12]);

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_and_method_survives_its_two_bytes() {
        for number in 0..0x1000 {
            let method = Method::new(number).expect("twelve bits");
            for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
                let bytes = message_type(class, method);
                assert_eq!(bytes & 0xC000, 0, "the top bits are zero");
                assert_eq!(from_message_type(bytes), (class, method));
            }
        }
        assert_eq!(Method::new(0x1000), None);
    }
}
