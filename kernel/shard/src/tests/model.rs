//! Three shards on two nodes, joined by queues that delay, against a plain reference.
//!
//! The harness stands for the node's join (it carries what is for elsewhere, in lanes chosen by
//! pair), for the hosts (native processes that ask for random things), and for a node's crash.
//! The reference is [`ledger::Ledger`]: what a user of the contract relies on, written down.

mod actor;
mod hosts;
mod ledger;
mod network;

use super::random::{Random, Replay, seeds};
use super::*;
use actor::{Actor, Host};
use alloc::collections::VecDeque;
use craton_abi::limit::WINDOW_MESSAGES;
use ledger::Ledger;
use network::Network;

const SEEDS: u64 = 200;
const STEPS: usize = 3_000;
const PROCESSES_MAX: usize = 10;
/// Processes of a shard that may wait to be born.
const UNBORN_MAX: usize = 2;
/// The smallest mailbox that is asked for.
const MAILBOX_BYTES_MIN: usize = 100;
/// Pairs share their lane; credit, spawns and news of lost nodes travel in lanes of their own.
const LANES_OF_PAIRS: u64 = 3;
const LANE_OTHER: u64 = LANES_OF_PAIRS;
const LANE_LENDING: u64 = LANE_OTHER + 3;
/// The node that crashes now and then.
const FRAGILE: usize = 2;

type Lane = (usize, usize, u64);

struct World {
    random: Random,
    now: Instant,
    shards: Vec<Shard>,
    lanes: BTreeMap<Lane, VecDeque<Input>>,
    actors: BTreeMap<Pid, Actor>,
    ledger: Ledger,
    network: Network,
    /// Spawns whose answer has not reached the parent: where they were placed.
    placed: BTreeMap<(NodeId, RequestId), (Pid, usize)>,
    /// Who sent what fits any mailbox, and until when it said that it would wait.
    patient: BTreeMap<Pid, Instant>,
    /// Every pid there was, and some that never were.
    pids: Vec<Pid>,
    quiet: bool,
    /// How often an instance left a host for another.
    given: u64,
    /// How often one was born that was lent before.
    born_lent: u64,
}

fn shard(node: u64, incarnation: u64, index: u8) -> Shard {
    Shard::new(ShardConfig {
        node: NodeId::new(node),
        incarnation: Incarnation::new(incarnation),
        shard: ShardId::new(index),
        processes_max: PROCESSES_MAX,
    })
}

/// The parent of the first processes; not on any shard.
fn operator() -> Pid {
    away(99, 0)
}

impl World {
    fn new(seed: u64) -> Self {
        let shards = vec![shard(1, 1, 0), shard(1, 1, 1), shard(2, 1, 0)];
        let nobody = |node, index, shard| Pid {
            node: NodeId::new(node),
            incarnation: Incarnation::new(1),
            slot: Slot::new(ShardId::new(shard), index, 1).expect("in range"),
        };
        let mut world = World {
            random: Random::new(seed),
            now: Instant::ZERO,
            shards,
            lanes: BTreeMap::new(),
            actors: BTreeMap::new(),
            ledger: Ledger::default(),
            network: Network::default(),
            placed: BTreeMap::new(),
            patient: BTreeMap::new(),
            pids: vec![nobody(1, 900, 0), nobody(2, 900, 0), nobody(1, 1, 7)],
            quiet: false,
            given: 0,
            born_lent: 0,
        };
        for member in 0..3 {
            world.found(member);
        }
        world
    }

    /// Two first processes on a shard.
    fn found(&mut self, member: usize) {
        for request in 0..2 {
            let order = SpawnOrder {
                request: RequestId::new(request),
                parent: operator(),
                monitor: None,
                link: false,
                app: APP,
                trace: TraceId::new(0),
                program: ProgramId::default(),
                entry: String::from("first"),
                argument: Payload::default(),
                limits: ProcessLimits::default(),
                shard: None,
            };
            self.step(member, Input::Spawn(Box::new(order)));
        }
    }

