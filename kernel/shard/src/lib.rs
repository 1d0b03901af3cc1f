//! One CPU's world as a value: its processes, run queue and timers.
//!
//! Owns [`Shard`]. It is stepped with one [`port::Input`] at a time and answers with
//! [`port::Effect`]s; it has no clock, thread, lock or socket of its own. Mailboxes, credit and
//! monitors are `craton-process`; `craton-node` joins shards with one another and with the network.
//!
//! What a shard relies on its caller for:
//!
//! - Signals of one (sender, receiver) pair arrive in the order they left, and so does what one
//!   shard says of one of its mailboxes (credit, absence); all else may overtake. Senders are who
//!   they say they are, and credit for a mailbox, or its absence, is reported by the mailbox's own
//!   shard.
//! - Each [`port::Effect::Place`] is answered by one [`port::Input::SpawnReply`], also if the node
//!   that it was placed on is lost. [`port::Effect::SpawnReply`] to a parent that is no process (a
//!   console) is answered by [`port::Input::SpawnHeard`]. A child's signals may come before the
//!   answer to its spawn.
//! - Each call in [`port::Effect::Socket`] is answered by one [`port::Input::Socket`], and what is
//!   told of a process comes in the order in which it was told.
//! - When a node is lost [`port::Input::NodeLost`] comes. Whatever the shard said to that life of
//!   the node until then, and has not arrived there, never arrives; after it nothing comes that the
//!   node said before it was lost. What is for a node that is unknown comes back: of a message its
//!   credit, of a monitor a `Down` of no connection. A message to a shard that does not exist is
//!   answered by [`port::Input::Gone`], a monitor on it by a `Down` of no process.
//! - [`port::Effect::Lending`] comes as [`port::Input::Lending`], in order between any two shards;
//!   what a host gave lies ready for another by then.
//! - A host answers each [`port::HostEffect::Start`] and [`port::HostEffect::Run`] once, also if
//!   the process has ended meanwhile: its slot is free only then.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod across;
mod at_once;
mod call;
mod lend;
mod life;
mod link;
mod lodge;
mod message;
mod names;
pub mod port;
mod process;
mod request;
mod run_queue;
mod shard;
mod socket;
mod spawn;
#[cfg(test)]
mod tests;
mod timers;
mod view;
mod watch;

pub use craton_process::{BySlot, is_kept_back};
pub use shard::{HandedOver, Shard, ShardConfig};
pub use view::ProcessView;
