//! What users rely on, checked against everything that every process did.
//!
//! Owns [`Checker`]. It knows the calls and replies of all processes, the ends of all processes and
//! lives, and the gaps that nodes wrote to their logs, and decides from these alone:
//!
//! - messages of a pair arrive in order, at most once, and only if the send succeeded;
//! - a message is missing only if a gap was told in between, or its receiver ended;
//! - a monitor fires at most once, never after it was taken back, with the right reason, and does
//!   fire if its target ended or a gap was told while the watcher lived;
//! - a request is answered at most once, by whom it asked, and then no end is told;
//! - no child lives whose parent never heard of it.
//!
//! What holds of links, timers and names is beside it, in `linked`, `timed` and `named`.

use crate::linked::Linked;
use crate::machine::MAIL_MAX;
use crate::named::Named;
use crate::timed::Timed;
use craton_abi::{ErrorCode, ExitReason, Incarnation, Instant, MonitorId, NodeId, Pid};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A promise that was broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) type Check = Result<(), Violation>;

fn broken(what: String) -> Check {
    Err(Violation(what))
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum SendState {
    Asked,
    Done,
    Failed,
}

#[derive(Copy, Clone, Debug)]
struct Sent {
    tag: u64,
    at: Instant,
    state: SendState,
    received: bool,
    /// The sender's node did not hold the receiver's alive: the message may go nowhere.
    adrift: bool,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Watch {
    Active,
    Fired,
    TakenBack,
}

#[derive(Clone, Debug)]
struct Monitor {
    target: Pid,
    made_at: Instant,
    watch: Watch,
    /// The watcher's node did not hold the target's alive when it was asked for.
    adrift: bool,
}

#[derive(Clone, Debug, Default)]
struct Life {
    spawn: Option<u64>,
    /// It takes only the next message, never by tag.
    in_order: bool,
    ended_at: Option<Instant>,
    /// Another CPU than its home's runs it, who hears a little later of its end.
    lent: bool,
    reason: Option<ExitReason>,
}

/// A spawn that a process asked for.
#[derive(Clone, Debug, Default)]
struct Spawn {
    born: Vec<Pid>,
    heard: Option<Pid>,
}

/// A gap that a node told of.
#[derive(Copy, Clone, Debug)]
struct Gap {
    on: NodeId,
    towards: NodeId,
    /// Only this life of the other, if it was named.
    life: Option<Incarnation>,
    at: Instant,
}

impl Gap {
    /// Whether it lies on the way from a process of `on` to `target`.
    fn parts(&self, on: Pid, target: Pid) -> bool {
        (self.on, self.towards) == (on.node, target.node)
            && self.life.is_none_or(|life| life == target.incarnation)
    }
}

/// Everything that every process did, as far as promises go.
#[derive(Default)]
pub struct Checker {
    lives: BTreeMap<Pid, Life>,
    over: BTreeSet<(NodeId, Incarnation)>,
    /// When lives of nodes began.
    began: BTreeMap<(NodeId, Incarnation), Instant>,
    /// When a node last heard that another is up, that one first.
    heard_up: BTreeMap<(NodeId, NodeId), Instant>,
    streams: BTreeMap<(Pid, Pid), Vec<Sent>>,
    monitors: BTreeMap<(Pid, MonitorId), Monitor>,
    /// Requests that were answered, and by whom.
    answers: BTreeMap<(Pid, MonitorId), Pid>,
    spawns: BTreeMap<u64, Spawn>,
    gaps: Vec<Gap>,
    /// Processes that were said to have ended while they were lent.
    presumed: BTreeSet<Pid>,
    /// Lives of nodes that another holds dead, that one first.
    held_dead: BTreeSet<(NodeId, NodeId, Incarnation)>,
    pub(crate) linked: Linked,
    pub(crate) timed: Timed,
    pub(crate) named: Named,
    /// Messages taken from mailboxes.
    pub messages: u64,
    /// Notices taken from mailboxes.
    pub notices: u64,
    /// Answers taken from mailboxes.
    pub answers_heard: u64,
    /// Processes that lived.
    pub processes: u64,
}

impl Checker {
    /// A process came to life, by the spawn with this number, or as the first of a run.
    pub fn born(&mut self, pid: Pid, spawn: Option<u64>, in_order: bool) -> Check {
        self.processes += 1;
        if let Some(number) = spawn {
            self.spawns.entry(number).or_default().born.push(pid);
        }
        let life = Life { spawn, in_order, ..Life::default() };
        match self.lives.insert(pid, life) {
            None => Ok(()),
            Some(_) => broken(format!("{pid} came to life twice")),
        }
    }

    /// A process ended by itself, with this reason.
    pub fn exits(&mut self, pid: Pid, reason: ExitReason) {
        self.lives.entry(pid).or_default().reason = Some(reason);
    }

    /// The instance of a process was dropped.
    pub fn ended(&mut self, pid: Pid, at: Instant) {
        self.lives.entry(pid).or_default().ended_at = Some(at);
    }

    pub(crate) fn ended_at(&self, pid: Pid) -> Option<Instant> {
        self.lives.get(&pid)?.ended_at
    }

    /// A process is lent to another CPU, or is back.
    pub fn lent(&mut self, pid: Pid, lent: bool) {
        self.lives.entry(pid).or_default().lent = lent;
    }

    /// Whether a process may be said to have ended. If it is lent that must show later.
    pub(crate) fn may_have_ended(&mut self, pid: Pid) -> bool {
        if self.has_ended(pid) {
            return true;
        }
        let lent = self.is_lent(pid);
        if lent {
            self.presumed.insert(pid);
        }
        lent
    }

    fn is_lent(&self, pid: Pid) -> bool {
        self.lives.get(&pid).is_some_and(|life| life.lent)
    }

    /// Whether a process lives. Of one that is lent its home may know more.
    pub(crate) fn surely_lives(&self, pid: Pid) -> bool {
        !self.has_ended(pid) && !self.is_lent(pid)
    }

    /// A life of a node began.
    pub fn life_began(&mut self, node: NodeId, incarnation: Incarnation, at: Instant) {
        self.began.entry((node, incarnation)).or_insert(at);
    }

    /// A node wrote to its log that another is up.
    pub fn up(&mut self, on: NodeId, node: NodeId, at: Instant) {
        self.heard_up.insert((on, node), at);
    }

    /// Whether a node can know of this life of another: it may hold it alive in an earlier one.
    pub(crate) fn knows(&self, on: NodeId, pid: Pid) -> bool {
        let heard = self.heard_up.get(&(on, pid.node));
        let began = self.began.get(&(pid.node, pid.incarnation));
        on == pid.node || began.is_none_or(|began| heard.is_some_and(|heard| heard >= began))
    }

    /// A life of a node ended, and all its processes with it.
    pub fn life_over(&mut self, node: NodeId, incarnation: Incarnation) {
        self.over.insert((node, incarnation));
    }

    /// A node wrote to its log that what was under way to and from another is lost, or to and from
    /// this life of it.
    pub fn gap(&mut self, on: NodeId, towards: NodeId, life: Option<Incarnation>, at: Instant) {
        self.gaps.push(Gap { on, towards, life, at });
    }

    /// A node wrote to its log that it holds this life of another dead.
    pub fn holds_dead(&mut self, on: NodeId, node: NodeId, incarnation: Incarnation) {
        self.held_dead.insert((on, node, incarnation));
    }

    /// A process asks for a child.
    pub fn spawn_asked(&mut self, number: u64) {
        self.spawns.entry(number).or_default();
    }

    /// A process heard of its child.
    pub fn spawn_heard(&mut self, number: u64, child: Pid) -> Check {
        let spawn = self.spawns.entry(number).or_default();
        spawn.heard = Some(child);
        if spawn.born.contains(&child) {
            Ok(())
        } else {
            broken(format!("spawn {number} was answered with {child}, which was never born of it"))
        }
    }

    /// A process asks to send, to a node that its own holds alive or not; the answer is the
    /// message's number in its pair.
    pub fn send_asked(
        &mut self,
        from: Pid,
        to: Pid,
        tag: u64,
        at: Instant,
        node_alive: bool,
    ) -> u64 {
        let adrift = !node_alive || !self.knows(from.node, to);
        let stream = self.streams.entry((from, to)).or_default();
        let state = SendState::Asked;
        stream.push(Sent { tag, at, state, received: false, adrift });
        stream.len() as u64 - 1
    }

    /// The send was answered.
    pub fn send_answered(
        &mut self,
        from: Pid,
        to: Pid,
        number: u64,
        result: Result<(), ErrorCode>,
    ) -> Check {
        let lost = matches!(result, Err(ErrorCode::NoProcess | ErrorCode::NoConnection));
        let excused = !lost || self.gap_since(from, to, Instant::ZERO) || self.may_have_ended(to);
        let Some(sent) = self.sent(from, to, number) else { return Ok(()) };
        match result {
            Ok(()) => sent.state = SendState::Done,
            Err(error) => {
                sent.state = SendState::Failed;
                if sent.received {
                    return broken(format!("{from} -> {to}: a failed send was delivered"));
                }
                if !excused {
                    return broken(format!("{from} -> {to}: {error}, but the receiver lives"));
                }
            }
        }
        Ok(())
    }

    fn sent(&mut self, from: Pid, to: Pid, number: u64) -> Option<&mut Sent> {
        self.streams.get_mut(&(from, to))?.get_mut(usize::try_from(number).ok()?)
    }

    /// A process took a message from its mailbox.
    pub fn received(&mut self, to: Pid, from: Pid, tag: u64, number: u64) -> Check {
        self.messages += 1;
        let in_order = self.lives.get(&to).is_some_and(|life| life.in_order);
        let stream = self.streams.get(&(from, to)).map_or(&[][..], Vec::as_slice);
        let index = number as usize;
        let Some(sent) = stream.get(index) else {
            return broken(format!("{from} -> {to}: message {number} was never sent"));
        };
        if sent.tag != tag {
            return broken(format!("{from} -> {to}: message {number} changed its tag"));
        }
        if sent.received {
            return broken(format!("{from} -> {to}: message {number} came twice"));
        }
        if sent.state == SendState::Failed {
            return broken(format!("{from} -> {to}: message {number} came, but its send failed"));
        }
        let same_stream = |other: &&Sent| in_order || other.tag == tag;
        if stream[index + 1..].iter().filter(same_stream).any(|later| later.received) {
            return broken(format!("{from} -> {to}: message {number} came after a later one"));
        }
        let skipped = stream[..index].iter().filter(same_stream).filter(|earlier| {
            !earlier.received && !earlier.adrift && earlier.state == SendState::Done
        });
        let lost = skipped.map(|earlier| earlier.at).min();
        if let Some(at) = lost
            && !self.gap_since(from, to, at)
        {
            return broken(format!("{from} -> {to}: one before message {number} is missing"));
        }
        if let Some(sent) = self.sent(from, to, number) {
            sent.received = true;
        }
        Ok(())
    }

    /// A process watches another from now on, on a node that its own holds alive or not.
    pub fn watches(
        &mut self,
        watcher: Pid,
        id: MonitorId,
        target: Pid,
        at: Instant,
        node_alive: bool,
    ) -> Check {
        let adrift = !node_alive || !self.knows(watcher.node, target);
        let monitor = Monitor { target, made_at: at, watch: Watch::Active, adrift };
        match self.monitors.insert((watcher, id), monitor) {
            None => Ok(()),
            Some(_) => broken(format!("{watcher}: monitor {id} was given out twice")),
        }
    }

    /// A process took a monitor back.
    pub fn took_back(&mut self, watcher: Pid, id: MonitorId, notice_was_queued: bool) -> Check {
        let Some(monitor) = self.monitors.get_mut(&(watcher, id)) else { return Ok(()) };
        if monitor.watch == Watch::Fired && notice_was_queued {
            return broken(format!("{watcher}: a second notice for {id} was queued"));
        }
        if monitor.watch == Watch::Active {
            monitor.watch = Watch::TakenBack;
        }
        Ok(())
    }

    /// A process answers a request.
    pub fn answers(&mut self, by: Pid, asker: Pid, id: MonitorId) {
        self.answers.insert((asker, id), by);
    }

    /// A process took the answer to its request from its mailbox.
    pub fn answer_heard(&mut self, asker: Pid, id: MonitorId, from: Pid) -> Check {
        self.answers_heard += 1;
        let who = format!("{asker} asking {from} as {id}");
        if self.answers.get(&(asker, id)) != Some(&from) {
            return broken(format!("{who}: an answer that was not given"));
        }
        let Some(monitor) = self.monitors.get_mut(&(asker, id)) else {
            return broken(format!("{who}: an answer to no request"));
        };
        match core::mem::replace(&mut monitor.watch, Watch::Fired) {
            Watch::Active if monitor.target == from => Ok(()),
            before => broken(format!("{who}: answered when it was {before:?}")),
        }
    }

    /// A process took a notice from its mailbox.
    pub fn told(&mut self, watcher: Pid, id: MonitorId, from: Pid, reason: &ExitReason) -> Check {
        self.notices += 1;
        let who = format!("{watcher} watching {from} as {id}");
        let Some(monitor) = self.monitors.get_mut(&(watcher, id)) else {
            return broken(format!("{who}: told without a monitor"));
        };
        let before = core::mem::replace(&mut monitor.watch, Watch::Fired);
        let (target, made_at, adrift) = (monitor.target, monitor.made_at, monitor.adrift);
        match before {
            Watch::Fired => return broken(format!("{who}: told twice")),
            Watch::TakenBack => return broken(format!("{who}: told after it was taken back")),
            Watch::Active if target != from => {
                return broken(format!("{who}: told of another, {target} was meant"));
            }
            Watch::Active => {}
        }
        let own = self.lives.get(&target).and_then(|life| life.reason.clone());
        let right = match reason {
            ExitReason::NoConnection => {
                let held = (watcher.node, target.node, target.incarnation);
                // A later life of the watcher's node may never have met the target's.
                let met_anew = self.over.iter().any(|(node, _)| *node == watcher.node);
                let held_dead = met_anew || self.held_dead.contains(&held);
                let ended = self.has_ended(target);
                ended || adrift || held_dead || self.gap_since(watcher, target, made_at)
            }
            ExitReason::NoProcess | ExitReason::Killed => self.may_have_ended(target),
            ExitReason::Limit(_) => true,
            // Who was linked may have ended with the reason of another.
            other => {
                let known = own.as_ref() == Some(other) || self.linked.has(target);
                known && self.may_have_ended(target)
            }
        };
        if !right {
            return broken(format!("{who}: told '{reason}', which is not so"));
        }
        self.heard_of_end(watcher, target, reason);
        Ok(())
    }

    pub(crate) fn has_ended(&self, pid: Pid) -> bool {
        self.over.contains(&(pid.node, pid.incarnation))
            || self.lives.get(&pid).is_none_or(|life| life.ended_at.is_some())
    }

    /// Whether a gap was told on either side, or a side ended, since `at`. What a process did while
    /// word of the gap was under way to its CPU came too late for it, too.
    fn gap_since(&self, a: Pid, b: Pid, at: Instant) -> bool {
        let since = |gap: &Gap| gap.at + MAIL_MAX >= at;
        self.over.contains(&(a.node, a.incarnation))
            || self.over.contains(&(b.node, b.incarnation))
            || self.gaps.iter().any(|gap| since(gap) && (gap.parts(a, b) || gap.parts(b, a)))
    }

    /// Whether a gap was told by the node of `a` towards `b`, after `at`.
    pub(crate) fn gap_after(&self, a: Pid, b: Pid, at: Instant) -> bool {
        self.gaps.iter().any(|gap| gap.parts(a, b) && gap.at > at)
    }

    /// Everything is healed and every living process has emptied its mailbox: what must have come
    /// has come.
    pub fn at_rest(&self) -> Check {
        if let Some(pid) = self.presumed.iter().find(|pid| !self.has_ended(**pid)) {
            return broken(format!("{pid} lives, but somebody was told of its end"));
        }
        for (&(from, to), stream) in &self.streams {
            let missing = stream.iter().enumerate().find(|(_, sent)| {
                sent.state == SendState::Done
                    && !sent.received
                    && !sent.adrift
                    && !self.gap_since(from, to, sent.at)
            });
            if let Some((number, _)) = missing
                && !self.has_ended(to)
            {
                return broken(format!("{from} -> {to}: message {number} never came"));
            }
        }
        for (&(watcher, id), monitor) in &self.monitors {
            if monitor.watch != Watch::Active || self.has_ended(watcher) {
                continue;
            }
            let target = monitor.target;
            let gap = self.gap_after(watcher, target, monitor.made_at + MAIL_MAX);
            if self.has_ended(target) || gap {
                return broken(format!("{watcher} was never told of {target} ({id})"));
            }
        }
        for (pid, life) in &self.lives {
            let heard = life.spawn.is_none_or(|number| {
                self.spawns.get(&number).is_some_and(|spawn| spawn.heard == Some(*pid))
            });
            if !heard && !self.has_ended(*pid) {
                return broken(format!("{pid} lives, but its parent never heard of it"));
            }
        }
        self.links_at_rest()?;
        self.timers_at_rest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton_abi::{ShardId, Slot};

    fn pid(node: u64, index: u32) -> Pid {
        let slot = Slot::new(ShardId::new(0), index, 0).expect("in range");
        Pid { node: NodeId::new(node), incarnation: Incarnation::new(node), slot }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// A sends B three messages, all of which went off.
    fn three_sent() -> (Checker, Pid, Pid) {
        let (mut checker, a, b) = (Checker::default(), pid(1, 1), pid(2, 2));
        checker.born(a, None, true).expect("new");
        checker.born(b, None, true).expect("new");
        for number in 0..3 {
            assert_eq!(checker.send_asked(a, b, 7, at(number), true), number);
            checker.send_answered(a, b, number, Ok(())).expect("it went off");
        }
        (checker, a, b)
    }

    #[test]
    fn what_is_right_passes() {
        let (mut checker, a, b) = three_sent();
        for number in 0..3 {
            assert_eq!(checker.received(b, a, 7, number), Ok(()));
        }
        assert_eq!(checker.at_rest(), Ok(()));
    }

    #[test]
    fn a_duplicate_a_swap_and_a_hole_are_caught() {
        let (mut checker, a, b) = three_sent();
        checker.received(b, a, 7, 0).expect("the first");
        assert!(checker.received(b, a, 7, 0).is_err(), "twice");
        assert!(checker.received(b, a, 7, 2).is_err(), "one is missing");
        assert!(checker.at_rest().is_err(), "two never came");
        let (mut checker, a, b) = three_sent();
        checker.gap(a.node, b.node, None, at(5));
        checker.received(b, a, 7, 2).expect("the gap was told");
        assert!(checker.received(b, a, 7, 1).is_err(), "after a later one");
        assert_eq!(checker.at_rest(), Ok(()));
    }

    #[test]
    fn a_failed_send_must_not_arrive() {
        let (mut checker, a, b) = three_sent();
        checker.send_asked(a, b, 7, at(4), true);
        checker.send_answered(a, b, 3, Err(ErrorCode::Full)).expect("it may");
        assert!(checker.received(b, a, 7, 3).is_err());
        checker.send_asked(a, b, 7, at(5), true);
        assert!(checker.send_answered(a, b, 4, Err(ErrorCode::NoProcess)).is_err());
    }

    #[test]
    fn a_monitor_fires_once_and_for_the_right_reason() {
        let (mut checker, a, b) = three_sent();
        let id = MonitorId::new(1);
        checker.watches(a, id, b, at(1), true).expect("new");
        assert!(checker.told(a, id, b, &ExitReason::Normal).is_err(), "it lives");
        let (mut checker, a, b) = three_sent();
        checker.watches(a, id, b, at(1), true).expect("new");
        checker.exits(b, ExitReason::Normal);
        checker.ended(b, at(2));
        assert!(checker.at_rest().is_err(), "never told");
        assert_eq!(checker.told(a, id, b, &ExitReason::Normal), Ok(()));
        assert_eq!(checker.at_rest(), Ok(()));
        assert!(checker.told(a, id, b, &ExitReason::Normal).is_err(), "twice");
    }

    #[test]
    fn a_gap_must_be_told_to_who_watched_across() {
        let (mut checker, a, b) = three_sent();
        let id = MonitorId::new(1);
        checker.watches(a, id, b, at(1), true).expect("new");
        checker.gap(a.node, b.node, Some(b.incarnation), at(9));
        assert!(checker.at_rest().is_err());
        assert_eq!(checker.told(a, id, b, &ExitReason::NoConnection), Ok(()));
        assert_eq!(checker.at_rest(), Ok(()));
    }

    #[test]
    fn a_child_nobody_heard_of_is_caught() {
        let mut checker = Checker::default();
        checker.spawn_asked(5);
        checker.born(pid(1, 1), Some(5), true).expect("new");
        assert!(checker.at_rest().is_err());
        checker.ended(pid(1, 1), at(1));
        assert_eq!(checker.at_rest(), Ok(()));
    }
}
