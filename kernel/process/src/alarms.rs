//! The timers that one process has set.
//!
//! Owns [`Alarms`], a part of the mailbox: a timer is a reservation of room for its notice, made
//! when the timer is set and held until the notice is taken, so that a notice is never dropped and
//! their number is bounded. When one is due is for the shard to watch; this only remembers it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use craton_abi::limit::TIMERS_PER_PROCESS_MAX;
use craton_abi::{Instant, TimerId};

/// The process has set as many timers as it may.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct TooManyTimers;

/// A timer that has been set and not been received.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Alarm {
    pub(crate) due: Instant,
    pub(crate) tag: u64,
    /// Sequence of the queued notice: it was due.
    pub(crate) notice: Option<u64>,
}

/// The timers of one process.
#[derive(Debug)]
pub(crate) struct Alarms {
    set: BTreeMap<TimerId, Alarm>,
}

impl Alarms {
    pub(crate) const fn new() -> Self {
        Alarms { set: BTreeMap::new() }
    }

    pub(crate) fn set(&mut self, id: TimerId, due: Instant, tag: u64) -> Result<(), TooManyTimers> {
        if self.set.len() >= TIMERS_PER_PROCESS_MAX {
            return Err(TooManyTimers);
        }
        self.set.insert(id, Alarm { due, tag, notice: None });
        Ok(())
    }

    /// Marks a timer as due: its tag. `None` if it is gone or was due before.
    pub(crate) fn ring(&mut self, id: TimerId, notice: u64) -> Option<u64> {
        let alarm = self.set.get_mut(&id).filter(|alarm| alarm.notice.is_none())?;
        alarm.notice = Some(notice);
        Some(alarm.tag)
    }

    pub(crate) fn get(&self, id: TimerId) -> Option<&Alarm> {
        self.set.get(&id)
    }

    pub(crate) fn release(&mut self, id: TimerId) -> Option<Alarm> {
        self.set.remove(&id)
    }

    /// Those that are not due yet.
    pub(crate) fn take_pending(&mut self) -> Vec<(Instant, TimerId)> {
        if self.set.is_empty() {
            return Vec::new();
        }
        let pending =
            core::mem::take(&mut self.set).into_iter().filter(|(_, alarm)| alarm.notice.is_none());
        pending.map(|(id, alarm)| (alarm.due, id)).collect()
    }
}
