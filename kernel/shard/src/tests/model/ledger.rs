//! The reference: what was asked, what was heard, and what the contract says about it.

use alloc::collections::{BTreeMap, BTreeSet};
use craton_abi::{ExitReason, Incarnation, MonitorId, NodeId, Pid, TimerId};

#[derive(Default)]
pub(super) struct Ledger {
    pairs: BTreeMap<(Pid, Pid), Pair>,
    monitors: BTreeMap<(Pid, MonitorId), Pid>,
    /// Monitors that fired or were taken back: nothing more may come.
    closed: BTreeSet<(Pid, MonitorId)>,
    ended: BTreeMap<Pid, ExitReason>,
    lost: BTreeSet<(NodeId, Incarnation)>,
    heard: BTreeSet<Pid>,
    /// Requests that were answered, and by whom.
    answers: BTreeMap<(Pid, MonitorId), Pid>,
    /// Timers whose notice is to come.
    timers: BTreeSet<(Pid, TimerId)>,
    totals: Totals,
}

/// Messages from one process to another.
#[derive(Default)]
struct Pair {
    /// By serial: asked, in order.
    messages: alloc::vec::Vec<Fate>,
    /// The last serial received of each tag.
    last: BTreeMap<u64, u64>,
}

#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
struct Fate {
    sent: bool,
    unsent: bool,
    received: bool,
}

/// How much happened, over all seeds.
#[derive(Debug, Default)]
pub(super) struct Totals {
    received: u64,
    unsent: u64,
    downs: u64,
    no_process: u64,
    no_connection: u64,
    demonitored: u64,
    notices_taken_back: u64,
    children: u64,
    /// Children that were spawned while their parents ran.
    unborn: u64,
    ends: u64,
    crashes: u64,
    /// Samples of processes that waited for credit, or with a deadline.
    waited_for_credit: u64,
    waited: u64,
    answers: u64,
    timers: u64,
}

impl Ledger {
    pub(super) fn attempt(&mut self, from: Pid, to: Pid) -> u64 {
        let messages = &mut self.pairs.entry((from, to)).or_default().messages;
        messages.push(Fate::default());
        messages.len() as u64 - 1
    }

    pub(super) fn sent(&mut self, from: Pid, to: Pid, serial: u64) {
        self.fate(from, to, serial).sent = true;
    }

    pub(super) fn unsent(&mut self, from: Pid, to: Pid, serial: u64) {
        let fate = self.fate(from, to, serial);
        assert!(!fate.received, "a message arrived that was refused");
        fate.unsent = true;
        self.totals.unsent += 1;
    }

    pub(super) fn received(&mut self, from: Pid, to: Pid, tag: u64, payload: &[u8]) {
        let serial = u64::from_le_bytes(payload[..8].try_into().expect("eight bytes"));
        let fate = self.fate(from, to, serial);
        assert!(!fate.unsent, "a message arrived that was refused");
        assert!(!fate.received, "a message arrived twice");
        fate.received = true;
        let pair = self.pairs.entry((from, to)).or_default();
        if let Some(last) = pair.last.insert(tag, serial) {
            assert!(last < serial, "{from} to {to}: {serial} after {last}");
        }
        self.totals.received += 1;
    }

    pub(super) fn monitoring(&mut self, watcher: Pid, target: Pid, id: MonitorId) {
        assert!(self.monitors.insert((watcher, id), target).is_none(), "an id again");
    }

    pub(super) fn demonitored(&mut self, watcher: Pid, id: MonitorId, noticed: bool) {
        assert!(self.closed.insert((watcher, id)), "taken back twice");
        let target = self.monitors[&(watcher, id)];
        let answered = self.answers.contains_key(&(watcher, id));
        assert!(!noticed || answered || self.is_over(target), "a notice of a living process");
        self.totals.demonitored += 1;
        self.totals.notices_taken_back += u64::from(noticed);
    }

    /// A notice; `in_order` if whatever arrived before it was received before it.
    pub(super) fn down(
        &mut self,
        from: Pid,
        watcher: Pid,
        id: MonitorId,
        reason: &ExitReason,
        in_order: bool,
    ) {
        assert_eq!(self.monitors.get(&(watcher, id)), Some(&from), "a notice of nothing");
        assert!(self.closed.insert((watcher, id)), "a notice too many");
        match reason {
            ExitReason::NoConnection => assert!(self.is_lost(from), "{from} is not lost"),
            ExitReason::NoProcess => assert!(self.is_over(from), "{from} lives"),
            reason => assert_eq!(self.ended.get(&from), Some(reason)),
        }
        self.totals.downs += 1;
        self.totals.no_process += u64::from(*reason == ExitReason::NoProcess);
        self.totals.no_connection += u64::from(*reason == ExitReason::NoConnection);
        if in_order && !self.is_lost(from) {
            let pair = self.pairs.entry((from, watcher)).or_default();
            let overtaken = pair.messages.iter().any(|fate| fate.sent && !fate.received);
            assert!(!overtaken, "the end of {from} overtook its message to {watcher}");
        }
    }

