//! The operator's tool as a library: what `craton` does, for it, the demo and the tests.
//!
//! Owns nothing itself; see [`client`] (a link to a node), [`cluster`] (local machines), [`keys`],
//! [`guest`] (programs), [`text`] (something to count) and [`commands`] (the command line).

use error::{Context, Result};
use std::path::{Path, PathBuf};

pub mod client;
pub mod cluster;
pub mod commands;
pub mod error;
pub mod guest;
pub mod keys;
pub mod registry;
pub mod scratch;
mod sdk;
pub mod signals;
pub mod speak;
pub mod table;
pub mod text;

/// A file that `make build` puts beside the tools.
///
/// # Errors
///
/// If the running program cannot tell where it lies.
pub fn beside(name: &str) -> Result<PathBuf> {
    let tool = std::env::current_exe().tried(|| "find the tool's own folder".into())?;
    Ok(tool.parent().unwrap_or(Path::new(".")).join(name))
}

/// Bytes that nobody can guess.
///
/// # Panics
///
/// If the operating system has no randomness to give: nothing can be done without.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// Seconds since 1970, if the clock says anything later than that.
pub(crate) fn wall_clock_secs() -> Option<u64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.ok().map(|since| since.as_secs())
}
