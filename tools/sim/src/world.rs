//! The world: machines, network, operator and time, driven by one seed.
//!
//! Owns [`World`] and [`run`]. The loop takes the next event, steps whom it concerns, and puts what
//! comes of it back into the queue; nothing else makes time pass.

use crate::actor::{Actor, Phase, Scene};
use crate::checker::{Checker, Violation};
use crate::faults::{self, Fault};
use crate::keys::Keys;
use crate::machine::Machine;
use crate::net::{End, FLIGHT_BYTES_MAX, Net, Place, address, place_of};
use crate::operator::{Operator, Want};
use crate::random::Random;
use crate::trace::Trace;
use craton_abi::{Duration, ErrorCode, Instant, NodeId, Slot, limit};
use craton_node::{NodeEffect, NodeInput};
use craton_session::ConnId;
use craton_shard::port::{HostReply, LogLevel, Outcome, Received, Resume};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

/// Machines of a cluster.
const NODES: usize = 3;
/// Where the operator sits.
const OPERATOR: Place = NODES;
/// From when on things go wrong.
const FAULTS_FROM: Instant = Instant::from_nanos(1_500_000_000);
/// When everything is healed and processes only receive.
const HEALED_AT: Instant = Instant::from_nanos(16_000_000_000);
/// When all must be at rest, and processes leave.
const LEAVE_AT: Instant = Instant::from_nanos(32_000_000_000);
/// When nothing must be left.
const END_AT: Instant = Instant::from_nanos(37_000_000_000);
/// How long a call may go unanswered when all is healed.
const HANG: Duration = Duration::from_secs(8);
/// Actors beyond which none spawns another.
const ACTORS_MAX: usize = 40;
/// Events that may wait at once: more means that something multiplies.
const EVENTS_MAX: usize = 200_000;

/// A rule that is broken on purpose, to see that the checker notices.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Sabotage {
    /// Some messages are handed over twice.
    DuplicateMessages,
    /// Some notices are thrown away.
    SwallowNotices,
}

/// How to run.
#[derive(Copy, Clone, Debug, Default)]
pub struct Options {
    /// Print every event.
    pub print: bool,
    /// Break a rule.
    pub sabotage: Option<Sabotage>,
}

/// What a run came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// Hash of everything that happened.
    pub hash: String,
    /// Messages that processes took from their mailboxes.
    pub messages: u64,
    /// Notices that processes took from their mailboxes.
    pub notices: u64,
    /// Processes that lived.
    pub processes: u64,
    /// Runs that an operator saw start.
    pub runs: u64,
    /// Lives of nodes that ended.
    pub lives_ended: u64,
    /// Gaps that nodes wrote to their logs.
    pub gaps: u64,
}

/// Runs one seed to its end.
///
/// # Errors
///
/// The first promise that was broken.
pub fn run(seed: u64, options: Options) -> Result<Report, Violation> {
    World::new(seed, options).run()
}

#[derive(Debug)]
enum Event {
    Tick { place: Place, token: u64 },
    Datagram { to: Place, boot: u32, from: Place, bytes: Vec<u8> },
    Dialled { from: End, to: Place },
    Connected { to: End },
    Chunk { stream: u64, side: usize, to: End, bytes: Vec<u8> },
    Closed { to: End },
    Fault(Fault),
    Mend(Place, Place),
    Boot(Place),
    Operator,
}

/// A cluster, its network and its operator.
pub struct World {
    options: Options,
    random: Random,
    now: Instant,
    phase: Phase,
    machines: Vec<Machine>,
    operator: Operator,
    net: Net,
    events: BTreeMap<(Instant, u64), Event>,
    event_next: u64,
    broken: BTreeSet<u64>,
    ids: Vec<NodeId>,
    spawn_next: u64,
    checker: Checker,
    trace: Trace,
    /// Replies that sabotage hands over once more.
    repeat: Option<(Place, Slot, Received)>,
    lives_ended: u64,
    gaps: u64,
    violation: Option<Violation>,
}

