//! Processes that compute on one CPU, each with its share of it: `stress shares SHARE...`.
//!
//! Owns the command. It says who has which share, and goes on until it is stopped: what they were
//! given of the CPU, the node says.

use crate::storm::{self, VictimArgument};
use crate::{Result, VICTIM, failed, number};
use alloc::format;
use alloc::string::String;
use craton::{Mailbox, Output, SpawnOptions, me};

/// Prints `SHARE PID` for each, and a line when all compute.
pub fn run(mut out: Output, shares: &[&str]) -> Result<String> {
    let mut mailbox = Mailbox::new();
    for share in shares {
        let wanted = u32::try_from(number(share)?).unwrap_or(u32::MAX);
        let options = SpawnOptions::near(me()).linked().cpu_share(wanted);
        let victim = VICTIM.spawn(&VictimArgument::computing(), options);
        let victim = victim.map_err(|error| failed(&error))?;
        storm::await_ready(&mut mailbox).map_err(|error| failed(&error))?;
        out.line(&format!("{share} {}", victim.pid)).map_err(|error| failed(&error))?;
    }
    out.line("computing").map_err(|error| failed(&error))?;
    match mailbox.next_event() {
        Ok(other) => Err(format!("unexpected: {other:?}")),
        Err(error) => Err(failed(&error)),
    }
}