    pub(super) fn answered(&mut self, by: Pid, asker: Pid, id: MonitorId) {
        assert!(self.answers.insert((asker, id), by).is_none(), "a request came twice");
    }

    pub(super) fn answer_received(&mut self, from: Pid, asker: Pid, id: MonitorId) {
        assert_eq!(self.answers.get(&(asker, id)), Some(&from), "an answer from nowhere");
        assert_eq!(self.monitors.get(&(asker, id)), Some(&from), "another was asked");
        assert!(self.closed.insert((asker, id)), "an answer too many");
        self.totals.answers += 1;
    }

    pub(super) fn timer_set(&mut self, owner: Pid, id: TimerId) {
        assert!(self.timers.insert((owner, id)), "an id again");
    }

    /// Its notice was received, or it was taken back.
    pub(super) fn timer_over(&mut self, owner: Pid, id: TimerId) {
        assert!(self.timers.remove(&(owner, id)), "a notice too many");
        self.totals.timers += 1;
    }

    pub(super) fn heard(&mut self, child: Pid) {
        self.heard.insert(child);
        self.totals.children += 1;
    }

    pub(super) fn unborn(&mut self) {
        self.totals.unborn += 1;
    }

    pub(super) fn ended(&mut self, pid: Pid, reason: ExitReason) {
        assert!(self.ended.insert(pid, reason).is_none(), "{pid} ended twice");
        self.totals.ends += 1;
    }

    pub(super) fn lost(&mut self, node: NodeId, incarnation: Incarnation) {
        self.lost.insert((node, incarnation));
        self.totals.crashes += 1;
    }

    pub(super) fn saw_waiting(&mut self, for_credit: usize, with_deadline: usize) {
        self.totals.waited_for_credit += for_credit as u64;
        self.totals.waited += with_deadline as u64;
    }

    pub(super) fn is_lost(&self, pid: Pid) -> bool {
        self.lost.contains(&(pid.node, pid.incarnation))
    }

    /// Whether a process ended, was lost, or never was heard of.
    fn is_over(&self, pid: Pid) -> bool {
        self.ended.contains_key(&pid) || self.is_lost(pid) || !self.heard.contains(&pid)
    }

    /// What must hold when nothing moves any more.
    pub(super) fn assert_kept(&self, lives: impl Fn(Pid) -> bool) {
        for (&(from, to), pair) in &self.pairs {
            for (serial, fate) in pair.messages.iter().enumerate() {
                let owed = fate.sent && lives(to) && !self.is_lost(from);
                assert!(!owed || fate.received, "message {serial} from {from} to {to} is missing");
            }
        }
        for (&(watcher, id), &target) in &self.monitors {
            let owed = lives(watcher) && !lives(target);
            let told = self.closed.contains(&(watcher, id));
            assert!(!owed || told, "{watcher} does not know of the end of {target}");
        }
        for (&(asker, id), &by) in &self.answers {
            let owed = lives(asker) && !self.is_lost(by);
            assert!(!owed || self.closed.contains(&(asker, id)), "{asker} misses an answer");
        }
        for &(owner, id) in &self.timers {
            assert!(!lives(owner), "{owner} misses its timer {id}");
        }
        for pid in self.ended.keys() {
            assert!(!lives(*pid), "{pid} ended and lives");
        }
    }

    /// Whether somebody knows of a process, so that it may live.
    pub(super) fn is_heard(&self, pid: Pid) -> bool {
        self.heard.contains(&pid)
    }

    fn fate(&mut self, from: Pid, to: Pid, serial: u64) -> &mut Fate {
        let pair = self.pairs.get_mut(&(from, to)).expect("a message that nobody sent");
        pair.messages.get_mut(serial as usize).expect("a message that nobody sent")
    }
}

impl Totals {
    pub(super) fn add(&mut self, ledger: &Ledger) {
        let more = &ledger.totals;
        self.received += more.received;
        self.unsent += more.unsent;
        self.downs += more.downs;
        self.no_process += more.no_process;
        self.no_connection += more.no_connection;
        self.demonitored += more.demonitored;
        self.notices_taken_back += more.notices_taken_back;
        self.children += more.children;
        self.unborn += more.unborn;
        self.ends += more.ends;
        self.crashes += more.crashes;
        self.waited_for_credit += more.waited_for_credit;
        self.waited += more.waited;
        self.answers += more.answers;
        self.timers += more.timers;
    }

    /// Each thing that the model is about happened often.
    pub(super) fn assert_busy(&self) {
        for count in [
            self.received,
            self.unsent,
            self.downs,
            self.no_process,
            self.no_connection,
            self.demonitored,
            self.notices_taken_back,
            self.children,
            self.unborn,
            self.ends,
            self.crashes,
            self.waited_for_credit,
            self.waited,
            self.answers,
            self.timers,
        ] {
            assert!(count >= 100, "too little happened: {self:?}");
        }
    }
}
