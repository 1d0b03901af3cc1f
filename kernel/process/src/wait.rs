//! Senders that wait for room, first come first served.
//!
//! Owns [`WaitQueue`] and [`Ticket`]. A waiter can be taken out wherever it stands, exactly, so
//! that time-outs and kills leave nothing behind and a queue is never longer than its shard has
//! processes.

use crate::Amount;
use alloc::collections::BTreeMap;
use craton_abi::Slot;

/// A waiter's place in the order of arrival, unique on its shard.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct Ticket(pub u64);

/// Processes that wait to send to one mailbox.
#[derive(Debug, Default)]
pub struct WaitQueue {
    waiting: BTreeMap<Ticket, (Slot, Amount)>,
}

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        WaitQueue { waiting: BTreeMap::new() }
    }

    /// Appends a waiter whose message needs this much room. Tickets rise.
    pub fn join(&mut self, ticket: Ticket, slot: Slot, amount: Amount) {
        self.waiting.insert(ticket, (slot, amount));
    }

    /// Takes a waiter out. Whoever stood behind it may now be first: the caller looks again.
    pub fn leave(&mut self, ticket: Ticket) -> bool {
        self.waiting.remove(&ticket).is_some()
    }

    /// Who is first, and how much room its message needs.
    pub fn first(&self) -> Option<(Slot, Amount)> {
        self.waiting.first_key_value().map(|(_, &waiter)| waiter)
    }

    /// Takes the first out.
    pub fn pop(&mut self) -> Option<Slot> {
        self.waiting.pop_first().map(|(_, (slot, _))| slot)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Number of waiters.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}
