//! The native program: a process that does whatever a process can do, at random.
//!
//! Owns [`Actor`]. It speaks the port's language as an engine's process would, and tells the
//! checker of everything it asks and hears.

use crate::checker::{Checker, Violation};
use crate::named::NameQuestion;
use crate::random::Random;
use craton_abi::run::RunArgument;
use craton_abi::{
    Duration, ErrorCode, ExitReason, Instant, MonitorId, NodeId, Payload, Pid, Place,
    ProcessLimits, TimerId, limit,
};
use craton_shard::port::{HostCall, HostReply, LogLevel, Outcome, Received, Resume, SpawnCall};

mod errands;

/// Pids that an actor remembers.
const FRIENDS_MAX: usize = 12;
/// Generations below the first process of a run.
const DEPTH_MAX: u8 = 4;

/// What all actors are to do.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Whatever comes to mind.
    Work,
    /// Only receive.
    Drain,
    /// Send everybody one more message, which must go off: all credit is back.
    Probe,
    /// End.
    Leave,
}

/// What an actor sees of the world while it runs.
pub(crate) struct Scene<'a> {
    pub(crate) phase: Phase,
    pub(crate) now: Instant,
    pub(crate) nodes: &'a [NodeId],
    /// The nodes that the actor's own holds alive.
    pub(crate) alive: &'a [NodeId],
    /// Whether there are so many processes that no more should be.
    pub(crate) crowded: bool,
    pub(crate) spawn_next: &'a mut u64,
    pub(crate) checker: &'a mut Checker,
}

/// How an actor spends its time.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Habit {
    /// A little of everything.
    Usual,
    /// It takes hardly any message, so that its mailbox fills and its senders wait.
    Hoards,
    /// It sends and sends, mostly to the same.
    Floods,
}

/// What an actor waits for.
#[derive(Clone, Debug)]
enum Asked {
    Nothing,
    Spawn {
        number: u64,
        monitor: bool,
    },
    Send {
        to: Pid,
        number: u64,
    },
    /// As a message, and to be answered.
    Request {
        to: Pid,
        number: u64,
        node_alive: bool,
    },
    Receive,
    Monitor {
        target: Pid,
        node_alive: bool,
    },
    Demonitor {
        id: MonitorId,
    },
    /// From now on the ends of linked processes are told.
    Trap,
    SetTimer {
        due: Instant,
        tag: u64,
    },
    CancelTimer {
        id: TimerId,
    },
    /// The notice of this timer alone.
    AwaitTimer {
        id: TimerId,
    },
    Name(Box<NameQuestion>),
}

pub(crate) struct Actor {
    pid: Pid,
    random: Random,
    depth: u8,
    spawn: Option<u64>,
    in_order: bool,
    habit: Habit,
    /// It is told of the ends of linked processes.
    traps: bool,
    /// Friends that were sent the message of [`Phase::Probe`].
    probed: usize,
    console: Option<Pid>,
    friends: Vec<Pid>,
    watching: Vec<MonitorId>,
    /// Requests that it has not answered.
    requests: Vec<(Pid, MonitorId)>,
    /// Timers that it neither took back nor heard of.
    timers: Vec<TimerId>,
    /// The first process of its app.
    app: Pid,
    asked: Asked,
    asked_at: Instant,
}

impl Actor {
    /// The process `pid`, with what it was given as its argument.
    pub(crate) fn new(pid: Pid, entry: &str, argument: &[u8], random: Random) -> Self {
        let mut actor = Actor {
            pid,
            random,
            depth: 0,
            spawn: None,
            in_order: false,
            habit: Habit::Usual,
            traps: false,
            probed: 0,
            console: None,
            friends: Vec::new(),
            watching: Vec::new(),
            requests: Vec::new(),
            timers: Vec::new(),
            app: pid,
            asked: Asked::Nothing,
            asked_at: Instant::ZERO,
        };
        actor.in_order = actor.random.chance(60);
        actor.habit = match actor.random.below(10) {
            0..=1 => Habit::Hoards,
            2..=3 => Habit::Floods,
            _ => Habit::Usual,
        };
        if entry == "main" {
            let argument = RunArgument::from_bytes(argument).ok();
            actor.console = argument.map(|argument| argument.console);
        } else if let Some((number, rest)) = argument.split_first_chunk()
            && let Some((depth, rest)) = rest.split_first()
            && let Some((app, friends)) = rest.split_first_chunk()
        {
            actor.app = Pid::from_bytes(app);
            actor.spawn = Some(u64::from_le_bytes(*number));
            actor.depth = *depth;
            let (friends, _) = friends.as_chunks::<{ Pid::BYTES }>();
            friends.iter().for_each(|bytes| actor.befriend(Pid::from_bytes(bytes)));
        }
        actor
    }

