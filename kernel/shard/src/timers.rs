//! Deadlines of waiting processes.
//!
//! Owns [`Timers`]. A process waits for one thing at a time, so there are never more entries than
//! processes; a deadline that is no longer needed is taken out at once.

use alloc::collections::BTreeSet;
use craton_abi::{Instant, Slot};

#[derive(Debug)]
pub(crate) struct Timers {
    deadlines: BTreeSet<(Instant, Slot)>,
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Timers { deadlines: BTreeSet::new() }
    }

    /// Sets a process's deadline; `None` is for ever.
    pub(crate) fn set(&mut self, deadline: Option<Instant>, slot: Slot) {
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, slot));
        }
    }

    /// Takes back what [`Timers::set`] set.
    pub(crate) fn cancel(&mut self, deadline: Option<Instant>, slot: Slot) {
        if let Some(deadline) = deadline {
            self.deadlines.remove(&(deadline, slot));
        }
    }

    /// The next process whose time is up.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Slot> {
        let (deadline, slot) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.deadlines.pop_first();
        Some(slot)
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.deadlines.len()
    }
}
