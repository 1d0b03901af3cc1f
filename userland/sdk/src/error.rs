//! What can go wrong in a call of the SDK.
//!
//! Owns [`Error`]. A failed call leaves the process as it was; what it asked for did not happen,
//! except that a request whose answer was late or lost may have been carried out.

use core::fmt;
use craton_abi::{ErrorCode, ExitReason, Pid};

/// Why a call of the SDK failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Error {
    /// The system refused, for this reason.
    Refused(ErrorCode),
    /// A watched or linked process ended where a message from it was awaited.
    Down {
        /// Which process.
        pid: Pid,
        /// How it ended.
        reason: ExitReason,
    },
    /// Bytes are not what their tag or entry says they are; their sender is to blame.
    Malformed,
    /// A value could not be turned into bytes.
    Unencodable,
    /// The receiver of a channel closed it, or has another sender.
    Closed,
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        Error::Refused(code)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused(code) => write!(f, "{code}"),
            Error::Down { pid, reason } => write!(f, "process {pid} ended: {reason}"),
            Error::Malformed => f.write_str("a message is not what its tag says"),
            Error::Unencodable => f.write_str("a value cannot be turned into bytes"),
            Error::Closed => f.write_str("the channel is closed"),
        }
    }
}

impl core::error::Error for Error {}

/// The id that a host call answers with, or why there is none.
pub(crate) fn check_id(answer: i64) -> Result<u64, Error> {
    u64::try_from(answer).map_err(|_| {
        let code = i32::try_from(answer).ok().and_then(ErrorCode::from_code);
        Error::Refused(code.unwrap_or(ErrorCode::Invalid))
    })
}

/// The `Result` of a host call that answers zero or a negative error code.
pub(crate) fn check(answer: i32) -> Result<(), Error> {
    if answer >= 0 {
        return Ok(());
    }
    // A code that this SDK does not know comes from a newer node: the argument made no sense to us.
    Err(Error::Refused(ErrorCode::from_code(answer).unwrap_or(ErrorCode::Invalid)))
}