    pub(crate) fn spawn_number(&self) -> Option<u64> {
        self.spawn
    }

    /// The console of the run of which it is `main`.
    pub(crate) fn console(&self) -> Option<Pid> {
        self.console
    }

    pub(crate) fn is_in_order(&self) -> bool {
        self.in_order
    }

    /// Since when it waits for an answer that must come soon.
    pub(crate) fn hangs_since(&self) -> Option<Instant> {
        let soon = !matches!(
            self.asked,
            Asked::Nothing | Asked::Monitor { .. } | Asked::Demonitor { .. } | Asked::Trap
        );
        soon.then_some(self.asked_at)
    }

    /// Runs until the next call.
    pub(crate) fn run(
        &mut self,
        resume: Resume,
        scene: &mut Scene<'_>,
    ) -> Result<(Outcome, Duration), Violation> {
        let asked = core::mem::replace(&mut self.asked, Asked::Nothing);
        if let Resume::Reply(reply) = resume {
            self.hear(asked, reply, scene)?;
        }
        let used = self.random.between(Duration::from_micros(1), Duration::from_micros(60));
        let outcome = self.act(scene);
        self.asked_at = scene.now;
        if let Outcome::Exited(reason) | Outcome::Call(HostCall::Exit { reason }) = &outcome {
            scene.checker.exits(self.pid, reason.clone());
        }
        Ok((outcome, used))
    }

    fn hear(
        &mut self,
        asked: Asked,
        reply: HostReply,
        scene: &mut Scene<'_>,
    ) -> Result<(), Violation> {
        let checker = &mut *scene.checker;
        match (asked, reply) {
            (Asked::Spawn { number, monitor: asked }, HostReply::Spawned { pid, monitor }) => {
                checker.spawn_heard(number, pid)?;
                if asked != monitor.is_some() {
                    return Err(Violation(format!("{pid}: monitor {asked} gave {monitor:?}")));
                }
                if let Some(id) = monitor {
                    checker.watches(self.pid, id, pid, scene.now, true)?;
                    self.watching.push(id);
                }
                self.befriend(pid);
                Ok(())
            }
            (Asked::Send { to, number }, HostReply::Done) => {
                checker.send_answered(self.pid, to, number, Ok(()))
            }
            (Asked::Request { to, number, node_alive }, HostReply::Monitoring(id)) => {
                self.watching.push(id);
                checker.watches(self.pid, id, to, self.asked_at, node_alive)?;
                checker.send_answered(self.pid, to, number, Ok(()))
            }
            (
                Asked::Send { to, number } | Asked::Request { to, number, .. },
                HostReply::Failed(error),
            ) => {
                if error == ErrorCode::Full && scene.phase == Phase::Probe && self.probed > 0 {
                    let pid = self.pid;
                    return Err(Violation(format!("{pid} -> {to}: full, but all is taken")));
                }
                if error == ErrorCode::NoProcess && scene.phase == Phase::Work {
                    self.friends.retain(|friend| *friend != to);
                }
                checker.send_answered(self.pid, to, number, Err(error))
            }
            (Asked::Receive, HostReply::Received(received)) => self.receive(received, scene),
            (Asked::Monitor { target, node_alive }, HostReply::Monitoring(id)) => {
                self.watching.push(id);
                checker.watches(self.pid, id, target, scene.now, node_alive)
            }
            (Asked::Trap, HostReply::Flag(false)) => {
                self.traps = true;
                Ok(())
            }
            (Asked::Demonitor { id }, HostReply::Flag(queued)) => {
                checker.took_back(self.pid, id, queued)
            }
            (
                Asked::Spawn { .. } | Asked::Receive | Asked::Monitor { .. },
                HostReply::Failed(_),
            )
            | (Asked::Nothing, _) => Ok(()),
            (asked, reply) => self.hear_errand(asked, reply, scene),
        }
    }

