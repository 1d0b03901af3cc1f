//! Why a process ended, and the compact form in which guests read it.
//!
//! Owns [`ExitReason`]. The byte form is part of the guest ABI (`docs/abi.md`): one code byte,
//! then the detail.

use crate::limit;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Why a process ended, or why its watcher will hear no more of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum ExitReason {
    /// Its entry function returned.
    Normal,
    /// It was asked to stop and did.
    Shutdown,
    /// It was killed.
    Killed,
    /// It did what WebAssembly forbids; the text is the guest's backtrace.
    Trap(TrapKind, String),
    /// It, or its node, ran out of this resource.
    Limit(Resource),
    /// It ended itself with a reason of its own.
    Error(Vec<u8>),
    /// There was no such process when the monitor was made.
    NoProcess,
    /// Its node was lost: the process may have ended or may still run out of reach.
    NoConnection,
}

/// What WebAssembly forbids.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[repr(u8)]
pub enum TrapKind {
    /// An `unreachable` instruction: in Rust guests, a panic.
    Unreachable = 0,
    /// A load or store outside the memory.
    MemoryOutOfBounds = 1,
    /// A table access outside the table.
    TableOutOfBounds = 2,
    /// Division by zero, or an overflowing division or conversion.
    Arithmetic = 3,
    /// An indirect call through a null or mistyped entry.
    IndirectCall = 4,
    /// The stack is used up.
    StackOverflow = 5,
    /// A pointer or length given to a host call lies outside the memory.
    BadPointer = 6,
    /// Anything else the engine reports.
    Other = 7,
}

/// A resource that can run out.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
#[repr(u8)]
pub enum Resource {
    /// Memory of the process or of the node.
    Memory = 0,
    /// Room in a mailbox.
    Mailbox = 1,
    /// Slots in the process table.
    Processes = 2,
    /// Monitors that one process may hold.
    Monitors = 3,
    /// Room for programs on the node.
    Programs = 4,
    /// Requests that may be outstanding at once.
    Requests = 5,
    /// Links that one process may have.
    Links = 6,
}

impl TrapKind {
    const ALL: [TrapKind; 8] = [
        TrapKind::Unreachable,
        TrapKind::MemoryOutOfBounds,
        TrapKind::TableOutOfBounds,
        TrapKind::Arithmetic,
        TrapKind::IndirectCall,
        TrapKind::StackOverflow,
        TrapKind::BadPointer,
        TrapKind::Other,
    ];
}

impl Resource {
    const ALL: [Resource; 7] = [
        Resource::Memory,
        Resource::Mailbox,
        Resource::Processes,
        Resource::Monitors,
        Resource::Programs,
        Resource::Requests,
        Resource::Links,
    ];
}

/// Bytes that are no exit reason.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct MalformedReason;

impl ExitReason {
    /// Whether the process did what it was meant to: `normal` and `shutdown`.
    pub fn is_orderly(&self) -> bool {
        matches!(self, ExitReason::Normal | ExitReason::Shutdown)
    }

    /// The reason cut to [`limit::EXIT_REASON_BYTES_MAX`], on a character boundary.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        match &mut self {
            ExitReason::Error(bytes) => bytes.truncate(limit::EXIT_REASON_BYTES_MAX),
            ExitReason::Trap(_, text) => {
                let mut end = text.len().min(limit::EXIT_REASON_BYTES_MAX);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                text.truncate(end);
            }
            _ => {}
        }
        self
    }

    /// The byte form of the guest ABI.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (code, kind, detail) = self.parts();
        let mut bytes = Vec::with_capacity(2 + detail.len());
        bytes.push(code);
        bytes.extend(kind);
        bytes.extend_from_slice(detail);
        bytes
    }

    /// The one byte that is its whole byte form, if it is no longer.
    #[inline]
    pub fn to_byte(&self) -> Option<u8> {
        match self.parts() {
            (code, None, []) => Some(code),
            _ => None,
        }
    }

    /// Its byte form: the code, what is fixed behind that, the rest.
    #[inline]
    fn parts(&self) -> (u8, Option<u8>, &[u8]) {
        match self {
            ExitReason::Normal => (0, None, &[]),
            ExitReason::Shutdown => (1, None, &[]),
            ExitReason::Killed => (2, None, &[]),
            ExitReason::Trap(kind, text) => (3, Some(*kind as u8), text.as_bytes()),
            ExitReason::Limit(resource) => (4, Some(*resource as u8), &[]),
            ExitReason::Error(bytes) => (5, None, bytes),
            ExitReason::NoProcess => (6, None, &[]),
            ExitReason::NoConnection => (7, None, &[]),
        }
    }

    /// Reads the byte form.
    ///
    /// # Errors
    ///
    /// [`MalformedReason`] if the bytes are no reason, or carry more than the reason holds.
    #[inline]
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedReason> {
        match bytes {
            // Most ends are of these, and made where they are wanted.
            [0] => Ok(ExitReason::Normal),
            [1] => Ok(ExitReason::Shutdown),
            [2] => Ok(ExitReason::Killed),
            [6] => Ok(ExitReason::NoProcess),
            [7] => Ok(ExitReason::NoConnection),
            other => Self::with_detail(other),
        }
    }

    /// As [`ExitReason::from_bytes`], of those that say more than a code.
    #[inline(never)]
    fn with_detail(bytes: &[u8]) -> Result<Self, MalformedReason> {
        match bytes {
            [3, kind, text @ ..] => {
                let kind = TrapKind::ALL.get(usize::from(*kind)).ok_or(MalformedReason)?;
                let text = core::str::from_utf8(text).map_err(|_| MalformedReason)?;
                Ok(ExitReason::Trap(*kind, String::from(text)))
            }
            [4, resource] => {
                let resource = Resource::ALL.get(usize::from(*resource)).ok_or(MalformedReason)?;
                Ok(ExitReason::Limit(*resource))
            }
            [5, detail @ ..] => Ok(ExitReason::Error(detail.to_vec())),
            _ => Err(MalformedReason),
        }
    }
}

