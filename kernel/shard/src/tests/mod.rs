//! The shard's rules, one test each, and the rig they share.
//!
//! `model` drives several shards under a seed against a reference; `garbage` feeds one shard with
//! nonsense. [`check`] is what must hold of a shard between any two steps.

use crate::port::{
    Effect, HostCall, HostEffect, HostReply, Input, LivingNode, Outcome, Received, Resume, Source,
    SpawnCall, Start,
};
use crate::process::{Process, State};
use crate::{HandedOver, Shard, ShardConfig};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use craton_abi::{
    AppId, Duration, ErrorCode, ExitReason, Incarnation, Instant, MonitorId, NodeId, Payload, Pid,
    ProcessLimits, ProgramId, RequestId, ShardId, Signal, SignalBody, Slot, SpawnOrder, TimerId,
    TraceId,
};
use craton_process::WaitQueue;

extern crate std;

mod across;
mod credit;
mod garbage;
mod lending;
mod life;
mod links;
mod messages;
mod model;
mod monitors;
mod random;
mod requests;
mod scheduling;
mod sockets;
mod spawning;
mod timers;

/// One shard whose processes are run as far as they go; a test says what each asks next.
struct Rig {
    shard: Shard,
    now: Instant,
    /// Processes that run, and how they were resumed.
    running: BTreeMap<Slot, Resume>,
    /// What the shard wanted done, runs left out.
    effects: Vec<Effect>,
    request: RequestId,
}

const APP: AppId = AppId::new(5);

impl Rig {
    fn new() -> Self {
        Rig::with_room(100)
    }

    fn with_room(processes_max: usize) -> Self {
        let config = ShardConfig {
            node: NodeId::new(1),
            incarnation: Incarnation::new(11),
            shard: ShardId::new(2),
            processes_max,
        };
        Rig {
            shard: Shard::new(config),
            now: Instant::from_nanos(1_000),
            running: BTreeMap::new(),
            effects: Vec::new(),
            request: RequestId::new(1_000_000),
        }
    }

    /// Steps the shard and ticks it for as long as anybody is runnable.
    fn step(&mut self, input: Input) {
        let mut input = Some(input);
        while let Some(next) = input {
            let mut out = Vec::new();
            self.shard.step(next, self.now, &mut out);
            self.note(out);
            input = self.shard.runnable().then_some(Input::Tick);
        }
        assert!(self.shard.exits.is_empty(), "an end was not passed on");
    }

