//! The shard itself: what it holds, and which part answers which input.
//!
//! Owns [`Shard`] and [`ShardConfig`], the run queue's use and the timers' firing. The rest of its
//! verbs are in `call` (what a process asks), `message` (sending, receiving, credit), `watch`
//! (monitors), `request` (answers, timers), `spawn` and `life` (beginnings and ends), `lend` and
//! `lodge` (processes that another shard runs).

use crate::across::copy;
use crate::lend::{Lender, turn_of};
use crate::lodge::Lodger;
use crate::port::{Effect, HostEffect, HostReply, Input, LogLevel, Outcome, Resume};
use crate::process::{Process, Runs, State, Tenant};
use crate::run_queue::{RunQueue, Turn};
use crate::timers::Timers;
use crate::view::ProcessView;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::vec::Vec;
use craton_abi::{
    AppId, Duration, ErrorCode, ExitReason, Incarnation, Instant, MonitorId, NodeId, Pid,
    RequestId, ShardId, Signal, SignalBody, Slot, limit,
};
use craton_process::{Owed, Pacing, Table, Ticket, WaitQueue, Windows};

/// The shard's index stands above this many bits of its monitor and request ids, so that no two
/// shards of a node give out the same. Bit 63 stays clear for every index a node can have (guests
/// tell ids from errors by the sign), and 2^55 ids outlast any machine.
const ID_SERIAL_BITS: u32 = 55;

/// What the system signs with: it may do all to all.
pub(crate) const SYSTEM: AppId = AppId::new(0);

/// What a shard is told at its birth.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct ShardConfig {
    /// The node it belongs to.
    pub node: NodeId,
    /// The life of that node.
    pub incarnation: Incarnation,
    /// Which of the node's shards it is.
    pub shard: ShardId,
    /// Most processes at once.
    pub processes_max: usize,
}

/// One CPU's processes, run queue and timers.
#[derive(Debug)]
pub struct Shard {
    pub(crate) config: ShardConfig,
    /// Of the step in progress; never goes back.
    pub(crate) now: Instant,
    pub(crate) processes: Table<Tenant>,
    pub(crate) run_queue: RunQueue,
    /// Processes in [`State::Runnable`] that are not lent, and lodgers that stand in the run queue.
    pub(crate) runnable: usize,
    /// Those among them that no instance was made for yet.
    pub(crate) unborn: usize,
    pub(crate) lender: Lender,
    /// Processes of other shards that this one runs.
    pub(crate) lodgers: BTreeMap<Slot, Lodger>,
    pub(crate) timers: Timers,
    /// Credit for mailboxes elsewhere.
    pub(crate) windows: Windows,
    /// Credit for mailboxes here that is not told yet.
    pub(crate) owed: Owed,
    pub(crate) pacing: Pacing,
    /// Processes with an answer for a node to which too much is under way.
    pub(crate) answering: BTreeMap<NodeId, WaitQueue>,
    /// Monitors of this shard's processes on other nodes, by target: what a lost node fires.
    pub(crate) watches: BTreeMap<(Pid, MonitorId), Slot>,
    /// Ends that linked processes of this shard are about to hear of, in order. Each step takes
    /// some; who has this in it is runnable. A chain of links is walked here and not on the stack.
    pub(crate) exits: VecDeque<(Slot, Pid, ExitReason)>,
    pub(crate) monitor_last: MonitorId,
    pub(crate) request_last: RequestId,
    pub(crate) ticket_last: Ticket,
    /// Inputs that were refused because somebody broke a rule.
    pub(crate) refused: u64,
}

/// What comes of a process that came back from running: see [`Shard::hand_over`].
#[must_use]
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct HandedOver {
    /// The process that runs next, if the host need do nothing before.
    pub next: Option<Slot>,
    /// Whether the process that came back has ended, and its host is to drop it: nobody asks for
    /// that any more.
    pub reclaim: bool,
}

/// Where a pid points to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Whereabouts {
    /// To a process of this shard.
    Here,
    /// To another shard or node.
    Away,
    /// To nobody: ended, or of another life of this node.
    Nowhere,
}

impl Shard {
    /// A shard without processes.
    pub fn new(config: ShardConfig) -> Self {
        let id_first = (config.shard.index() as u64) << ID_SERIAL_BITS;
        let processes_max = config.processes_max.min(limit::PROCESSES_PER_SHARD_MAX);
        Shard {
            config,
            now: Instant::ZERO,
            processes: Table::new(config.shard, processes_max),
            run_queue: RunQueue::new(),
            runnable: 0,
            unborn: 0,
            lender: Lender::default(),
            lodgers: BTreeMap::new(),
            timers: Timers::new(),
            windows: Windows::new(),
            owed: Owed::new(),
            pacing: Pacing::new(),
            answering: BTreeMap::new(),
            watches: BTreeMap::new(),
            exits: VecDeque::new(),
            monitor_last: MonitorId::new(id_first),
            request_last: RequestId::new(id_first),
            ticket_last: Ticket::default(),
            refused: 0,
        }
    }

