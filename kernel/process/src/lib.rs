//! Process table, mailboxes, credit, monitors and links as pure state.
//!
//! Owns the rules that hold whatever a process runs and wherever it is: [`Table`] gives out slots
//! with generations, [`Mailbox`] is what a process receives from, [`Windows`] is the credit that a
//! shard's processes send with, [`Watchers`] is who is to be told of an end. Nothing here knows of
//! time, of running, or of the port; `craton-shard` puts the parts together.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod alarms;
mod amount;
mod by_slot;
mod credit;
mod links;
mod mailbox;
mod monitors;
mod owed;
mod pacing;
mod queue;
mod series;
mod table;
mod wait;
mod watchers;
mod window;

pub use alarms::TooManyTimers;
pub use amount::Amount;
pub use by_slot::BySlot;
pub use credit::{CreditDue, Overdrawn, Source, is_kept_back};
pub use links::{LINKED_PER_PROCESS_MAX, Links, TooManyLinks};
pub use mailbox::{
    Answer, Closed, Found, Mailbox, Message, MessageView, Notice, Paid, Refused, Released, Taken,
    Timeout,
};
pub use monitors::{TooMany, TooManyMonitors};
pub use owed::{Due, Owed};
pub use pacing::Pacing;
pub use table::{Table, TableFull};
pub use wait::{Ticket, WaitQueue};
pub use watchers::{TooManyWatchers, WATCHERS_PER_PROCESS_MAX, Watchers, node_range};
pub use window::{NoCredit, WINDOWS_PER_SHARD_MAX, Windows};
