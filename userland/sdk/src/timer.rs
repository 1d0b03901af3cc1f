//! Timers: notices to oneself at a time.
//!
//! Owns [`Timer`]. When one is due it comes to the [`Mailbox`](crate::Mailbox) as
//! [`Event::Timer`](crate::Event::Timer), among the messages.

use crate::error::{Error, check_id};
use crate::sys;
use craton_abi::Duration;

/// A timer that was set.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Timer {
    id: u64,
    /// What it was marked with.
    pub tag: u64,
}

impl Timer {
    pub(crate) const fn from_id(id: u64, tag: u64) -> Self {
        Timer { id, tag }
    }

    pub(crate) const fn id(self) -> u64 {
        self.id
    }

    /// Sets a timer that is due after so long, marked with a tag of the caller's choice.
    ///
    /// # Errors
    ///
    /// `limit: timers` if the process has as many as it may
    /// ([`TIMERS_PER_PROCESS_MAX`](craton_abi::limit::TIMERS_PER_PROCESS_MAX)).
    pub fn after(delay: Duration, tag: u64) -> Result<Self, Error> {
        let nanos = crate::message::timeout_nanos(delay);
        check_id(sys::set_timer(nanos, tag)).map(|id| Timer { id, tag })
    }

    /// Takes the timer back; says whether it was still to come. A notice that is queued is taken
    /// back too, one that a [`Mailbox`](crate::Mailbox) keeps for its owner is not.
    pub fn cancel(self) -> bool {
        sys::cancel_timer(self.id) > 0
    }
}