    /// Takes note of what the shard asked for in a step.
    fn note(&mut self, out: Vec<Effect>) {
        check(&self.shard);
        for effect in out {
            match effect {
                Effect::Host(HostEffect::Run { slot, resume, .. }) => {
                    assert!(self.running.insert(slot, resume).is_none(), "run while it runs");
                }
                other => self.effects.push(other),
            }
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.step(Input::Tick);
    }

    fn effects(&mut self) -> Vec<Effect> {
        core::mem::take(&mut self.effects)
    }

    fn order(&mut self) -> SpawnOrder {
        self.request = self.request.next();
        SpawnOrder {
            request: self.request,
            parent: away(9, 0),
            monitor: None,
            link: false,
            app: APP,
            trace: TraceId::new(3),
            program: ProgramId([7; 32]),
            entry: String::from("main"),
            argument: Payload(vec![1]),
            limits: ProcessLimits::default(),
            shard: None,
        }
    }

    /// A process that has started and runs; what it took to get there is forgotten.
    fn process(&mut self) -> Pid {
        let order = self.order();
        self.process_of(order)
    }

    fn process_with_mailbox(&mut self, mailbox_messages: u32, mailbox_bytes: u32) -> Pid {
        let mut order = self.order();
        order.limits =
            ProcessLimits { mailbox_messages, mailbox_bytes, ..ProcessLimits::default() };
        self.process_of(order)
    }

    fn process_of(&mut self, order: SpawnOrder) -> Pid {
        let before = self.effects();
        let pid = self.starting(order);
        self.step(Input::Started { slot: pid.slot, result: Ok(()) });
        assert_eq!(self.running.get(&pid.slot), Some(&Resume::Start));
        self.effects = before;
        pid
    }

    /// A process whose host has not answered yet.
    fn starting(&mut self, order: SpawnOrder) -> Pid {
        self.step(Input::Spawn(Box::new(order)));
        match self.effects.last() {
            Some(Effect::Host(HostEffect::Start(start))) => start.pid,
            other => panic!("no start but {other:?}"),
        }
    }

    /// A running process asks for something: the answer, if it is resumed with one.
    fn call(&mut self, pid: Pid, call: HostCall) -> Option<HostReply> {
        self.ran(pid, Outcome::Call(call));
        self.answer(pid)
    }

    /// How a process was answered that waited; it runs since.
    fn answer(&self, pid: Pid) -> Option<HostReply> {
        match self.running.get(&pid.slot) {
            Some(Resume::Reply(reply)) => Some(reply.clone()),
            _ => None,
        }
    }

    fn ran(&mut self, pid: Pid, outcome: Outcome) {
        assert!(self.running.remove(&pid.slot).is_some(), "{pid} does not run");
        let (mut out, used) = (Vec::new(), Duration::from_micros(1));
        let (mut outcome, mut resume) = (outcome, Resume::Continue);
        let now = self.now;
        let over = self.shard.hand_over(pid.slot, &mut outcome, used, now, &mut resume, &mut out);
        if over.reclaim {
            self.effects.push(reclaim_of(pid));
        }
        self.note(out);
        if let Some(slot) = over.next {
            assert!(self.running.insert(slot, resume).is_none(), "run while it runs");
        }
        if self.shard.runnable() {
            self.step(Input::Tick);
        }
    }

    fn send(&mut self, from: Pid, to: Pid, tag: u64, len: usize) -> Option<HostReply> {
        self.call(from, send(to, tag, len, Duration::from_secs(5)))
    }

    fn receive(&mut self, pid: Pid) -> Option<HostReply> {
        self.call(pid, receive(None))
    }

    /// The tag of the message that comes next.
    fn receive_tag(&mut self, pid: Pid) -> Option<u64> {
        tag_of(&self.receive(pid)?)
    }

    fn monitor(&mut self, watcher: Pid, target: Pid) -> MonitorId {
        match self.call(watcher, HostCall::Monitor { target }) {
            Some(HostReply::Monitoring(id)) => id,
            other => panic!("no monitor but {other:?}"),
        }
    }

    fn signal(&mut self, from: Pid, to: Pid, body: SignalBody) {
        self.step(Input::Signal(signal(from, to, body)));
    }

    fn state(&self, pid: Pid) -> String {
        let view = self.shard.processes().find(|view| view.pid == pid);
        view.map_or(String::from("gone"), |view| view.state)
    }

    fn waits_for(&self, pid: Pid) -> Option<Pid> {
        self.shard.processes().find(|view| view.pid == pid)?.waits_for
    }
}

/// A pid on another node.
fn away(node: u64, index: u32) -> Pid {
    let slot = Slot::new(ShardId::new(0), index, 4).expect("in range");
    Pid { node: NodeId::new(node), incarnation: Incarnation::new(node * 10), slot }
}

fn signal(from: Pid, to: Pid, body: SignalBody) -> Signal {
    Signal { from, to, app: APP, trace: TraceId::new(0), body }
}

fn message(tag: u64, len: usize) -> SignalBody {
    SignalBody::Message { tag, payload: Payload(vec![0; len]) }
}

fn send(to: Pid, tag: u64, len: usize, timeout: Duration) -> HostCall {
    HostCall::Send { to, tag, payload: Payload(vec![0; len]), timeout }
}

fn receive(tag: Option<u64>) -> HostCall {
    HostCall::Receive { tag, timeout: None, capacity: usize::MAX }
}

fn failed(error: ErrorCode) -> Option<HostReply> {
    Some(HostReply::Failed(error))
}

fn tag_of(reply: &HostReply) -> Option<u64> {
    match reply {
        HostReply::Received(Received::Message { tag, .. }) => Some(*tag),
        _ => None,
    }
}

fn down(from: Pid, id: MonitorId, reason: ExitReason) -> Option<HostReply> {
    Some(HostReply::Received(Received::Down { from, id, reason }))
}

/// What must hold of a shard between any two steps.
fn check(shard: &Shard) {
    let live = || shard.processes.iter().filter_map(|(slot, tenant)| Some((slot, tenant.live()?)));
    let stands = |(_, p): &(Slot, &Process)| matches!(p.state, State::Runnable { .. });
    let runnable = live().filter(|live| stands(live) && !live.1.is_lent()).count();
    let runnable = runnable + shard.lodgers.values().filter(|l| l.turn().is_some()).count();
    assert!(shard.lender.answered.is_empty(), "an answer was not passed on");
    assert_eq!(shard.runnable, runnable, "runnable processes");
    let is_unborn =
        |p: &&Process| matches!(p.state, State::Runnable { resume: Resume::Birth(_), .. });
    let unborn = live().map(|(_, process)| process).filter(is_unborn).count();
    let unborn = unborn + shard.lodgers.values().filter(|lodger| lodger.is_unborn()).count();
    assert_eq!(shard.unborn, unborn, "unborn processes");
    assert!(shard.run_queue.len() >= runnable);
    assert!(shard.run_queue.len() <= 64 + 2 * (runnable + 1) + 1, "stale entries pile up");
    let deadlines = live().filter(|(_, process)| {
        matches!(process.state, State::Sending { .. } | State::Receiving { deadline: Some(_), .. })
    });
    assert_eq!(shard.timers.len(), deadlines.count(), "timers");
    assert!(live().all(|(_, p)| !matches!(p.state, State::Calling)), "left within a step");
    let waiting: usize = live().map(|(_, process)| process.senders.len()).sum();
    let sending = live().filter(|(_, p)| matches!(p.state, State::Sending { .. })).count();
    assert_eq!(waiting + shard.windows.waiting(), sending, "waiting senders");
    let answering = live().filter(|(_, p)| matches!(p.state, State::Answering { .. })).count();
    let queued: usize = shard.answering.values().map(WaitQueue::len).sum();
    assert_eq!(queued, answering, "waiting answers");
    for (_, id, owner) in shard.timers.alarms() {
        let owner = shard.live(owner).expect("a timer without owner");
        assert!(owner.mailbox.expects_news(id.get()), "a timer that its owner does not know");
    }
    for &watcher in shard.watches.values() {
        assert!(shard.live(watcher).is_some(), "a watch without watcher");
    }
}

fn reclaim_of(pid: Pid) -> Effect {
    Effect::Host(HostEffect::Reclaim { slot: pid.slot })
}
