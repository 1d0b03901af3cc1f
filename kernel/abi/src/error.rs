//! What a host call answers when it cannot do what was asked.
//!
//! Owns [`ErrorCode`]. Codes are negative numbers of the guest ABI (`docs/abi.md`) and the same
//! for a local and a remote target.

use core::fmt;
use serde::{Deserialize, Serialize};

/// Why a host call failed; the process lives on.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[repr(i32)]
pub enum ErrorCode {
    /// The process does not exist, or no longer.
    NoProcess = -1,
    /// The node is lost or unknown.
    NoConnection = -2,
    /// The receiver's mailbox stayed full until the time-out.
    Full = -3,
    /// Nothing came before the time-out.
    TimedOut = -4,
    /// The message is larger than the buffer (it stays queued) or than the system allows.
    TooLong = -5,
    /// An argument has no meaning.
    Invalid = -6,
    /// The process or its node has no memory for it.
    LimitMemory = -7,
    /// The node's process table is full.
    LimitProcesses = -8,
    /// The process holds as many monitors as it may.
    LimitMonitors = -9,
    /// The program is unknown, or does not fit this node's engine or CPU.
    NoProgram = -10,
    /// The program exports no such entry.
    NoEntry = -11,
    /// The app may not do this.
    Denied = -12,
    /// The node holds as many programs as it may.
    LimitPrograms = -13,
    /// As many requests are outstanding as may be.
    LimitRequests = -14,
    /// The process holds as many links as it may.
    LimitLinks = -15,
    /// The process has set as many timers as it may.
    LimitTimers = -16,
    /// The number is no open socket of the caller, or of another kind.
    NoSocket = -17,
    /// Nobody listens there.
    Refused = -18,
    /// The connection is over: reset by the peer, or its peer is lost.
    Reset = -19,
    /// There is no way to that address, or this node has no address yet.
    Unreachable = -20,
    /// The port is in use on this node.
    InUse = -21,
    /// There is no such name, or it has no address.
    NoName = -22,
    /// The process or its node has as many sockets as it may.
    LimitSockets = -23,
    /// The process or the node has as many names and group memberships as it may.
    LimitNames = -24,
    /// The name has an owner.
    Taken = -25,
}

impl ErrorCode {
    /// Every code, from -1 downwards.
    pub const ALL: [ErrorCode; 25] = [
        ErrorCode::NoProcess,
        ErrorCode::NoConnection,
        ErrorCode::Full,
        ErrorCode::TimedOut,
        ErrorCode::TooLong,
        ErrorCode::Invalid,
        ErrorCode::LimitMemory,
        ErrorCode::LimitProcesses,
        ErrorCode::LimitMonitors,
        ErrorCode::NoProgram,
        ErrorCode::NoEntry,
        ErrorCode::Denied,
        ErrorCode::LimitPrograms,
        ErrorCode::LimitRequests,
        ErrorCode::LimitLinks,
        ErrorCode::LimitTimers,
        ErrorCode::NoSocket,
        ErrorCode::Refused,
        ErrorCode::Reset,
        ErrorCode::Unreachable,
        ErrorCode::InUse,
        ErrorCode::NoName,
        ErrorCode::LimitSockets,
        ErrorCode::LimitNames,
        ErrorCode::Taken,
    ];

    /// The number that the guest sees: always negative.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// The error with this number.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.code() == code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorCode::NoProcess => "no-process",
            ErrorCode::NoConnection => "no-connection",
            ErrorCode::Full => "full",
            ErrorCode::TimedOut => "timed-out",
            ErrorCode::TooLong => "too-long",
            ErrorCode::Invalid => "invalid",
            ErrorCode::LimitMemory => "limit: memory",
            ErrorCode::LimitProcesses => "limit: processes",
            ErrorCode::LimitMonitors => "limit: monitors",
            ErrorCode::NoProgram => "no-program",
            ErrorCode::NoEntry => "no-entry",
            ErrorCode::Denied => "denied",
            ErrorCode::LimitPrograms => "limit: programs",
            ErrorCode::LimitRequests => "limit: requests",
            ErrorCode::LimitLinks => "limit: links",
            ErrorCode::LimitTimers => "limit: timers",
            ErrorCode::NoSocket => "no-socket",
            ErrorCode::Refused => "refused",
            ErrorCode::Reset => "reset",
            ErrorCode::Unreachable => "unreachable",
            ErrorCode::InUse => "in-use",
            ErrorCode::NoName => "no-name",
            ErrorCode::LimitSockets => "limit: sockets",
            ErrorCode::LimitNames => "limit: names",
            ErrorCode::Taken => "taken",
        })
    }
}

impl core::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_dense_and_negative() {
        for (index, error) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(error.code(), -1 - index as i32);
            assert_eq!(ErrorCode::from_code(error.code()), Some(error));
        }
        assert_eq!(ErrorCode::from_code(0), None);
        assert_eq!(ErrorCode::from_code(-1 - ErrorCode::ALL.len() as i32), None);
    }
}
