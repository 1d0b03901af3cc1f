//! What time does to a session over its connection.
//!
//! Owns heartbeats, delayed acknowledgements, the notice of silence, and rest.

use super::{Attached, Link};
use crate::limit::{HEARTBEAT, IDLE_TIME};
use craton_abi::Instant;

impl Link {
    /// When [`Link::on_time`], or the caller for `end_at` and `dial_at`, has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let dial_at = self.dial_at.filter(|_| self.dialling.is_none() && self.attached.is_none());
        let own = self.attached.as_ref().filter(|attached| attached.open).map(|attached| {
            let beat = if attached.ack_due {
                // Waits for the connection to have room, not for time.
                attached.heard_at + self.silence_max
            } else {
                (attached.spoke_at + HEARTBEAT).min(attached.heard_at + self.silence_max)
            };
            let beat =
                attached.ack_at.filter(|_| !attached.ack_due).map_or(beat, |at| at.min(beat));
            match self.idle_at(attached) {
                Some(at) => beat.min(at),
                None => beat,
            }
        });
        [self.end_at, dial_at, own].into_iter().flatten().min()
    }

    /// When to propose that the connection be closed.
    fn idle_at(&self, attached: &Attached) -> Option<Instant> {
        let at_rest =
            self.both_are_nodes() && self.is_drained() && !attached.idle_sent && !attached.idle_due;
        at_rest.then(|| attached.used_at + IDLE_TIME)
    }

    /// Lets time pass on the attached connection; `false` if it must be given up for its silence.
    pub(crate) fn on_time(&mut self, now: Instant) -> bool {
        let Some(attached) = self.attached.as_ref().filter(|attached| attached.open) else {
            return true;
        };
        if now >= attached.heard_at + self.silence_max {
            return false;
        }
        let idle_due = self.idle_at(attached).is_some_and(|at| now >= at);
        if let Some(attached) = &mut self.attached {
            attached.idle_due |= idle_due;
            attached.ack_due |=
                attached.ack_at.is_some_and(|at| now >= at) || now >= attached.spoke_at + HEARTBEAT;
        }
        true
    }

    /// Whether both sides have said that they are at rest, so that the connection may close.
    pub(crate) fn may_close(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| {
            attached.open && attached.idle_sent && attached.idle_heard && !attached.idle_due
        }) && self.is_drained()
    }
}