impl fmt::Display for TrapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrapKind::Unreachable => "unreachable (a panic or an abort)",
            TrapKind::MemoryOutOfBounds => "memory access out of bounds",
            TrapKind::TableOutOfBounds => "table access out of bounds",
            TrapKind::Arithmetic => "division by zero or arithmetic overflow",
            TrapKind::IndirectCall => "bad indirect call",
            TrapKind::StackOverflow => "stack overflow",
            TrapKind::BadPointer => "bad pointer given to a host call",
            TrapKind::Other => "trap",
        })
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resource::Memory => "memory",
            Resource::Mailbox => "mailbox",
            Resource::Processes => "processes",
            Resource::Monitors => "monitors",
            Resource::Programs => "programs",
            Resource::Requests => "requests",
            Resource::Links => "links",
        })
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitReason::Normal => f.write_str("normal"),
            ExitReason::Shutdown => f.write_str("shutdown"),
            ExitReason::Killed => f.write_str("killed"),
            ExitReason::Trap(kind, text) if text.is_empty() => write!(f, "trap: {kind}"),
            ExitReason::Trap(kind, text) => write!(f, "trap: {kind}\n{text}"),
            ExitReason::Limit(resource) => write!(f, "limit: {resource}"),
            ExitReason::Error(bytes) => match core::str::from_utf8(bytes) {
                Ok(text) => write!(f, "error: {text}"),
                Err(_) => write!(f, "error: {bytes:02x?}"),
            },
            ExitReason::NoProcess => f.write_str("no-process"),
            ExitReason::NoConnection => f.write_str("no-connection"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn every_reason() -> Vec<ExitReason> {
        let mut all = vec![
            ExitReason::Normal,
            ExitReason::Shutdown,
            ExitReason::Killed,
            ExitReason::Error(vec![]),
            ExitReason::Error(vec![0xff, 0]),
            ExitReason::NoProcess,
            ExitReason::NoConnection,
        ];
        all.extend(TrapKind::ALL.map(|kind| ExitReason::Trap(kind, String::from("at é"))));
        all.extend(Resource::ALL.map(ExitReason::Limit));
        all
    }

    #[test]
    fn byte_form_survives() {
        for reason in every_reason() {
            assert_eq!(ExitReason::from_bytes(&reason.to_bytes()), Ok(reason));
        }
    }

    #[test]
    fn malformed_bytes_are_refused() {
        for bytes in [
            &[][..],
            &[8],
            &[0, 0],
            &[3],
            &[3, 8],
            &[3, 0, 0xff],
            &[4],
            &[4, 7],
            &[4, 0, 0],
            &[7, 1],
        ] {
            assert_eq!(ExitReason::from_bytes(bytes), Err(MalformedReason), "{bytes:?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_on_a_character() {
        let text = "é".repeat(limit::EXIT_REASON_BYTES_MAX);
        let ExitReason::Trap(_, text) = ExitReason::Trap(TrapKind::Other, text).bounded() else {
            panic!("the kind of reason changed");
        };
        assert_eq!(text.len(), limit::EXIT_REASON_BYTES_MAX);
    }
}
