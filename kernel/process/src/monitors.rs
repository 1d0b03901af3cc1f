//! The monitors that one process holds on others.
//!
//! Owns [`Monitors`], a part of the mailbox: a monitor is a reservation of room for its notice,
//! made when the monitor is and held until the notice is taken, so that a notice is never dropped
//! and their number is bounded.

use crate::series::Series;
use alloc::vec::Vec;
use craton_abi::limit::{MONITORS_PER_PROCESS_MAX, REQUESTS_PER_PROCESS_MAX};
use craton_abi::{MonitorId, Pid};

/// The process holds as many monitors as it may.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct TooManyMonitors;

/// Why a request may not be made.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum TooMany {
    /// The process holds as many monitors as it may.
    Monitors,
    /// As many of its requests are not answered as may be.
    Requests,
}

/// A monitor that one process holds.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Held {
    /// The watched process; unknown while its spawn is under way.
    pub(crate) target: Option<Pid>,
    /// Sequence of the queued notice, or of the answer: the monitor has fired.
    pub(crate) notice: Option<u64>,
    /// It came with a request, which may be answered.
    pub(crate) request: bool,
}

/// The monitors of one process.
#[derive(Debug)]
pub(crate) struct Monitors {
    held: Series<Held>,
    /// Requests among them.
    requests: usize,
}

impl Monitors {
    pub(crate) const fn new() -> Self {
        Monitors { held: Series::new(), requests: 0 }
    }

    pub(crate) fn hold(
        &mut self,
        id: MonitorId,
        target: Option<Pid>,
    ) -> Result<(), TooManyMonitors> {
        if self.held.len() >= MONITORS_PER_PROCESS_MAX {
            return Err(TooManyMonitors);
        }
        self.held.insert(id.get(), Held { target, notice: None, request: false });
        Ok(())
    }

    pub(crate) fn hold_request(&mut self, id: MonitorId, target: Pid) -> Result<(), TooMany> {
        if self.requests >= REQUESTS_PER_PROCESS_MAX {
            return Err(TooMany::Requests);
        }
        if self.held.len() >= MONITORS_PER_PROCESS_MAX {
            return Err(TooMany::Monitors);
        }
        self.held.insert(id.get(), Held { target: Some(target), notice: None, request: true });
        self.requests += 1;
        Ok(())
    }

    /// Names the target of a monitor whose spawn succeeded. `false` if the monitor is gone or has
    /// fired.
    pub(crate) fn bind(&mut self, id: MonitorId, target: Pid) -> bool {
        match self.held.get_mut(id.get()) {
            Some(held) if held.notice.is_none() => {
                held.target = Some(target);
                true
            }
            _ => false,
        }
    }

    /// Marks a monitor as fired. `false` if it is gone, has fired, or watches someone else.
    pub(crate) fn fire(&mut self, id: MonitorId, from: Pid, notice: u64) -> bool {
        match self.held.get_mut(id.get()) {
            Some(held)
                if held.notice.is_none() && held.target.is_none_or(|target| target == from) =>
            {
                *held = Held { target: Some(from), notice: Some(notice), ..*held };
                true
            }
            _ => false,
        }
    }

    /// Marks a request as answered: who was asked. `None` if it is gone, or has fired.
    pub(crate) fn answer(&mut self, id: MonitorId, notice: u64) -> Option<Pid> {
        let held =
            self.held.get_mut(id.get()).filter(|held| held.request && held.notice.is_none())?;
        held.notice = Some(notice);
        held.target
    }

    pub(crate) fn get(&self, id: MonitorId) -> Option<&Held> {
        self.held.get(id.get())
    }

    pub(crate) fn release(&mut self, id: MonitorId) -> Option<Held> {
        let held = self.held.remove(id.get())?;
        self.requests -= usize::from(held.request);
        Some(held)
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Takes out the monitors that have not fired, where the target is known.
    pub(crate) fn take_watched(&mut self) -> Vec<(MonitorId, Pid)> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let watched = |(id, held): (u64, Held)| match held {
            Held { target: Some(target), notice: None, .. } => Some((MonitorId::new(id), target)),
            _ => None,
        };
        core::mem::replace(&mut self.held, Series::new()).into_all().filter_map(watched).collect()
    }
}