impl World {
    /// The world before its beginning.
    pub fn new(seed: u64, options: Options) -> Self {
        let mut random = Random::new(seed);
        let mut keys = Keys::new(&mut random);
        let bundle = (0..70_000u32).map(|i| (i % 251) as u8 ^ seed as u8).collect();
        let operator =
            Operator::new(keys.operator(&mut random), keys.authority(), bundle, &mut random);
        let machines: Vec<Machine> = (0..NODES)
            .map(|place| {
                let config = keys.node(&format!("node{place}"), &mut random);
                Machine::new(place, config, &mut random)
            })
            .collect();
        let ids = machines.iter().map(|machine| machine.node.id()).collect();
        let mut world = World {
            options,
            random,
            now: Instant::ZERO,
            phase: Phase::Work,
            machines,
            operator,
            net: Net::new(),
            events: BTreeMap::new(),
            event_next: 0,
            broken: BTreeSet::new(),
            ids,
            spawn_next: 0,
            checker: Checker::default(),
            trace: Trace::new(options.print),
            repeat: None,
            lives_ended: 0,
            gaps: 0,
            violation: None,
        };
        for place in 0..NODES {
            let at = Instant::ZERO + world.random.millis(0, 300);
            world.at(at, Event::Boot(place));
        }
        for (at, fault) in faults::plan(NODES, FAULTS_FROM, HEALED_AT, &mut world.random) {
            world.at(at, Event::Fault(fault));
        }
        world.at(Instant::ZERO + Duration::from_millis(700), Event::Operator);
        world
    }

    /// Runs to the end.
    ///
    /// # Errors
    ///
    /// The first promise that was broken.
    pub fn run(mut self) -> Result<Report, Violation> {
        self.run_until(HEALED_AT)?;
        self.heal();
        self.run_until(LEAVE_AT)?;
        self.check_rest()?;
        self.phase = Phase::Leave;
        self.run_until(END_AT)?;
        self.check_end()?;
        Ok(Report {
            hash: self.trace.hash(),
            messages: self.checker.messages,
            notices: self.checker.notices,
            processes: self.checker.processes,
            runs: self.operator.runs_started,
            lives_ended: self.lives_ended,
            gaps: self.gaps,
        })
    }

