//! What an operator's run and the program that runs say to one another.
//!
//! Owns the reserved programs, the message tags and [`RunArgument`], the argument of a program's
//! `main`. The node's control part plays the two reserved programs; the SDK speaks to them.

use crate::{Pid, ProgramId};
use alloc::string::String;
use alloc::vec::Vec;

const fn reserved(last: u8) -> ProgramId {
    let mut bytes = [0; 32];
    bytes[31] = last;
    ProgramId(bytes)
}

/// The program of the process that takes a run's output and watches its `main`.
pub const CONSOLE: ProgramId = reserved(1);
/// The program of the process that hands out a run's standard input.
pub const STDIN: ProgramId = reserved(2);

/// Tags from here on belong to the system's protocols; programs use those below.
pub const TAG_RESERVED_FIRST: u64 = 1 << 63;
/// To the console: the payload goes to standard output.
pub const TAG_OUT: u64 = TAG_RESERVED_FIRST + 1;
/// To the console: the payload goes to standard error.
pub const TAG_ERR: u64 = TAG_RESERVED_FIRST + 2;
/// To standard input: send me up to this many bytes (`u32`, little-endian).
pub const TAG_READ: u64 = TAG_RESERVED_FIRST + 3;
/// From standard input: the bytes that were asked for; empty at the end.
pub const TAG_INPUT: u64 = TAG_RESERVED_FIRST + 4;

/// Most arguments of a run.
pub const ARGUMENTS_MAX: usize = 1024;

/// What `main` of a run reads as its argument.
///
/// Its bytes are the console's pid, standard input's pid, then a count and as many texts, each
/// after its length; numbers are `u32`, little-endian.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunArgument {
    /// Who takes output.
    pub console: Pid,
    /// Who hands out standard input.
    pub stdin: Pid,
    /// The arguments, the program's name not among them.
    pub arguments: Vec<String>,
}

/// Bytes that are no run argument.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct MalformedRunArgument;

impl RunArgument {
    /// The bytes that `main` reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.console.to_bytes());
        bytes.extend_from_slice(&self.stdin.to_bytes());
        push_u32(&mut bytes, self.arguments.len());
        for argument in &self.arguments {
            push_u32(&mut bytes, argument.len());
            bytes.extend_from_slice(argument.as_bytes());
        }
        bytes
    }

    /// Reads the bytes back.
    ///
    /// # Errors
    ///
    /// [`MalformedRunArgument`] if they are cut, too many, or no text.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedRunArgument> {
        let (console, rest) = bytes.split_first_chunk().ok_or(MalformedRunArgument)?;
        let (stdin, rest) = rest.split_first_chunk().ok_or(MalformedRunArgument)?;
        let (count, mut rest) = take_u32(rest)?;
        if count > ARGUMENTS_MAX {
            return Err(MalformedRunArgument);
        }
        let mut arguments = Vec::new();
        for _ in 0..count {
            let (len, after) = take_u32(rest)?;
            let (text, after) = after.split_at_checked(len).ok_or(MalformedRunArgument)?;
            let text = core::str::from_utf8(text).map_err(|_| MalformedRunArgument)?;
            arguments.push(String::from(text));
            rest = after;
        }
        if !rest.is_empty() {
            return Err(MalformedRunArgument);
        }
        Ok(RunArgument {
            console: Pid::from_bytes(console),
            stdin: Pid::from_bytes(stdin),
            arguments,
        })
    }
}

fn push_u32(bytes: &mut Vec<u8>, value: usize) {
    let value = u32::try_from(value).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&value.to_le_bytes());
}

fn take_u32(bytes: &[u8]) -> Result<(usize, &[u8]), MalformedRunArgument> {
    let (value, rest) = bytes.split_first_chunk().ok_or(MalformedRunArgument)?;
    let value = usize::try_from(u32::from_le_bytes(*value)).map_err(|_| MalformedRunArgument)?;
    Ok((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, NodeId, ShardId, Slot};
    use alloc::vec;

    fn pid(index: u32) -> Pid {
        let slot = Slot::new(ShardId::new(1), index, 3).expect("in range");
        Pid { node: NodeId::new(5), incarnation: Incarnation::new(6), slot }
    }

    fn sample() -> RunArgument {
        let arguments = vec![String::from("--top"), String::new(), String::from("é")];
        RunArgument { console: pid(1), stdin: pid(2), arguments }
    }

    #[test]
    fn a_run_argument_survives_its_bytes() {
        assert_eq!(RunArgument::from_bytes(&sample().to_bytes()), Ok(sample()));
    }

    #[test]
    fn cut_or_long_bytes_are_refused() {
        let bytes = sample().to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(RunArgument::from_bytes(&bytes[..len]), Err(MalformedRunArgument), "{len}");
        }
        let mut long = bytes;
        long.push(0);
        assert_eq!(RunArgument::from_bytes(&long), Err(MalformedRunArgument));
    }

    #[test]
    fn the_reserved_programs_differ() {
        assert_ne!(CONSOLE, STDIN);
        assert_eq!(CONSOLE.0[31], 1);
    }
}
