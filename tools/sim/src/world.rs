//! The world: machines, network, operator and time, driven by one seed.
//!
//! Owns [`World`] and [`run`]. The loop takes the next event, steps whom it concerns, and puts what
//! comes of it back into the queue; nothing else makes time pass.

use crate::actor::Phase;
use crate::checker::{Checker, Violation};
use crate::faults::{self, Fault};
use crate::keys::Keys;
use crate::machine::Machine;
use crate::net::{End, NODES, Net, OPERATOR, Place, address};
use crate::operator::Operator;
use crate::random::Random;
use crate::trace::Trace;
use craton_abi::{Duration, Instant, NodeId, Slot, limit};
use craton_node::{Mail, NodeInput, WorkerInput};
use craton_shard::port::Received;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// From when on things go wrong.
const FAULTS_FROM: Instant = Instant::from_nanos(1_500_000_000);
/// When everything is healed and processes only receive.
const HEALED_AT: Instant = Instant::from_nanos(16_000_000_000);
/// When everybody has been received from, and sends once more.
const PROBE_AT: Instant = Instant::from_nanos(26_000_000_000);
/// When all must be at rest, and processes leave.
const LEAVE_AT: Instant = Instant::from_nanos(32_000_000_000);
/// When nothing must be left.
const END_AT: Instant = Instant::from_nanos(37_000_000_000);
/// How long a call may go unanswered when all is healed.
const HANG: Duration = Duration::from_secs(8);
/// Actors beyond which none spawns another.
pub(crate) const ACTORS_MAX: usize = 40;
/// Turns of a CPU that begin with the word that another is idle.
const LENDS_PERCENT: u64 = 25;
/// Events that may wait at once: more means that something multiplies.
const EVENTS_MAX: usize = 200_000;

/// A rule that is broken on purpose, to see that the checker notices.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Sabotage {
    /// Some messages are handed over twice.
    DuplicateMessages,
    /// Some notices are thrown away.
    SwallowNotices,
    /// Timers do not ring.
    SwallowTimers,
    /// Who claims the name of another is told that it is his.
    ShareNames,
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
    /// Answers to requests taken from mailboxes.
    pub answers: u64,
    /// Notices of timers taken from mailboxes.
    pub timers: u64,
    /// Names and memberships of groups that were given.
    pub names: u64,
    /// Names that were refused, since they had an owner.
    pub names_taken: u64,
    /// Processes that lived.
    pub processes: u64,
    /// Runs that an operator saw start.
    pub runs: u64,
    /// Lives of nodes that ended.
    pub lives_ended: u64,
    /// Gaps that nodes wrote to their logs.
    pub gaps: u64,
    /// Times that a CPU took a process that another had.
    pub taken: u64,
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
pub(crate) enum Event {
    Tick { place: Place, cpu: usize, token: u64 },
    Mail { place: Place, boot: u32, to: usize, mail: Mail },
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
    pub(crate) options: Options,
    pub(crate) random: Random,
    pub(crate) now: Instant,
    pub(crate) phase: Phase,
    pub(crate) machines: Vec<Machine>,
    pub(crate) operator: Operator,
    pub(crate) net: Net,
    pub(crate) events: BTreeMap<(Instant, u64), Event>,
    pub(crate) event_next: u64,
    pub(crate) broken: BTreeSet<u64>,
    pub(crate) ids: Vec<NodeId>,
    pub(crate) spawn_next: u64,
    pub(crate) checker: Checker,
    pub(crate) trace: Trace,
    /// Replies that sabotage hands over once more.
    pub(crate) repeat: Option<(Place, Slot, Received)>,
    pub(crate) lives_ended: u64,
    pub(crate) gaps: u64,
    pub(crate) taken: u64,
    pub(crate) violation: Option<Violation>,
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
            taken: 0,
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
        self.run_until(PROBE_AT)?;
        self.phase = Phase::Probe;
        self.run_until(LEAVE_AT)?;
        self.check_rest()?;
        self.phase = Phase::Leave;
        self.run_until(END_AT)?;
        self.check_end()?;
        Ok(Report {
            hash: self.trace.hash(),
            messages: self.checker.messages,
            notices: self.checker.notices,
            answers: self.checker.answers_heard,
            timers: self.checker.timed.rung,
            names: self.checker.named.granted,
            names_taken: self.checker.named.taken,
            processes: self.checker.processes,
            runs: self.operator.runs_started,
            lives_ended: self.lives_ended,
            gaps: self.gaps,
            taken: self.taken,
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

    pub(crate) fn at(&mut self, at: Instant, event: Event) {
        self.events.insert((at.max(self.now), self.event_next), event);
        self.event_next += 1;
    }

    pub(crate) fn check(&mut self, result: Result<(), Violation>) {
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

    pub(crate) fn happen(&mut self, event: Event) {
        let to = match &event {
            Event::Tick { place, cpu, token } => {
                let machine = &self.machines[*place];
                let counts = machine.cpus.get(*cpu).is_some_and(|cpu| cpu.tick_token == *token);
                counts.then_some((*place, machine.boot))
            }
            Event::Mail { place, boot, .. } => Some((*place, *boot)),
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
        if let Event::Tick { cpu, .. } = event
            && self.random.chance(LENDS_PERCENT)
        {
            self.lend(place, cpu);
        }
        match event {
            Event::Tick { cpu: 0, .. } => self.step(place, NodeInput::Tick),
            Event::Tick { cpu, .. } => self.step_worker(place, cpu, WorkerInput::Tick),
            Event::Mail { to: 0, mail, .. } => self.step(place, NodeInput::Mail(mail)),
            Event::Mail { to, mail, .. } => {
                self.step_worker(place, to, WorkerInput::Mail(mail));
            }
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
            for (pid, actor) in machine.instances() {
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
            let (left, hosted) = (machine.processes(), machine.instances().count());
            if left + hosted > 0 {
                let place = machine.place;
                return Err(Violation(format!(
                    "{place}: {left} processes and {hosted} instances are left at the end"
                )));
            }
        }
        if self.operator.runs_on() {
            return Err(Violation("the operator was not told of the end of his run".to_string()));
        }
        self.checker.at_rest()
    }
}