    fn run_until(&mut self, end: Instant) -> Result<(), Violation> {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.happen(event);
            if self.events.len() > EVENTS_MAX {
                return Err(Violation(format!("{} events wait", self.events.len())));
            }
            if let Some(violation) = self.violation.take() {
                self.trace.note(self.now, format_args!("BROKEN {violation}"));
                return Err(violation);
            }
        }
        self.now = end;
        Ok(())
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.events.insert((at.max(self.now), self.event_next), event);
        self.event_next += 1;
    }

    fn check(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.violation.get_or_insert(violation);
        }
    }

    /// Whether a machine can take something now; if it is paused, it takes it later.
    fn is_awake(&mut self, place: Place, boot: u32, event: &mut Option<Event>) -> bool {
        if place == OPERATOR {
            return boot == self.operator.boot;
        }
        let machine = &self.machines[place];
        if !machine.alive || machine.boot != boot {
            return false;
        }
        if machine.paused_until > self.now {
            let until = machine.paused_until;
            if let Some(event) = event.take() {
                self.at(until, event);
            }
            return false;
        }
        true
    }

    fn happen(&mut self, event: Event) {
        let to = match &event {
            Event::Tick { place, token } => {
                let machine = &self.machines[*place];
                (machine.tick_token == *token).then_some((*place, machine.boot))
            }
            Event::Datagram { to, boot, .. } => Some((*to, *boot)),
            Event::Dialled { to, .. } => Some((*to, self.machines[*to].boot)),
            Event::Connected { to } | Event::Chunk { to, .. } | Event::Closed { to } => {
                Some((to.place, to.boot))
            }
            Event::Fault(fault) => return self.go_wrong(*fault),
            Event::Mend(a, b) => return self.mend(*a, *b),
            Event::Boot(place) => return self.boot(*place),
            Event::Operator => return self.operate(),
        };
        let mut event = Some(event);
        let Some((place, boot)) = to else { return };
        if self.is_awake(place, boot, &mut event)
            && let Some(event) = event
        {
            self.deliver(place, event);
        }
    }

    fn deliver(&mut self, place: Place, event: Event) {
        match event {
            Event::Tick { .. } => self.step(place, NodeInput::Tick),
            Event::Datagram { from, bytes, .. } => {
                let from = SocketAddr::new(address(from), limit::MEMBERSHIP_PORT);
                self.step(place, NodeInput::Datagram { from, bytes });
            }
            Event::Dialled { from, .. } => self.accept(place, from),
            Event::Connected { to } if place == OPERATOR => {
                self.operator.sessions.connected(to.conn, self.now);
                self.pump_operator();
            }
            Event::Connected { to } => self.step(place, NodeInput::Connected { conn: to.conn }),
            Event::Chunk { stream, side, to, bytes } => self.arrive(stream, side, to, bytes),
            Event::Closed { to } if place == OPERATOR => {
                self.operator.sessions.closed(to.conn, self.now);
                self.pump_operator();
            }
            Event::Closed { to } => self.step(place, NodeInput::Closed { conn: to.conn }),
            _ => {}
        }
    }

    // --- machines ---

    fn boot(&mut self, place: Place) {
        if self.machines[place].alive {
            return;
        }
        self.trace.note(self.now, format_args!("boot {place}"));
        self.machines[place].boot(self.now, &mut self.random);
        let address = self.machines[place].address();
        self.step(place, NodeInput::Memory { free_bytes: 64 << 20 });
        self.step(place, NodeInput::Address(address));
    }

    fn step(&mut self, place: Place, input: NodeInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            let machine = &mut self.machines[place];
            let local = machine.local(self.now);
            machine.node.step(input, local, &mut effects);
            for effect in effects {
                self.carry_out(place, effect, &mut inputs);
            }
        }
        self.schedule_tick(place);
    }

    fn schedule_tick(&mut self, place: Place) {
        let machine = &mut self.machines[place];
        let next = if machine.node.runnable() {
            self.now
        } else {
            match machine.node.deadline() {
                Some(local) => machine.global(local),
                None => return,
            }
        };
        machine.tick_token += 1;
        let token = machine.tick_token;
        // A machine is never infinitely fast.
        let next = next.max(machine.busy_until).max(self.now + Duration::from_micros(5));
        self.at(next, Event::Tick { place, token });
    }

    fn carry_out(&mut self, place: Place, effect: NodeEffect, inputs: &mut VecDeque<NodeInput>) {
        match effect {
            NodeEffect::Dial { conn, to } => self.dial(self.end(place, conn), to),
            NodeEffect::Close { conn } => self.close(self.end(place, conn)),
            NodeEffect::Ready { conn } => self.pump(self.end(place, conn)),
            NodeEffect::Datagram { to, bytes } => self.send_datagram(place, to, &bytes),
            NodeEffect::Load { program, bundle } => {
                let right = craton_bundle::program_id(&bundle) == program;
                let wrong = (ErrorCode::NoProgram, String::from("another bundle"));
                let result = if right { Ok(()) } else { Err(wrong) };
                inputs.push_back(NodeInput::Loaded { program, result });
            }
            NodeEffect::Unload { .. } => {}
            NodeEffect::Start { pid, entry, argument, .. } => {
                self.trace.note(self.now, format_args!("{place} start {pid} {entry}"));
                let slot = pid.slot;
                let result = if self.random.chance(3) {
                    Err(ErrorCode::LimitMemory)
                } else {
                    let actor = Actor::new(pid, &entry, &argument.0, self.random.fork());
                    let born = self.checker.born(pid, actor.spawn_number(), actor.is_in_order());
                    self.check(born);
                    self.machines[place].actors.insert(slot, (pid, actor));
                    Ok(())
                };
                inputs.push_back(NodeInput::Started { slot, result });
            }
            NodeEffect::Run { slot, resume, slice } => {
                let (outcome, used) = self.run_actor(place, slot, resume, slice);
                inputs.push_back(NodeInput::Ran { slot, outcome, used });
            }
            NodeEffect::Reclaim { slot } => {
                if let Some((pid, _)) = self.machines[place].actors.remove(&slot) {
                    self.trace.note(self.now, format_args!("{place} end {pid}"));
                    self.checker.ended(pid);
                }
            }
            NodeEffect::Log { level, module, text } => self.read_log(place, level, &module, &text),
            NodeEffect::Restart => {
                inputs.clear();
                self.life_ended(place);
            }
        }
    }

    fn end(&self, place: Place, conn: ConnId) -> End {
        let boot = if place == OPERATOR { self.operator.boot } else { self.machines[place].boot };
        End { place, boot, conn }
    }

    /// All processes of a machine ended at once.
    fn life_ended(&mut self, place: Place) {
        let machine = &mut self.machines[place];
        let life = core::mem::replace(&mut machine.incarnation, machine.node.incarnation());
        self.trace.note(self.now, format_args!("{place} life {life} over"));
        self.checker.life_over(machine.node.id(), life);
        machine.actors.clear();
        self.lives_ended += 1;
    }

    /// The log is how a node tells people of gaps; the checker reads it as they would.
    fn read_log(&mut self, place: Place, level: LogLevel, module: &str, text: &str) {
        self.trace.note(self.now, format_args!("{place} {module}: {text}"));
        if level > LogLevel::Warn || !matches!(module, "session" | "cluster") {
            return;
        }
        let me = self.ids[place];
        let named = |machine: &&Machine| {
            machine.place != place && text.contains(&machine.node.id().to_string())
        };
        if let Some(other) = self.machines.iter().find(named) {
            let (id, life) = (other.node.id(), other.incarnation);
            self.gaps += 1;
            self.checker.gap(me, id, self.now);
            if text.contains(&life.to_string()) {
                self.checker.holds_dead(me, id, life);
            }
        }
    }

    fn run_actor(
        &mut self,
        place: Place,
        slot: Slot,
        resume: Resume,
        slice: Duration,
    ) -> (Outcome, Duration) {
        let crowded = self.machines.iter().map(|m| m.actors.len()).sum::<usize>() >= ACTORS_MAX;
        let resume = self.sabotage(place, slot, resume);
        let alive = self.machines[place].node.nodes_alive();
        let Some((pid, actor)) = self.machines[place].actors.get_mut(&slot) else {
            self.check(Err(Violation(format!("{place}: {slot} is run, but is not there"))));
            return (Outcome::Preempted, slice);
        };
        let pid = *pid;
        let mut scene = Scene {
            phase: self.phase,
            now: self.now,
            nodes: &self.ids,
            alive: &alive,
            crowded,
            spawn_next: &mut self.spawn_next,
            checker: &mut self.checker,
        };
        let (outcome, used) = match actor.run(resume, &mut scene) {
            Ok(ran) => ran,
            Err(violation) => {
                self.check(Err(violation));
                (Outcome::Preempted, slice)
            }
        };
        let used = if outcome == Outcome::Preempted { slice } else { used };
        self.trace.note(self.now, format_args!("{place} {pid} {outcome:?}"));
        let machine = &mut self.machines[place];
        machine.busy_until = machine.busy_until.max(self.now) + used;
        (outcome, used)
    }

    fn sabotage(&mut self, place: Place, slot: Slot, resume: Resume) -> Resume {
        let Resume::Reply(HostReply::Received(received)) = resume else { return resume };
        match (self.options.sabotage, &received) {
            (Some(Sabotage::DuplicateMessages), Received::Message { .. }) => {
                if let Some((was_place, was_slot, again)) = self.repeat.take()
                    && (was_place, was_slot) == (place, slot)
                {
                    return Resume::Reply(HostReply::Received(again));
                }
                self.repeat = Some((place, slot, received.clone()));
            }
            (Some(Sabotage::SwallowNotices), Received::Down { .. }) => {
                return Resume::Reply(HostReply::Failed(ErrorCode::TimedOut));
            }
            _ => {}
        }
        Resume::Reply(HostReply::Received(received))
    }

    // --- network ---

    fn send_datagram(&mut self, from: Place, to: SocketAddr, bytes: &[u8]) {
        self.trace.bytes(bytes);
        let all = to.ip() == Ipv4Addr::BROADCAST;
        for place in 0..NODES {
            if place == from || !(all || place_of(to) == Some(place)) {
                continue;
            }
            let boot = self.machines[place].boot;
            for at in self.net.datagram(from, place, self.now, &mut self.random) {
                let bytes = bytes.to_vec();
                self.at(at, Event::Datagram { to: place, boot, from, bytes });
            }
        }
    }

    fn dial(&mut self, from: End, to: SocketAddr) {
        let Some(place) = place_of(to).filter(|place| *place < NODES) else { return };
        if let Some(at) = self.net.control(from.place, place, self.now, &mut self.random) {
            self.at(at, Event::Dialled { from, to: place });
        }
    }

    fn accept(&mut self, place: Place, from: End) {
        let machine = &mut self.machines[place];
        machine.conn_next += 1;
        let conn = ConnId(machine.conn_next);
        let end = self.end(place, conn);
        let Some(at) = self.net.control(place, from.place, self.now, &mut self.random) else {
            return;
        };
        self.net.connect([from, end], at);
        let address = SocketAddr::new(address(from.place), 40_000);
        self.at(at, Event::Connected { to: from });
        self.step(place, NodeInput::Accepted { conn, from: address });
    }

    /// Takes from one end of a connection as much as there is and fits.
    fn pump(&mut self, end: End) {
        let Some((id, side)) = self.net.find(end.place, end.boot, end.conn) else { return };
        let to = match self.net.streams.get(&id) {
            Some(stream) => stream.ends[1 - side],
            None => return,
        };
        loop {
            let open = self.net.is_open(end.place, to.place);
            let Some(stream) = self.net.streams.get_mut(&id) else { return };
            let room = FLIGHT_BYTES_MAX.saturating_sub(stream.flight[side]).min(64 << 10);
            stream.stalled[side] = room == 0 || !open;
            if stream.stalled[side] {
                return;
            }
            let mut bytes = Vec::new();
            if end.place == OPERATOR {
                self.operator.sessions.transmit(end.conn, room, &mut bytes, self.now);
            } else {
                let machine = &mut self.machines[end.place];
                let local = machine.local(self.now);
                machine.node.transmit(end.conn, room, &mut bytes, local);
            }
            if bytes.is_empty() {
                return;
            }
            self.trace.bytes(&bytes);
            let full = bytes.len() == room;
            let at = self.net.send(id, side, bytes.len(), self.now, &mut self.random);
            if let Some(at) = at {
                self.at(at, Event::Chunk { stream: id, side, to, bytes });
            }
            if !full {
                return;
            }
        }
    }

    fn arrive(&mut self, id: u64, side: usize, to: End, bytes: Vec<u8>) {
        if self.broken.contains(&id) {
            return;
        }
        let mut stalled = None;
        if let Some(stream) = self.net.streams.get_mut(&id) {
            stream.flight[side] = stream.flight[side].saturating_sub(bytes.len());
            stalled = stream.stalled[side].then_some(stream.ends[side]);
        }
        if to.place == OPERATOR {
            self.operator.sessions.received(to.conn, &bytes, self.now);
            self.pump_operator();
        } else {
            self.step(to.place, NodeInput::Received { conn: to.conn, bytes });
        }
        if let Some(end) = stalled {
            self.pump_end(end);
        }
    }

    /// Goes on with an end that had found no room; its machine may be gone or paused meanwhile.
    fn pump_end(&mut self, end: End) {
        let paused = end.place != OPERATOR && self.machines[end.place].paused_until > self.now;
        let now_end = self.end(end.place, end.conn);
        if now_end != end || paused {
            return;
        }
        self.pump(end);
        if end.place != OPERATOR {
            self.schedule_tick(end.place);
        }
    }

    fn close(&mut self, end: End) {
        let Some((id, side)) = self.net.find(end.place, end.boot, end.conn) else { return };
        let Some(stream) = self.net.streams.remove(&id) else { return };
        let to = stream.ends[1 - side];
        if let Some(at) = self.net.control(end.place, to.place, self.now, &mut self.random) {
            self.at(at.max(stream.arrives[side]), Event::Closed { to });
        }
    }

    /// Breaks connections. If `told`, both ends hear of it.
    fn break_streams(&mut self, told: bool, which: impl Fn(&[Place; 2]) -> bool) {
        let ids: Vec<u64> = self
            .net
            .streams
            .iter()
            .filter(|(_, stream)| which(&stream.ends.map(|end| end.place)))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.broken.insert(id);
            let Some(stream) = self.net.streams.remove(&id) else { continue };
            for to in stream.ends.into_iter().filter(|_| told) {
                let at = self.now + self.random.millis(0, 30);
                self.at(at, Event::Closed { to });
            }
        }
    }

    // --- faults ---

    fn go_wrong(&mut self, fault: Fault) {
        self.trace.note(self.now, format_args!("fault {fault:?}"));
        match fault {
            Fault::Break(a, b) => {
                self.break_streams(true, |ends| *ends == [a, b] || *ends == [b, a]);
            }
            Fault::Hold(a, b, time) => self.net.hold(a, b, self.now + time),
            Fault::Cut(a, b, time) => {
                self.net.cut(a, b);
                self.at(self.now + time, Event::Mend(a, b));
            }
            Fault::Isolate(a, time) => {
                for b in (0..=OPERATOR).filter(|b| *b != a) {
                    self.net.cut(a, b);
                    self.at(self.now + time, Event::Mend(a, b));
                }
            }
            Fault::Pause(a, time) => self.machines[a].paused_until = self.now + time,
            Fault::Crash(a, time) => {
                self.crash(a);
                self.at(self.now + time, Event::Boot(a));
            }
            Fault::Weather { loss, duplicates, delay } => {
                self.net.loss_percent = loss;
                self.net.duplicate_percent = duplicates;
                self.net.delay_max = delay;
            }
            Fault::Operator => {
                self.break_streams(true, |ends| ends.contains(&OPERATOR));
                self.operator.restart(&mut self.random);
            }
        }
    }

    fn crash(&mut self, place: Place) {
        if !self.machines[place].alive {
            return;
        }
        self.machines[place].alive = false;
        self.break_streams(false, |ends| ends.contains(&place));
        self.life_ended(place);
    }

    fn mend(&mut self, a: Place, b: Place) {
        self.net.mend(a, b);
        let mut ends = Vec::new();
        for stream in self.net.streams.values() {
            ends.extend((0..2).filter(|side| stream.stalled[*side]).map(|side| stream.ends[side]));
        }
        for end in ends {
            self.pump_end(end);
        }
    }

    fn heal(&mut self) {
        self.trace.note(self.now, format_args!("heal"));
        self.phase = Phase::Drain;
        self.net.heal();
        for place in 0..NODES {
            self.machines[place].paused_until = Instant::ZERO;
            self.boot(place);
            self.mend(place, OPERATOR);
            self.schedule_tick(place);
        }
    }

    // --- operator ---

    fn operate(&mut self) {
        self.operator.sessions.tick(self.now);
        if self.phase == Phase::Work && self.operator.is_idle(self.now) {
            let place = self.random.below(NODES);
            if self.machines[place].alive {
                let at = SocketAddr::new(address(place), limit::SESSION_PORT);
                self.operator.begin(at, self.now);
            }
        }
        self.pump_operator();
        self.at(self.now + Duration::from_millis(250), Event::Operator);
    }

    fn pump_operator(&mut self) {
        while let Some(want) = self.operator.poll(self.now) {
            match want {
                Want::Dial(conn, to) => self.dial(self.end(OPERATOR, conn), to),
                Want::Close(conn) => self.close(self.end(OPERATOR, conn)),
                Want::Ready(conn) => self.pump(self.end(OPERATOR, conn)),
            }
        }
    }

    // --- the end ---

    fn check_rest(&self) -> Result<(), Violation> {
        for machine in &self.machines {
            let mut alive = machine.node.nodes_alive();
            alive.sort();
            let mut ids = self.ids.clone();
            ids.sort();
            if alive != ids {
                let place = machine.place;
                return Err(Violation(format!("{place} sees {alive:?} alive after healing")));
            }
            for (pid, actor) in machine.actors.values() {
                let hangs = actor.hangs_since().is_some_and(|at| self.now.since(at) > HANG);
                if hangs {
                    return Err(Violation(format!("{pid} hangs in a call")));
                }
            }
        }
        self.checker.at_rest()
    }

    fn check_end(&self) -> Result<(), Violation> {
        for machine in &self.machines {
            let (left, hosted) = (machine.node.processes(), machine.actors.len());
            if left + hosted > 0 {
                let place = machine.place;
                return Err(Violation(format!(
                    "{place}: {left} processes and {hosted} instances are left at the end"
                )));
            }
        }
        self.checker.at_rest()
    }
}