    fn step(&mut self, member: usize, input: Input) {
        if let Input::SpawnReply { request, parent, .. } = &input {
            self.placed.remove(&(parent.node, *request));
        }
        if let Input::Ran { slot, outcome, .. } = &input {
            self.note_patience(member, *slot, outcome);
        }
        let mut out = Vec::new();
        self.shards[member].step(input, self.now, &mut out);
        check(&self.shards[member]);
        assert_eq!(self.shards[member].refused, 0, "{out:?}");
        for effect in out {
            self.perform(member, effect);
        }
    }

    fn note_patience(&mut self, member: usize, slot: Slot, outcome: &Outcome) {
        let Outcome::Call(call) = outcome else { return };
        let (HostCall::Send { to, payload, timeout, .. }
        | HostCall::Request { to, payload, timeout, .. }) = call
        else {
            return;
        };
        let pid = self.shards[member].pid(slot);
        if *to != pid && payload.0.len() <= MAILBOX_BYTES_MIN {
            self.patient.insert(pid, self.now + *timeout);
        }
    }

    fn perform(&mut self, member: usize, effect: Effect) {
        match effect {
            Effect::Host(HostEffect::Start(start)) => {
                let Start { pid, limits, .. } = *start;
                self.pids.push(pid);
                let actor = Actor::new(limits, member);
                assert!(self.actors.insert(pid, actor).is_none(), "a pid again");
            }
            Effect::Host(HostEffect::Run { slot, resume, .. }) => {
                let pid = self.shards[member].pid(slot);
                let patient = self.patient.remove(&pid);
                if resume == Resume::Reply(HostReply::Failed(ErrorCode::Full)) {
                    assert!(patient.is_none_or(|until| self.now >= until), "{pid} was to wait");
                }
                let actor = self.actors.get_mut(&pid).expect("a run without start");
                if resume.is_birth() && actor.place.is_none() {
                    // Wherever it first runs.
                    actor.place = Some(member);
                    self.born_lent += 1;
                }
                assert_eq!(actor.place, Some(member), "{pid} is run where it is not");
                actor.resumed(pid, resume, &mut self.ledger);
            }
            Effect::Host(HostEffect::Reclaim { slot }) => {
                let pid = self.shards[member].pid(slot);
                let actor = self.actors.remove(&pid).expect("reclaimed twice");
                assert_eq!(actor.host, Host::Idle, "reclaimed under its host's hands");
                assert!(actor.place.is_none_or(|place| place == member), "reclaimed elsewhere");
            }
            Effect::Host(HostEffect::Give { slot }) => {
                let pid = self.shards[member].pid(slot);
                let actor = self.actors.get_mut(&pid).expect("given without start");
                assert_eq!((actor.host, actor.place), (Host::Idle, Some(member)), "{pid}");
                actor.place = None;
                self.given += 1;
            }
            Effect::Host(HostEffect::Take { slot }) => {
                let pid = self.shards[member].pid(slot);
                let actor = self.actors.get_mut(&pid).expect("taken without start");
                assert_eq!(actor.place.replace(member), None, "{pid} is taken and was not given");
            }
            Effect::Lending { to, slot, word } => {
                let to = at(self.shards[member].config().node, to).expect("a shard of the node");
                self.push(member, to, LANE_LENDING, Input::Lending { slot, word });
            }
            Effect::Exited { pid, reason } => self.ledger.ended(pid, reason),
            Effect::AskNodes { slot } => {
                self.push(member, member, LANE_OTHER, Input::Nodes { slot, nodes: vec![] });
            }
            Effect::Place { order, .. } => {
                let to = self.random.below(3);
                let key = (order.parent.node, order.request);
                assert!(self.placed.insert(key, (order.parent, to)).is_none(), "a request again");
                self.push(member, to, LANE_OTHER, Input::Spawn(order));
            }
            Effect::Socket(order) => self.network(order),
            Effect::Log { .. } | Effect::AskNames { .. } | Effect::NamesEnded { .. } => {}
            Effect::WantRoom { node } => {
                self.push(member, member, LANE_OTHER, Input::Room { node });
            }
            Effect::Signal(_)
            | Effect::Credit { .. }
            | Effect::Gone { .. }
            | Effect::SpawnReply { .. }
            | Effect::SpawnHeard { .. } => self.carry(member, effect),
        }
    }

