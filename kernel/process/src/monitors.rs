//! The monitors that one process holds on others.
//!
//! Owns [`Monitors`], a part of the mailbox: a monitor is a reservation of room for its notice,
//! made when the monitor is and held until the notice is taken, so that a notice is never dropped
//! and their number is bounded.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use craton_abi::limit::MONITORS_PER_PROCESS_MAX;
use craton_abi::{MonitorId, Pid};

/// The process holds as many monitors as it may.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct TooManyMonitors;

/// A monitor that one process holds.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Held {
    /// The watched process; unknown while its spawn is under way.
    pub(crate) target: Option<Pid>,
    /// Sequence of the queued notice: the monitor has fired.
    pub(crate) notice: Option<u64>,
}

/// The monitors of one process.
#[derive(Debug)]
pub(crate) struct Monitors {
    held: BTreeMap<MonitorId, Held>,
}

impl Monitors {
    pub(crate) const fn new() -> Self {
        Monitors { held: BTreeMap::new() }
    }

    pub(crate) fn hold(
        &mut self,
        id: MonitorId,
        target: Option<Pid>,
    ) -> Result<(), TooManyMonitors> {
        if self.held.len() >= MONITORS_PER_PROCESS_MAX {
            return Err(TooManyMonitors);
        }
        self.held.insert(id, Held { target, notice: None });
        Ok(())
    }

    /// Names the target of a monitor whose spawn succeeded. `false` if the monitor is gone or has
    /// fired.
    pub(crate) fn bind(&mut self, id: MonitorId, target: Pid) -> bool {
        match self.held.get_mut(&id) {
            Some(held) if held.notice.is_none() => {
                held.target = Some(target);
                true
            }
            _ => false,
        }
    }

    /// Marks a monitor as fired. `false` if it is gone, has fired, or watches someone else.
    pub(crate) fn fire(&mut self, id: MonitorId, from: Pid, notice: u64) -> bool {
        match self.held.get_mut(&id) {
            Some(held)
                if held.notice.is_none() && held.target.is_none_or(|target| target == from) =>
            {
                *held = Held { target: Some(from), notice: Some(notice) };
                true
            }
            _ => false,
        }
    }

    pub(crate) fn release(&mut self, id: MonitorId) -> Option<Held> {
        self.held.remove(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// The monitors that have not fired, where the target is known.
    pub(crate) fn into_watched(self) -> Vec<(MonitorId, Pid)> {
        let watched = |(id, held): (MonitorId, Held)| match held {
            Held { target: Some(target), notice: None } => Some((id, target)),
            _ => None,
        };
        self.held.into_iter().filter_map(watched).collect()
    }
}