    /// Takes one input and appends what is to be done about it, in order. [`HostEffect::Run`] comes
    /// only in answer to [`Input::Tick`], and at most one for each.
    pub fn step(&mut self, input: Input, now: Instant, out: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        match input {
            Input::Tick => self.tick(out),
            Input::Started { slot, result } => self.started(slot, result, out),
            Input::Ran { slot, outcome, used } => self.ran(slot, outcome, used, out),
            Input::Nodes { slot, nodes } => self.told(slot, HostReply::Nodes(nodes), out),
            Input::Names { slot, reply } => self.told(slot, reply, out),
            Input::Signal(signal) => self.signal(signal, out),
            Input::Letter(letter) => self.take_letter(letter, now, &mut copy, out),
            Input::Socket(event) => self.socket(event, out),
            Input::Credit { mailbox, messages, bytes } => {
                self.credit(mailbox, messages, bytes, out);
            }
            Input::Lending { slot, word } => self.lending(slot, word, out),
            Input::NotThere { slot } => self.not_there(slot, out),
            Input::End { slot, reason } => self.end(slot, reason, out),
            Input::Room { node } => self.room(node, out),
            Input::Gone { pid } => self.gone(pid),
            Input::Spawn(order) => self.spawn(*order, out),
            Input::SpawnReply { request, parent, result } => {
                self.spawn_reply(request, parent, result, out);
            }
            Input::SpawnHeard { child } => self.spawn_heard(child),
            Input::NodeLost { node, incarnation } => self.node_lost(node, incarnation, out),
        }
        self.settle(out);
    }

    /// Does what a step leaves for its end.
    #[inline]
    pub(crate) fn settle(&mut self, out: &mut Vec<Effect>) {
        if !self.exits.is_empty() {
            self.pass_exits_on(out);
        }
        if !self.lender.answered.is_empty() {
            self.pass_answers_on(out);
        }
    }

    /// When it must be stepped with [`Input::Tick`] at the latest, if nobody is runnable.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether a tick would run a process, or let one hear of the end of another.
    pub fn runnable(&self) -> bool {
        self.runnable > 0 || !self.exits.is_empty()
    }