    /// What the node's join does: carries between shards, and answers for those that are not.
    fn carry(&mut self, member: usize, effect: Effect) {
        let (to, lane, input) = match effect {
            Effect::Signal(signal) => {
                let lane = (signal.from.slot.index() + signal.to.slot.index()) as u64;
                return self.carry_signal(member, lane % LANES_OF_PAIRS, signal);
            }
            Effect::Credit { to, mailbox, messages, bytes } => {
                (at(to.node, to.shard), LANE_OTHER, Input::Credit { mailbox, messages, bytes })
            }
            Effect::Gone { to, pid } => (at(to.node, to.shard), LANE_OTHER, Input::Gone { pid }),
            Effect::SpawnReply { parent, result, .. } if parent == operator() => {
                if let Ok(child) = result {
                    self.ledger.heard(child);
                    self.push(member, member, LANE_OTHER, Input::SpawnHeard { child });
                }
                return;
            }
            Effect::SpawnReply { request, parent, result } => {
                let lane = LANE_OTHER + 1 + self.random.next() % 2;
                (Some(locate(parent)), lane, Input::SpawnReply { request, parent, result })
            }
            Effect::SpawnHeard { child } => {
                (Some(locate(child)), LANE_OTHER, Input::SpawnHeard { child })
            }
            other => panic!("not for carrying: {other:?}"),
        };
        if let Some(to) = to {
            self.push(member, to, lane, input);
        }
    }

    fn carry_signal(&mut self, member: usize, lane: u64, signal: Signal) {
        let Signal { from, to, .. } = signal;
        if self.ledger.is_lost(to) {
            let Pid { node, incarnation, .. } = to;
            self.push(member, member, LANE_OTHER, Input::NodeLost { node, incarnation });
        } else if let Some(there) = at(to.node, to.slot.shard()) {
            self.push(member, there, lane, Input::Signal(signal));
        } else {
            match signal.body {
                SignalBody::Message { .. } => {
                    self.push(member, member, LANE_OTHER, Input::Gone { pid: to });
                }
                SignalBody::Request { id, .. } => {
                    self.push(member, member, LANE_OTHER, Input::Gone { pid: to });
                    let body = SignalBody::Down { id, reason: ExitReason::NoProcess };
                    let answer = Signal { from: to, to: from, body, ..signal };
                    self.push(member, member, lane, Input::Signal(answer));
                }
                SignalBody::Monitor { id } => {
                    let body = SignalBody::Down { id, reason: ExitReason::NoProcess };
                    let answer = Signal { from: to, to: from, body, ..signal };
                    self.push(member, member, lane, Input::Signal(answer));
                }
                _ => {}
            }
        }
    }

    fn push(&mut self, from: usize, to: usize, lane: u64, input: Input) {
        self.lanes.entry((from, to, lane)).or_default().push_back(input);
    }

    /// Delivers the next of a random lane.
    fn deliver(&mut self) -> bool {
        if self.lanes.is_empty() {
            return false;
        }
        let nth = self.random.below(self.lanes.len());
        let (&lane, queue) = self.lanes.iter_mut().nth(nth).expect("below the length");
        let input = queue.pop_front().expect("empty lanes are removed");
        if queue.is_empty() {
            self.lanes.remove(&lane);
        }
        self.step(lane.1, input);
        true
    }