    fn receive(&mut self, received: Received, scene: &mut Scene<'_>) -> Result<(), Violation> {
        match received {
            Received::Request { from, tag, payload, id } => {
                self.requests.push((from, id));
                self.receive(Received::Message { from, tag, payload }, scene)
            }
            Received::Answer { from, id, payload } => {
                if payload.0 != id.get().to_le_bytes() {
                    return Err(Violation(format!("{from} -> {}: another's answer", self.pid)));
                }
                self.watching.retain(|watched| *watched != id);
                scene.checker.answer_heard(self.pid, id, from)
            }
            Received::Timer { id, tag } => {
                self.timers.retain(|timer| *timer != id);
                scene.checker.timer_rang(self.pid, id, tag, scene.now)
            }
            Received::Message { from, tag, payload } => {
                let Some((number, friend)) = read_message(from, &payload.0) else {
                    return Err(Violation(format!("{from} -> {}: a changed message", self.pid)));
                };
                scene.checker.received(self.pid, from, tag, number)?;
                self.befriend(from);
                self.befriend(friend);
                Ok(())
            }
            Received::Down { from, id, reason } => {
                self.watching.retain(|watched| *watched != id);
                self.friends.retain(|friend| *friend != from);
                scene.checker.told(self.pid, id, from, &reason)
            }
            Received::Exit { from, reason } => scene.checker.told_of_link(self.pid, from, &reason),
        }
    }

    fn befriend(&mut self, pid: Pid) {
        if pid == self.pid || self.friends.contains(&pid) {
            return;
        }
        if self.friends.len() >= FRIENDS_MAX {
            let forgotten = self.random.below(self.friends.len());
            self.friends.swap_remove(forgotten);
        }
        self.friends.push(pid);
    }

    fn act(&mut self, scene: &mut Scene<'_>) -> Outcome {
        match scene.phase {
            Phase::Work => {}
            Phase::Drain => return self.ask_receive(Duration::from_millis(400), false),
            Phase::Probe => return self.probe(scene),
            Phase::Leave => return Outcome::Exited(ExitReason::Normal),
        }
        let friend = self.random.one(&self.friends);
        match (self.habit, self.random.below(100), self.friends.first().copied()) {
            (Habit::Floods, 0..=79, Some(victim)) => return self.ask_send(victim, None, scene),
            (Habit::Hoards, 0..=79, _) => return self.ask_receive_nothing(),
            _ => {}
        }
        match (self.random.below(100), friend) {
            (0..=11, _) if !scene.crowded && self.depth < DEPTH_MAX => self.ask_spawn(scene),
            (12..=44, Some(friend)) => self.ask_send(friend, None, scene),
            (45..=50, Some(target)) => {
                let node_alive = scene.alive.contains(&target.node);
                self.asked = Asked::Monitor { target, node_alive };
                Outcome::Call(HostCall::Monitor { target })
            }
            (51..=53, _) if !self.watching.is_empty() => {
                let id = self.watching.swap_remove(self.random.below(self.watching.len()));
                self.asked = Asked::Demonitor { id };
                Outcome::Call(HostCall::Demonitor { id })
            }
            (54, Some(target)) if self.console != Some(target) => {
                Outcome::Call(HostCall::Kill { target })
            }
            (55 | 81..=84, _) => Outcome::Preempted,
            (56, _) if !self.traps => {
                self.asked = Asked::Trap;
                Outcome::Call(HostCall::TrapExits { trap: true })
            }
            (56..=57, Some(target)) if self.traps && self.console != Some(target) => {
                if self.random.chance(25) {
                    scene.checker.unlinks(self.pid, target);
                    return Outcome::Call(HostCall::Unlink { target });
                }
                let node_alive = scene.alive.contains(&target.node);
                scene.checker.links(self.pid, target, scene.now, node_alive);
                Outcome::Call(HostCall::Link { target })
            }
            (58, _) if !self.requests.is_empty() => self.answer(scene),
            (58, _) => Outcome::Call(HostCall::Nodes),
            (59, _) => Outcome::Call(HostCall::Yield),
            (60, _) => {
                let text = String::from("an actor was here");
                Outcome::Call(HostCall::Log { level: LogLevel::Debug, text })
            }
            (61, _) if self.depth > 0 => self.end(),
            (64..=75, _) if !self.requests.is_empty() => self.answer(scene),
            (62..=63, _) if self.console.is_some() => self.ask_print(scene),
            (76..=77, _) => self.ask_timer(scene),
            (78..=80, _) => self.ask_name(scene),
            _ => {
                let wait = self.random.millis(0, 300);
                self.ask_receive(wait, true)
            }
        }
    }