    /// Processes in the table, ending ones among them.
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// All processes, as a listing shows them.
    pub fn processes(&self) -> impl Iterator<Item = ProcessView<'_>> {
        self.processes.iter().map(|(slot, tenant)| ProcessView::new(self.pid(slot), tenant))
    }

    /// What it was told at its birth.
    pub fn config(&self) -> ShardConfig {
        self.config
    }

    /// As [`Input::Ran`] and, if that asks for nothing and no time is up, [`Input::Tick`]: answers
    /// with the process that runs next, and says in `resume` how it goes on. For hosts that run one
    /// after another, and drop whoever ended by themselves. An orderly end is told to those who
    /// watch alone.
    #[inline]
    pub fn hand_over(
        &mut self,
        slot: Slot,
        outcome: &mut Outcome,
        used: Duration,
        now: Instant,
        resume: &mut Resume,
        out: &mut Vec<Effect>,
    ) -> HandedOver {
        let reclaim = self.come_back(slot, outcome, used, now, out);
        let next = if out.is_empty() { self.next(now, resume, out) } else { None };
        HandedOver { next, reclaim }
    }

    /// The first half of [`Shard::hand_over`], for hosts that have something else to do before the
    /// next process runs: whether the one that came back is to be dropped.
    #[inline]
    #[must_use]
    pub fn come_back(
        &mut self,
        slot: Slot,
        outcome: &mut Outcome,
        used: Duration,
        now: Instant,
        out: &mut Vec<Effect>,
    ) -> bool {
        self.now = self.now.max(now);
        let mut reclaim = false;
        if !(matches!(outcome, Outcome::Waiting) && self.waits(slot, used)) {
            match core::mem::replace(outcome, Outcome::Waiting) {
                Outcome::Exited(reason) if self.runs(slot) => {
                    self.conclude(slot, reason, out);
                    reclaim = true;
                }
                outcome => self.ran(slot, outcome, used, out),
            }
            self.settle(out);
        }
        reclaim
    }

    /// The other half: the process that runs next, and how it goes on. `None` also if a
    /// [`Input::Tick`] has more to do than to find one.
    #[inline]
    pub fn next(
        &mut self,
        now: Instant,
        resume: &mut Resume,
        out: &mut Vec<Effect>,
    ) -> Option<Slot> {
        self.now = self.now.max(now);
        // Stale entries may stand in the queue of a shard where nobody is runnable.
        if self.runnable == 0 || self.is_due(self.now) {
            return None;
        }
        self.next_to_run(resume, out)
    }

    /// Whether a tick would do more than to find the process that runs next.
    #[inline]
    pub fn is_due(&self, now: Instant) -> bool {
        self.timers.is_due(now) || !self.exits.is_empty()
    }

    fn tick(&mut self, out: &mut Vec<Effect>) {
        while let Some(slot) = self.timers.pop_due(self.now) {
            self.time_out(slot, out);
        }
        while let Some((id, owner)) = self.timers.pop_alarm(self.now) {
            self.ring(owner, id, out);
        }
        let mut resume = Resume::Continue;
        if let Some(slot) = self.next_to_run(&mut resume, out) {
            let slice = limit::SLICE;
            out.push(Effect::Host(HostEffect::Run { slot, resume, slice }));
        }
    }

    /// Takes the process whose turn it is from the run queue, and how it goes on.
    fn next_to_run(&mut self, resume: &mut Resume, out: &mut Vec<Effect>) -> Option<Slot> {
        while let Some((slot, turn)) = self.run_queue.pop() {
            let Some(process) = self.live_mut(slot) else {
                if self.lodger_runs(slot, turn, resume) {
                    return Some(slot);
                }
                continue;
            };
            match core::mem::replace(&mut process.state, State::Running) {
                State::Runnable { resume: its_own, turn: last } if last == turn => {
                    resume.put(its_own);
                }
                other => {
                    process.state.put(other);
                    continue;
                }
            }
            self.runnable -= 1;
            match resume {
                Resume::Birth(_) => self.unborn -= 1,
                Resume::Reply(HostReply::Spawned { pid: child, .. }) => {
                    out.push(Effect::SpawnHeard { child: *child });
                }
                _ => {}
            }
            return Some(slot);
        }
        None
    }

    /// The time of a waiting process is up; its timer is gone already.
    fn time_out(&mut self, slot: Slot, out: &mut Vec<Effect>) {
        let Some(process) = self.live_mut(slot) else { return };
        let error = match &process.state {
            State::Receiving { .. } => ErrorCode::TimedOut,
            State::Sending { to, ticket, parcel, .. } => {
                let (to, ticket, request) = (*to, *ticket, parcel.request);
                self.leave(to, ticket, out);
                self.give_up_request(slot, request);
                ErrorCode::Full
            }
            _ => return,
        };
        self.reply(slot, HostReply::Failed(error));
    }

    /// Answers a process's call.
    pub(crate) fn reply(&mut self, slot: Slot, reply: HostReply) {
        self.ready(slot, Resume::Reply(reply));
    }

    /// Puts a process in the run queue, if it lives.
    pub(crate) fn ready(&mut self, slot: Slot, resume: Resume) {
        let Some(process) = self.processes.get_mut(slot).and_then(Tenant::live_mut) else { return };
        if process.is_lent() {
            process.state = State::Runnable { resume, turn: Turn::NONE };
            return self.lender.answered.push(slot);
        }
        let waits_alone = matches!(resume, Resume::Start | Resume::Continue);
        let is_spare = waits_alone && process.runs == Runs::Anywhere;
        let turn = process.queue_up(slot, &mut self.run_queue);
        process.state = State::Runnable { resume, turn };
        self.runnable += 1;
        if is_spare {
            self.offer(slot, turn);
        }
    }

    /// A process that stood in the run queue ended.
    pub(crate) fn left_run_queue(&mut self) {
        self.runnable -= 1;
        let (processes, lodgers) = (&self.processes, &self.lodgers);
        self.run_queue
            .clean(self.runnable, |slot, turn| turn_of(processes, lodgers, slot) == Some(turn));
    }

    /// Counts what somebody did against the rules, and says so at the first and at each doubling,
    /// so that a flood fills no log.
    pub(crate) fn refuse(&mut self, pid: Pid, what: &str, by: Pid, out: &mut Vec<Effect>) {
        self.refused += 1;
        if self.refused.is_power_of_two() {
            let text = format!("refused {what} from {by}; {} such so far", self.refused);
            out.push(Effect::Log { pid, level: LogLevel::Warn, text });
        }
    }

    /// A signal of a process of this shard.
    pub(crate) fn emit(&self, from: Slot, to: Pid, body: SignalBody, out: &mut Vec<Effect>) {
        if let Some(process) = self.live(from) {
            let (app, trace) = (process.app, process.trace);
            out.push(Effect::Signal(Signal { from: self.pid(from), to, app, trace, body }));
        }
    }

    #[inline]
    pub(crate) fn live(&self, slot: Slot) -> Option<&Process> {
        self.processes.get(slot)?.live()
    }

    #[inline]
    pub(crate) fn live_mut(&mut self, slot: Slot) -> Option<&mut Process> {
        self.processes.get_mut(slot)?.live_mut()
    }

    pub(crate) fn pid(&self, slot: Slot) -> Pid {
        Pid { node: self.config.node, incarnation: self.config.incarnation, slot }
    }

    pub(crate) fn find(&self, pid: Pid) -> Whereabouts {
        if pid.node != self.config.node {
            return Whereabouts::Away;
        }
        if pid.incarnation != self.config.incarnation {
            return Whereabouts::Nowhere;
        }
        if pid.slot.shard() != self.config.shard {
            return Whereabouts::Away;
        }
        match self.live(pid.slot) {
            Some(_) => Whereabouts::Here,
            None => Whereabouts::Nowhere,
        }
    }
}

/// Whether a process of `app` may signal one of `target`.
pub(crate) fn may_signal(app: AppId, target: AppId) -> bool {
    app == target || app == SYSTEM
}