    /// Lets a random host answer.
    fn answer(&mut self) -> bool {
        let busy: Vec<Pid> = self
            .actors
            .iter()
            .filter(|(_, actor)| actor.host != Host::Idle)
            .map(|(&pid, _)| pid)
            .collect();
        if busy.is_empty() {
            return false;
        }
        let pid = *self.random.pick(&busy);
        let actor = self.actors.get_mut(&pid).expect("listed");
        let (slot, place) = (pid.slot, actor.place);
        if actor.host == Host::Running && self.random.chance(50) {
            return self.run_on(pid);
        }
        let input = if actor.host == Host::Starting {
            let fails = !self.quiet && self.random.chance(5);
            let result = if fails { Err(ErrorCode::LimitMemory) } else { Ok(()) };
            if fails {
                self.actors.remove(&pid);
                // Nobody ever hears of this pid, so it counts as one that never was.
            } else {
                actor.host = Host::Idle;
            }
            Input::Started { slot, result }
        } else {
            let outcome =
                actor.outcome(pid, &mut self.random, &self.pids, &mut self.ledger, self.quiet);
            Input::Ran { slot, outcome, used: Duration::from_nanos(self.random.next() % 5_000) }
        };
        let place = place.unwrap_or_else(|| locate(pid));
        self.step(place, input);
        true
    }

    /// A process stands in the run queue of its shard, and is born when it first runs.
    fn unborn(&mut self, pid: Pid, limits: ProcessLimits) {
        self.pids.push(pid);
        let mut actor = Actor::new(limits, locate(pid));
        actor.host = Host::Idle;
        assert!(self.actors.insert(pid, actor).is_none(), "a pid again");
        self.ledger.unborn();
    }

    /// Lets a process ask for as long as its shard answers at once.
    fn run_on(&mut self, pid: Pid) -> bool {
        let slot = pid.slot;
        let place = self.actors.get(&pid).and_then(|actor| actor.place).expect("it runs somewhere");
        loop {
            let Some(actor) = self.actors.get_mut(&pid) else { return true };
            let outcome =
                actor.outcome(pid, &mut self.random, &self.pids, &mut self.ledger, self.quiet);
            let mut effects = Vec::new();
            let outcome = match outcome {
                Outcome::Call(call) => {
                    let limits = match &call {
                        HostCall::Spawn(call) => call.limits,
                        _ => ProcessLimits::default(),
                    };
                    let sent = self.send_across(place, slot, &call);
                    let shard = &mut self.shards[place];
                    let answer = match sent {
                        true => Ok(HostReply::Done),
                        false => shard.call_at_once(slot, call, UNBORN_MAX, &mut effects),
                    };
                    match answer {
                        Ok(reply) => {
                            check(&self.shards[place]);
                            let child = match reply {
                                HostReply::Spawned { pid, .. } => Some(pid),
                                _ => None,
                            };
                            let actor = self.actors.get_mut(&pid).expect("it runs still");
                            actor.resumed(pid, Resume::Reply(reply), &mut self.ledger);
                            effects.into_iter().for_each(|effect| self.perform(place, effect));
                            if let Some(child) = child {
                                self.unborn(child, limits);
                            }
                            continue;
                        }
                        Err(left) => left,
                    }
                }
                other => other,
            };
            assert!(effects.is_empty(), "nothing is done about a call that is given back");
            let used = Duration::from_nanos(self.random.next() % 5_000);
            self.hand_over(place, slot, outcome, used);
            return true;
        }
    }

