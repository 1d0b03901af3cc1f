//! What must hold of links, of those who trap exits.
//!
//! Owns [`Linked`], the checker's book of them, and adds to [`Checker`] its questions: nobody is
//! told of an end without a link, nor more often than links were made; and who is linked at the
//! end was told of every end.

use crate::checker::{Check, Checker, Violation};
use crate::machine::MAIL_MAX;
use craton_abi::{ExitReason, Instant, Pid};
use std::collections::{BTreeMap, BTreeSet};

/// The links that processes made, by maker and target.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    made: BTreeMap<(Pid, Pid), Made>,
    /// Ends told, by who was told and of whom.
    told: BTreeMap<(Pid, Pid), u64>,
    /// Who took a link back, and with whom.
    unlinked: BTreeSet<(Pid, Pid)>,
    /// Everybody who has to do with a link.
    all: BTreeSet<Pid>,
}

#[derive(Debug)]
struct Made {
    count: u64,
    last_at: Instant,
    /// Neither taken back nor told of since.
    holds: bool,
    adrift: bool,
}

impl Linked {
    /// Whether a process may have ended because another did.
    pub(crate) fn has(&self, pid: Pid) -> bool {
        self.all.contains(&pid)
    }
}

impl Checker {
    /// A process that traps exits links itself to another.
    pub fn links(&mut self, maker: Pid, target: Pid, at: Instant, node_alive: bool) {
        let adrift = !node_alive || !self.knows(maker.node, target);
        let first = || Made { count: 0, last_at: at, holds: true, adrift };
        let made = self.linked.made.entry((maker, target)).or_insert_with(first);
        made.count += 1;
        (made.last_at, made.holds, made.adrift) = (at, true, adrift);
        self.linked.all.extend([maker, target]);
    }

    /// A run's console, which no actor plays, was linked to its `main` when that was spawned.
    pub fn links_by_console(&mut self, main: Pid, console: Pid) {
        let made = Made { count: 1, last_at: Instant::ZERO, holds: false, adrift: false };
        self.linked.made.insert((main, console), made);
        self.linked.all.insert(main);
    }

    /// A process takes a link back.
    pub fn unlinks(&mut self, maker: Pid, target: Pid) {
        self.linked.unlinked.insert((maker, target));
        if let Some(made) = self.linked.made.get_mut(&(maker, target)) {
            made.holds = false;
        }
    }

    /// A process is told of the end of one that it was linked to.
    pub fn told_of_link(&mut self, me: Pid, from: Pid, reason: &ExitReason) -> Check {
        self.notices += 1;
        let count = |pair| self.linked.made.get(&pair).map_or(0, |made: &Made| made.count);
        let made = count((me, from)) + count((from, me));
        let told = self.linked.told.entry((me, from)).or_default();
        *told += 1;
        if *told > made {
            let text = format!("{me}: told {told} ends of {from} ({reason}) after {made} links");
            return Err(Violation(text));
        }
        if let Some(made) = self.linked.made.get_mut(&(me, from)) {
            made.holds = false;
        }
        let lost = matches!(reason, ExitReason::NoConnection | ExitReason::Limit(_));
        if lost || self.may_have_ended(from) {
            self.heard_of_end(me, from, reason);
            return Ok(());
        }
        Err(Violation(format!("{me}: told that {from} ended ({reason}), but it lives")))
    }

    /// Everything is healed: who made a link that holds is linked to one who lives.
    pub(crate) fn links_at_rest(&self) -> Check {
        for (&(maker, target), made) in &self.linked.made {
            let taken_back = self.linked.unlinked.contains(&(target, maker));
            if !made.holds || taken_back || self.has_ended(maker) {
                continue;
            }
            let gap = self.gap_after(maker, target, made.last_at + MAIL_MAX);
            if self.has_ended(target) || (gap && !made.adrift) {
                let text = format!("{maker} was never told of {target}, to which it was linked");
                return Err(Violation(text));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton_abi::{Incarnation, NodeId, ShardId, Slot};

    fn pid(node: u64) -> Pid {
        let slot = Slot::new(ShardId::new(0), 1, 0).expect("in range");
        Pid { node: NodeId::new(node), incarnation: Incarnation::new(node), slot }
    }

    fn two() -> (Checker, Pid, Pid) {
        let (mut checker, a, b) = (Checker::default(), pid(1), pid(2));
        checker.born(a, None, true).expect("new");
        checker.born(b, None, true).expect("new");
        (checker, a, b)
    }

    #[test]
    fn an_end_is_told_once_for_a_link_and_not_of_the_living() {
        let (mut checker, a, b) = two();
        let killed = ExitReason::Killed;
        assert!(checker.told_of_link(a, b, &killed).is_err(), "there is no link");
        let (mut checker, a, b) = two();
        checker.links(b, a, Instant::ZERO, true);
        assert!(checker.told_of_link(a, b, &killed).is_err(), "it lives");
        let (mut checker, a, b) = two();
        checker.links(b, a, Instant::ZERO, true);
        checker.ended(b, Instant::ZERO);
        assert_eq!(checker.told_of_link(a, b, &killed), Ok(()));
        assert!(checker.told_of_link(a, b, &killed).is_err(), "twice");
    }

    #[test]
    fn who_was_never_told_is_found_unless_the_link_was_taken_back() {
        for unlinked in [false, true] {
            let (mut checker, a, b) = two();
            checker.links(a, b, Instant::ZERO, true);
            if unlinked {
                checker.unlinks(b, a);
            }
            checker.ended(b, Instant::ZERO);
            assert_eq!(checker.links_at_rest().is_ok(), unlinked);
        }
    }
}
