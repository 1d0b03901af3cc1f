//! How much lies in a queue, counted in messages and in bytes.
//!
//! Owns [`Amount`], the unit of every mailbox bound and credit window.

/// Messages and their bytes.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Amount {
    /// Number of messages.
    pub messages: u32,
    /// Their payloads' bytes.
    pub bytes: u32,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount { messages: 0, bytes: 0 };

    /// One message of `len` bytes.
    #[inline]
    pub fn of_message(len: usize) -> Self {
        Amount { messages: 1, bytes: u32::try_from(len).unwrap_or(u32::MAX) }
    }

    /// Whether nothing is counted.
    pub fn is_zero(self) -> bool {
        self == Amount::ZERO
    }

    /// Both counts, saturating: no input can make a count wrap.
    #[inline]
    #[must_use]
    pub fn plus(self, other: Amount) -> Self {
        Amount {
            messages: self.messages.saturating_add(other.messages),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// What is left without `other`, never below nothing.
    #[inline]
    #[must_use]
    pub fn minus(self, other: Amount) -> Self {
        Amount {
            messages: self.messages.saturating_sub(other.messages),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// Whether neither count is above that of `bound`.
    #[inline]
    pub fn within(self, bound: Amount) -> bool {
        self.messages <= bound.messages && self.bytes <= bound.bytes
    }
}
