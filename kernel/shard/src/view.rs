//! What a listing shows of a process.
//!
//! Owns [`ProcessView`], a borrowed snapshot that `craton ps` is made of.

use alloc::string::String;
use craton_abi::{Duration, Pid, ProgramId};

/// One process, as a listing shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProcessView<'a> {
    /// Its pid.
    pub pid: Pid,
    /// Its program.
    pub program: ProgramId,
    /// The function it was started with.
    pub entry: &'a str,
    /// What it is doing, and for whom it waits.
    pub state: String,
    /// Messages in its mailbox, notices not counted.
    pub mailbox_messages: u32,
    /// Bytes of messages in its mailbox.
    pub mailbox_bytes: u32,
    /// CPU time used.
    pub cpu: Duration,
}
