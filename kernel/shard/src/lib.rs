//! One CPU's world as a value: its processes, run queue and timers.
//!
//! Owns [`Shard`]. It is stepped with one [`port::Input`] at a time and answers with
//! [`port::Effect`]s; it has no clock, thread, lock or socket of its own. Mailboxes, credit and
//! monitors are `craton-process`; `craton-node` joins shards with one another and with the network.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod call;
mod life;
mod message;
pub mod port;
mod process;
mod run_queue;
mod shard;
mod spawn;
#[cfg(test)]
mod tests;
mod timers;
mod view;
mod watch;

pub use shard::{Shard, ShardConfig};
pub use view::ProcessView;
