//! Deadlines of waiting processes, and the timers that processes set.
//!
//! Owns [`Timers`]. A process waits for one thing at a time, so there are never more deadlines than
//! processes; timers are bounded for each process. What is no longer needed is taken out at once.

use alloc::collections::{BTreeMap, BTreeSet};
use craton_abi::{Instant, Slot, TimerId};

#[derive(Debug)]
pub(crate) struct Timers {
    deadlines: BTreeSet<(Instant, Slot)>,
    /// Timers that are not due, with their owners.
    alarms: BTreeMap<(Instant, TimerId), Slot>,
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Timers { deadlines: BTreeSet::new(), alarms: BTreeMap::new() }
    }

    /// Sets a process's deadline; `None` is for ever.
    pub(crate) fn set(&mut self, deadline: Option<Instant>, slot: Slot) {
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, slot));
        }
    }

    /// Takes back what [`Timers::set`] set.
    #[inline]
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

    /// Sets a process's timer.
    pub(crate) fn set_alarm(&mut self, due: Instant, id: TimerId, owner: Slot) {
        self.alarms.insert((due, id), owner);
    }

    /// Takes back what [`Timers::set_alarm`] set.
    pub(crate) fn cancel_alarm(&mut self, due: Instant, id: TimerId) {
        self.alarms.remove(&(due, id));
    }

    /// The next timer that is due, and its owner.
    pub(crate) fn pop_alarm(&mut self, now: Instant) -> Option<(TimerId, Slot)> {
        let entry = self.alarms.first_entry()?;
        let &(due, id) = entry.key();
        (due <= now).then(|| (id, entry.remove()))
    }

    /// The earliest deadline, or when the earliest timer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|&(deadline, _)| deadline);
        let alarm = self.alarms.first_key_value().map(|(&(due, _), _)| due);
        [deadline, alarm].into_iter().flatten().min()
    }

    /// Whether a deadline or timer is due.
    #[inline]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let is_empty = self.deadlines.is_empty() && self.alarms.is_empty();
        !is_empty && self.next().is_some_and(|next| next <= now)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.deadlines.len()
    }

    #[cfg(test)]
    pub(crate) fn alarms(&self) -> impl Iterator<Item = (Instant, TimerId, Slot)> {
        self.alarms.iter().map(|(&(due, id), &owner)| (due, id, owner))
    }
}
