//! The node as a program sees it: who is in the cluster, time, randomness, the log.
//!
//! Owns thin typed forms of the host calls that concern no other process.

use crate::error::Error;
use crate::sys;
use alloc::vec;
use alloc::vec::Vec;
use craton_abi::{Duration, Instant, NodeId};

/// How grave a log line is.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
#[repr(i32)]
pub enum Level {
    /// Something failed.
    Error = 0,
    /// Something is odd.
    Warn = 1,
    /// What an operator wants to know.
    Info = 2,
    /// What a developer wants to know.
    Debug = 3,
}

/// Time since the start of 1970, UTC.
pub type WallTime = Duration;

/// Nodes for which [`nodes`] makes room at its first try.
const NODES_EXPECTED: usize = 16;

/// Writes a line to the node's log; lines longer than
/// [`LOG_LINE_BYTES_MAX`](craton_abi::limit::LOG_LINE_BYTES_MAX) are cut.
pub fn log(level: Level, text: &str) {
    sys::log(level as i32, text);
}

/// Time since this node started. It never goes back, and says nothing about other nodes' time.
pub fn now() -> Instant {
    Instant::from_nanos(sys::clock_monotonic())
}

/// The time of day, if the node knows it.
pub fn wall_time() -> Option<WallTime> {
    match sys::clock_wall() {
        0 => None,
        nanos => Some(Duration::from_nanos(nanos)),
    }
}

/// Fills `bytes` with random bytes that are fit for secrets.
pub fn random(bytes: &mut [u8]) {
    sys::random(bytes);
}

/// A random number.
pub fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    random(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// The nodes that are alive, the caller's own first.
///
/// # Errors
///
/// [`Error::Refused`] if the node cannot tell.
pub fn nodes() -> Result<Vec<NodeId>, Error> {
    let mut ids = vec![0; NODES_EXPECTED];
    // The cluster may grow between two calls; each call says how much room it would have needed.
    loop {
        let answer = sys::nodes(&mut ids);
        crate::error::check(answer)?;
        let count = usize::try_from(answer).unwrap_or(0);
        if count <= ids.len() {
            return Ok(ids[..count].iter().copied().map(NodeId::new).collect());
        }
        ids.resize(count, 0);
    }
}

/// The shards of a node, one for each of its CPUs: so many processes compute on it at once.
/// Processes that are spawned on a node take its shards in turn.
///
/// # Errors
///
/// [`Error::Refused`] with `no-connection` if the node is not alive.
pub fn shards(node: NodeId) -> Result<usize, Error> {
    let answer = sys::shards(node.get());
    crate::error::check(answer)?;
    Ok(usize::try_from(answer).unwrap_or(1))
}