    /// As a step, by the way of hosts that run one process after another.
    fn hand_over(&mut self, place: usize, slot: Slot, outcome: Outcome, used: Duration) {
        self.note_patience(place, slot, &outcome);
        let shard = &mut self.shards[place];
        let pid = shard.pid(slot);
        let orderly = match &outcome {
            Outcome::Exited(reason) if reason.is_orderly() => Some(reason.clone()),
            _ => None,
        };
        let (mut outcome, mut resume, mut out) = (outcome, Resume::Continue, Vec::new());
        let over = shard.hand_over(slot, &mut outcome, used, self.now, &mut resume, &mut out);
        check(shard);
        assert_eq!(shard.refused, 0, "{out:?}");
        if over.reclaim {
            orderly.into_iter().for_each(|reason| self.ledger.ended(pid, reason));
            out.push(reclaim_of(pid));
        }
        let run = |slot| HostEffect::Run { slot, resume, slice: Duration::ZERO };
        out.extend(over.next.map(run).map(Effect::Host));
        out.into_iter().for_each(|effect| self.perform(place, effect));
    }

    /// The fragile node stops at once and comes back in another life.
    fn crash(&mut self) {
        let config = self.shards[FRAGILE].config();
        let (node, incarnation) = (config.node, config.incarnation);
        self.ledger.lost(node, incarnation);
        self.network_lost(node, incarnation);
        self.lanes.retain(|&(from, to, _), _| from != FRAGILE && to != FRAGILE);
        self.actors.retain(|pid, _| (pid.node, pid.incarnation) != (node, incarnation));
        self.shards[FRAGILE] = shard(2, incarnation.get() + 1, 0);
        self.placed.retain(|_, (parent, _)| parent.node != node);
        let unanswered = self.placed.iter().filter(|(_, (_, to))| *to == FRAGILE);
        let replies: Vec<(RequestId, Pid)> =
            unanswered.map(|(&(_, request), &(parent, _))| (request, parent)).collect();
        // Answered with that, also if it crashes again before the answer is there.
        self.placed.retain(|_, (_, to)| *to != FRAGILE);
        for (request, parent) in replies {
            let result = Err(ErrorCode::NoConnection);
            let reply = Input::SpawnReply { request, parent, result };
            let there = locate(parent);
            self.push(there, there, LANE_OTHER + 1, reply);
        }
        for member in 0..FRAGILE {
            self.push(member, member, LANE_OTHER, Input::NodeLost { node, incarnation });
        }
        self.found(FRAGILE);
    }

    fn live_a_little(&mut self) {
        match self.random.below(100) {
            0..40 => drop(self.deliver()),
            40..75 => drop(self.answer()),
            75..92 => {
                let member = self.random.below(3);
                self.step(member, Input::Tick);
            }
            92..94 => self.lend(),
            94..99 => {
                let long = self.random.chance(3);
                self.now += if long { Duration::from_secs(6) } else { Duration::from_micros(300) };
            }
            _ if self.random.chance(8) => self.crash(),
            _ => self.assert_mailboxes_are_bounded(),
        }
    }

    /// Lets everybody receive what there is until nothing moves. Time passes only to dissolve
    /// deadlocks.
    fn settle(&mut self) {
        self.quiet = true;
        // Short waits end now; who waits for a tag would wait for ever.
        self.now += Duration::from_millis(10);
        (0..3).for_each(|member| self.step(member, Input::Tick));
        loop {
            let moved = self.deliver() | self.answer();
            let ticked = (0..3).filter(|&member| {
                let runnable = self.shards[member].runnable();
                if runnable {
                    self.step(member, Input::Tick);
                }
                runnable
            });
            if ticked.count() > 0 || moved {
                continue;
            }
            let Some(deadline) = self.shards.iter().filter_map(Shard::deadline).min() else {
                if self.shards.iter().all(|shard| shard.owed.is_empty()) {
                    return;
                }
                (0..3).for_each(|member| self.tell_owed(member));
                continue;
            };
            self.assert_deadlock();
            self.now = deadline;
            (0..3).for_each(|member| self.step(member, Input::Tick));
        }
    }

    /// When nothing moves, whoever still waits to send does so for somebody who does the same.
    fn assert_deadlock(&self) {
        let views: Vec<_> = self.shards.iter().flat_map(Shard::processes).collect();
        let sends = |state: &str| state.starts_with("sending to ");
        for waits in views.iter().filter(|view| sends(&view.state)) {
            let target = views
                .iter()
                .find(|view| waits.state.ends_with(&alloc::format!("{}", view.pid)))
                .expect("it waits for a living process");
            assert!(sends(&target.state), "{waits:?} waits for {target:?}");
        }
    }

