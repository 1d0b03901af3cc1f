//! What must hold of the timers that processes set.
//!
//! Owns [`Timed`], the checker's book of them, and adds to [`Checker`] its questions: a timer rings
//! once, with its tag, never before its time nor after it was taken back, and it does ring if its
//! owner lives.

use crate::checker::{Check, Checker, Violation};
use craton_abi::{Instant, Pid, TimerId};
use std::collections::BTreeMap;

/// The timers that processes set, by owner.
#[derive(Debug, Default)]
pub(crate) struct Timed {
    timers: BTreeMap<(Pid, TimerId), Timer>,
    /// Notices taken from mailboxes.
    pub(crate) rung: u64,
}

#[derive(Debug)]
struct Timer {
    tag: u64,
    due: Instant,
    state: State,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum State {
    Set,
    Rang,
    TakenBack,
}

fn broken(owner: Pid, id: TimerId, what: &str) -> Check {
    Err(Violation(format!("{owner}: timer {id} {what}")))
}

impl Checker {
    /// A process set a timer that is due at this time.
    pub fn timer_set(&mut self, owner: Pid, id: TimerId, tag: u64, due: Instant) -> Check {
        let timer = Timer { tag, due, state: State::Set };
        match self.timed.timers.insert((owner, id), timer) {
            None => Ok(()),
            Some(_) => broken(owner, id, "was given out twice"),
        }
    }

    /// A process took the notice of a timer from its mailbox.
    pub fn timer_rang(&mut self, owner: Pid, id: TimerId, tag: u64, now: Instant) -> Check {
        self.timed.rung += 1;
        let Some(timer) = self.timed.timers.get_mut(&(owner, id)) else {
            return broken(owner, id, "rang and was never set");
        };
        match core::mem::replace(&mut timer.state, State::Rang) {
            State::Rang => broken(owner, id, "rang twice"),
            State::TakenBack => broken(owner, id, "rang after it was taken back"),
            State::Set if timer.tag != tag => broken(owner, id, "changed its tag"),
            State::Set if now < timer.due => broken(owner, id, "rang too early"),
            State::Set => Ok(()),
        }
    }

    /// A process took a timer back, and was told whether it was not due yet.
    pub fn timer_taken_back(
        &mut self,
        owner: Pid,
        id: TimerId,
        was_pending: bool,
        now: Instant,
    ) -> Check {
        let Some(timer) = self.timed.timers.get_mut(&(owner, id)) else {
            return broken(owner, id, "was taken back and never set");
        };
        match (timer.state, was_pending) {
            (State::Set, false) if now < timer.due => broken(owner, id, "is due before its time"),
            (State::Set, _) => {
                timer.state = State::TakenBack;
                Ok(())
            }
            (_, true) => broken(owner, id, "was pending after its end"),
            (_, false) => Ok(()),
        }
    }

    /// Everything is healed, every mailbox is empty, and the last timer was due long ago.
    pub(crate) fn timers_at_rest(&self) -> Check {
        let mut set = self.timed.timers.iter().filter(|(_, timer)| timer.state == State::Set);
        match set.find(|((owner, _), _)| !self.has_ended(*owner)) {
            Some((&(owner, id), _)) => broken(owner, id, "never rang"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton_abi::{Incarnation, NodeId, ShardId, Slot};

    const ID: TimerId = TimerId::new(7);

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// A process with a timer that is due at 10 ms.
    fn with_timer() -> (Checker, Pid) {
        let slot = Slot::new(ShardId::new(0), 1, 0).expect("in range");
        let pid = Pid { node: NodeId::new(1), incarnation: Incarnation::new(1), slot };
        let mut checker = Checker::default();
        checker.born(pid, None, true).expect("new");
        checker.timer_set(pid, ID, 3, at(10)).expect("new");
        (checker, pid)
    }

    #[test]
    fn a_timer_rings_once_at_its_time_with_its_tag() {
        let (mut checker, a) = with_timer();
        assert!(checker.timers_at_rest().is_err(), "it never rang");
        assert_eq!(checker.timer_rang(a, ID, 3, at(10)), Ok(()));
        assert_eq!(checker.timers_at_rest(), Ok(()));
        assert!(checker.timer_rang(a, ID, 3, at(11)).is_err(), "twice");
        assert!(with_timer().0.timer_rang(a, ID, 3, at(9)).is_err(), "early");
        assert!(with_timer().0.timer_rang(a, ID, 4, at(10)).is_err(), "another tag");
        assert!(with_timer().0.timer_rang(a, TimerId::new(8), 3, at(10)).is_err(), "another");
        let (mut checker, a) = with_timer();
        checker.ended(a, at(5));
        assert_eq!(checker.timers_at_rest(), Ok(()), "its owner ended");
    }

    #[test]
    fn what_was_taken_back_does_not_ring() {
        let (mut checker, a) = with_timer();
        assert_eq!(checker.timer_taken_back(a, ID, true, at(9)), Ok(()));
        assert!(checker.timer_taken_back(a, ID, true, at(9)).is_err(), "pending twice");
        assert_eq!(checker.timer_taken_back(a, ID, false, at(9)), Ok(()));
        assert_eq!(checker.timers_at_rest(), Ok(()));
        assert!(checker.timer_rang(a, ID, 3, at(20)).is_err());
        assert!(with_timer().0.timer_taken_back(a, ID, false, at(9)).is_err(), "it was not due");
        assert_eq!(with_timer().0.timer_taken_back(a, ID, false, at(10)), Ok(()));
    }
}