    /// One small message to each friend, with time enough for any credit that is on its way.
    fn probe(&mut self, scene: &mut Scene<'_>) -> Outcome {
        match self.friends.get(self.probed).copied() {
            Some(friend) => {
                self.probed += 1;
                self.ask_send(friend, Some(Duration::from_secs(3)), scene)
            }
            None if self.random.chance(20) => self.ask_name(scene),
            None => self.ask_receive(Duration::from_millis(400), false),
        }
    }

    /// Waits for a tag that nobody uses: notices come, messages stay.
    fn ask_receive_nothing(&mut self) -> Outcome {
        self.asked = Asked::Receive;
        let (tag, timeout) = (Some(u64::MAX), Some(self.random.millis(1, 400)));
        Outcome::Call(HostCall::Receive { tag, timeout, capacity: limit::MESSAGE_BYTES_MAX })
    }

    fn ask_receive(&mut self, wait: Duration, may_select: bool) -> Outcome {
        self.asked = Asked::Receive;
        let select = may_select && !self.in_order && self.random.chance(50);
        let tag = select.then(|| self.random.number() % 3);
        let capacity = limit::MESSAGE_BYTES_MAX;
        Outcome::Call(HostCall::Receive { tag, timeout: Some(wait), capacity })
    }

    fn ask_spawn(&mut self, scene: &mut Scene<'_>) -> Outcome {
        let number = *scene.spawn_next;
        *scene.spawn_next += 1;
        scene.checker.spawn_asked(number);
        let monitor = self.random.chance(70);
        self.asked = Asked::Spawn { number, monitor };
        let mut argument = number.to_le_bytes().to_vec();
        argument.push(self.depth + 1);
        argument.extend_from_slice(&self.app.to_bytes());
        argument.extend_from_slice(&self.pid.to_bytes());
        for friend in self.friends.iter().take(3) {
            argument.extend_from_slice(&friend.to_bytes());
        }
        let friend = self.random.one(&self.friends);
        let node = self.random.one(scene.nodes);
        let place = match (self.random.below(4), node, friend) {
            (0, ..) => Place::Here,
            (1, Some(node), _) => Place::Node(node),
            (2, _, Some(friend)) => Place::Near(friend),
            _ => Place::Anywhere,
        };
        let mut limits = ProcessLimits::default();
        if self.random.chance(30) {
            limits.mailbox_messages = 20;
        }
        let argument = Payload(argument);
        Outcome::Call(HostCall::Spawn(Box::new(SpawnCall {
            place,
            program: None,
            entry: "actor".into(),
            argument,
            monitor,
            link: false,
            limits,
        })))
    }

    fn ask_send(&mut self, to: Pid, probe: Option<Duration>, scene: &mut Scene<'_>) -> Outcome {
        let tag = self.random.number() % 3;
        let alive = scene.alive.contains(&to.node);
        let number = scene.checker.send_asked(self.pid, to, tag, scene.now, alive);
        let asks = probe.is_none() && self.random.chance(32);
        self.asked = if asks {
            Asked::Request { to, number, node_alive: alive }
        } else {
            Asked::Send { to, number }
        };
        let friend = self.random.one(&self.friends).unwrap_or(self.pid);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.pid.to_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&friend.to_bytes());
        let padding = match self.random.below(60) {
            _ if probe.is_some() => 0,
            0 => 300_000,
            1..=6 => 6_000,
            _ => self.random.below(60),
        };
        bytes.resize(bytes.len() + padding, number as u8);
        let timeout = probe.unwrap_or_else(|| match self.random.below(4) {
            0 => Duration::ZERO,
            1 => self.random.millis(1, 200),
            _ => Duration::from_secs(2),
        });
        let payload = Payload(bytes);
        Outcome::Call(if asks {
            HostCall::Request { to, tag, payload, timeout }
        } else {
            HostCall::Send { to, tag, payload, timeout }
        })
    }
}

/// The number and the friend in a message, if it is as `from` made it.
fn read_message(from: Pid, bytes: &[u8]) -> Option<(u64, Pid)> {
    let (sender, rest) = bytes.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (friend, padding) = rest.split_first_chunk()?;
    let number = u64::from_le_bytes(*number);
    let intact = padding.iter().all(|byte| *byte == number as u8);
    (Pid::from_bytes(sender) == from && intact).then(|| (number, Pid::from_bytes(friend)))
}