    fn assert_mailboxes_are_bounded(&mut self) {
        let waiting = |shard: &Shard| (shard.windows.waiting(), shard.timers.len());
        for (far, timers) in self.shards.iter().map(waiting) {
            self.ledger.saw_waiting(far, timers);
        }
        let views = self.shards.iter().flat_map(Shard::processes);
        for view in views.filter(|view| view.state != "ending") {
            let limits = self.actors[&view.pid].limits;
            let most = limits.mailbox_messages + 3 * WINDOW_MESSAGES;
            assert!(view.mailbox_messages <= most, "{view:?}");
        }
    }

    fn assert_settled(&self) {
        for shard in &self.shards {
            assert!(shard.windows.is_empty(), "credit is missing: {:?}", shard.windows);
            assert_eq!(shard.deadline(), None);
            for view in shard.processes() {
                assert!(self.ledger.is_heard(view.pid), "an orphan: {view:?}");
                assert_eq!(view.state, "receiving", "{view:?}");
                assert_eq!((view.mailbox_messages, view.mailbox_bytes), (0, 0), "{view:?}");
            }
        }
        assert!(self.placed.is_empty());
        self.assert_network();
        self.ledger.assert_kept(|pid| self.actors.contains_key(&pid));
    }

    /// Ends everybody and looks that nothing is left.
    fn end(&mut self) {
        let all: Vec<Pid> = self.actors.keys().copied().collect();
        for pid in all {
            self.step(locate(pid), Input::Signal(signal(away(99, 1), pid, SignalBody::Kill)));
        }
        self.settle();
        for shard in &self.shards {
            assert!(shard.is_empty() && shard.windows.is_empty());
            assert!(shard.watches.is_empty() && shard.lodgers() == 0);
            assert_eq!((shard.deadline(), shard.runnable()), (None, false));
        }
        self.assert_network();
        let pids = core::mem::take(&mut self.pids);
        for pid in pids.into_iter().filter(|pid| at(pid.node, pid.slot.shard()).is_some()) {
            let id = MonitorId::new(1);
            let mut out = Vec::new();
            let ask = signal(away(99, 1), pid, SignalBody::Monitor { id });
            self.shards[locate(pid)].step(Input::Signal(ask), self.now, &mut out);
            let body = SignalBody::Down { id, reason: ExitReason::NoProcess };
            assert_eq!(out, [Effect::Signal(signal(pid, away(99, 1), body))], "a stale pid");
        }
    }
}

/// Which shard, by node and index.
fn at(node: NodeId, shard: ShardId) -> Option<usize> {
    match (node.get(), shard.index()) {
        (1, index @ 0..=1) => Some(index),
        (2, 0) => Some(FRAGILE),
        _ => None,
    }
}

fn locate(pid: Pid) -> usize {
    at(pid.node, pid.slot.shard()).expect("a pid of a shard")
}

#[test]
fn model() {
    let mut totals = ledger::Totals::default();
    let (mut network_answers, mut given, mut born_lent) = (0, 0, 0);
    for seed in seeds(SEEDS) {
        let _replay = Replay { test: "model", seed };
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.live_a_little();
        }
        world.settle();
        world.assert_settled();
        totals.add(&world.ledger);
        network_answers += world.network_answers();
        given += world.given;
        born_lent += world.born_lent;
        world.end();
    }
    // A model in which nothing happens proves nothing.
    std::println!("{totals:?}");
    if seeds(SEEDS).end - seeds(SEEDS).start == SEEDS {
        totals.assert_busy();
        assert!(network_answers > 1_000);
        assert!(given > 1_000, "{given}");
        assert!(born_lent > 100, "{born_lent}");
    }
}
