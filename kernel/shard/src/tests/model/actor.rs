//! A native process: asks for random things and writes down what it hears.

use super::MAILBOX_BYTES_MIN;
use super::ledger::Ledger;
use crate::port::{HostCall, HostReply, LogLevel, Outcome, Received, Resume, SpawnCall};
use crate::tests::random::Random;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use craton_abi::limit::{CPU_SHARE, CPU_SHARE_MAX};
use craton_abi::{
    Duration, ExitReason, MonitorId, Payload, Pid, Place, ProcessLimits, SocketCall, TimerId,
};

/// What the host is doing with a process.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Host {
    Starting,
    Idle,
    Running,
}

/// What a process asked for and was not answered yet.
#[derive(Clone, Debug, Default)]
enum Asked {
    #[default]
    Nothing,
    Send(Pid, u64),
    Request(Pid, u64),
    Timer,
    CancelTimer(TimerId),
    Receive {
        tag: Option<u64>,
    },
    Monitor(Pid),
    Demonitor(MonitorId),
    Spawn {
        monitor: bool,
    },
    Other,
}

pub(super) struct Actor {
    pub(super) host: Host,
    pub(super) limits: ProcessLimits,
    /// The member whose host has it; none while it is on its way.
    pub(super) place: Option<usize>,
    asked: Asked,
    monitors: Vec<MonitorId>,
    /// Requests that it has not answered.
    requests: Vec<(Pid, MonitorId)>,
    timers: Vec<TimerId>,
    /// The last receive found something longer than the room it offered.
    wants_room: bool,
}

impl Actor {
    pub(super) fn new(limits: ProcessLimits, member: usize) -> Self {
        let (host, asked) = (Host::Starting, Asked::Nothing);
        let (monitors, requests, timers) = (Vec::new(), Vec::new(), Vec::new());
        let place = Some(member);
        Actor { host, limits, place, asked, monitors, requests, timers, wants_room: false }
    }

    /// The process goes on, perhaps with an answer.
    pub(super) fn resumed(&mut self, me: Pid, resume: Resume, ledger: &mut Ledger) {
        assert_eq!(self.host, Host::Idle, "{me} is run while it runs");
        self.host = Host::Running;
        let asked = core::mem::take(&mut self.asked);
        let Resume::Reply(reply) = resume else {
            assert!(matches!(asked, Asked::Nothing), "no answer to {asked:?}");
            return;
        };
        match (asked, reply) {
            (Asked::Send(to, serial), HostReply::Done) => ledger.sent(me, to, serial),
            (Asked::Send(to, serial), HostReply::Failed(_)) => ledger.unsent(me, to, serial),
            (Asked::Request(to, serial), HostReply::Monitoring(id)) => {
                ledger.sent(me, to, serial);
                ledger.monitoring(me, to, id);
                self.monitors.push(id);
            }
            (Asked::Request(to, serial), HostReply::Failed(_)) => ledger.unsent(me, to, serial),
            (Asked::Timer, HostReply::Timer(id)) => {
                self.timers.push(id);
                ledger.timer_set(me, id);
            }
            (Asked::CancelTimer(id), HostReply::Flag(_)) => ledger.timer_over(me, id),
            (Asked::Receive { tag }, HostReply::Received(received)) => match received {
                Received::Request { from, tag: of, payload, id } => {
                    assert!(tag.is_none_or(|tag| tag == of), "another tag");
                    ledger.received(from, me, of, &payload.0);
                    self.requests.push((from, id));
                }
                Received::Answer { from, id, payload } => {
                    assert_eq!(payload.0, id.get().to_le_bytes(), "another's answer");
                    self.monitors.retain(|&held| held != id);
                    ledger.answer_received(from, me, id);
                }
                Received::Timer { id, .. } => {
                    self.timers.retain(|&held| held != id);
                    ledger.timer_over(me, id);
                }
                Received::Message { from, tag: of, payload } => {
                    assert!(tag.is_none_or(|tag| tag == of), "another tag");
                    ledger.received(from, me, of, &payload.0);
                }
                Received::Down { from, id, reason } => {
                    self.monitors.retain(|&held| held != id);
                    ledger.down(from, me, id, &reason, tag.is_none());
                }
                Received::Exit { from, .. } => panic!("{me} has no link to {from}"),
            },
            (Asked::Receive { .. }, HostReply::Longer { .. }) => self.wants_room = true,
            (Asked::Receive { .. }, HostReply::Failed(_)) => {}
            (Asked::Monitor(target), HostReply::Monitoring(id)) => {
                self.monitors.push(id);
                ledger.monitoring(me, target, id);
            }
            (Asked::Demonitor(id), HostReply::Flag(noticed)) => {
                ledger.demonitored(me, id, noticed);
            }
            (Asked::Spawn { monitor: asked }, HostReply::Spawned { pid, monitor }) => {
                assert_eq!(asked, monitor.is_some());
                ledger.heard(pid);
                if let Some(id) = monitor {
                    self.monitors.push(id);
                    ledger.monitoring(me, pid, id);
                }
            }
            (Asked::Spawn { .. }, HostReply::Failed(_)) => {}
            (Asked::Other, HostReply::Done | HostReply::Nodes(_) | HostReply::Socket(_)) => {}
            (asked, reply) => panic!("{reply:?} to {asked:?}"),
        }
    }

    /// How a running process comes back.
    pub(super) fn outcome(
        &mut self,
        me: Pid,
        random: &mut Random,
        pids: &[Pid],
        ledger: &mut Ledger,
        quiet: bool,
    ) -> Outcome {
        assert_eq!(self.host, Host::Running);
        self.host = Host::Idle;
        if quiet {
            self.asked = Asked::Receive { tag: None };
            let (timeout, capacity) = (None, usize::MAX);
            return Outcome::Call(HostCall::Receive { tag: None, timeout, capacity });
        }
        // The latest pids are the likeliest to live, and a few take most of the traffic.
        let last = [3, 10, 30, pids.len()][random.below(4)];
        let other = *random.pick(&pids[pids.len().saturating_sub(last)..]);
        let call = match random.below(100) {
            0..40 => self.send(me, other, random, ledger),
            40..65 => self.receive(random),
            65..71 => {
                self.asked = Asked::Monitor(other);
                HostCall::Monitor { target: other }
            }
            71..76 if !self.monitors.is_empty() => {
                let id = self.monitors.swap_remove(random.below(self.monitors.len()));
                self.asked = Asked::Demonitor(id);
                HostCall::Demonitor { id }
            }
            76..82 => self.spawn(random),
            82 => self.other(HostCall::Kill { target: other }),
            83 => {
                let reason = ExitReason::Error(vec![random.next() as u8]);
                self.other(HostCall::Exit { reason })
            }
            84 => return Outcome::Exited(ExitReason::Normal),
            85..88 => self.other(HostCall::Nodes),
            88..90 => {
                let text = String::from("a line");
                self.other(HostCall::Log { level: LogLevel::Debug, text })
            }
            90 if !self.requests.is_empty() => self.answer(me, random, ledger),
            91 => {
                self.asked = Asked::Timer;
                let after = Duration::from_micros(random.next() % 900);
                HostCall::SetTimer { after, tag: random.next() % 3 }
            }
            92 if !self.timers.is_empty() => {
                let id = self.timers.swap_remove(random.below(self.timers.len()));
                self.asked = Asked::CancelTimer(id);
                HostCall::CancelTimer { id }
            }
            90..93 => self.other(HostCall::Yield),
            93..96 if !self.requests.is_empty() => self.answer(me, random, ledger),
            96..98 => {
                let call = SocketCall::Take { timeout: None };
                self.other(HostCall::Socket(Box::new(call)))
            }
            _ => return Outcome::Preempted,
        };
        Outcome::Call(call)
    }

    fn other(&mut self, call: HostCall) -> HostCall {
        self.asked = Asked::Other;
        call
    }

    fn send(&mut self, me: Pid, to: Pid, random: &mut Random, ledger: &mut Ledger) -> HostCall {
        let serial = ledger.attempt(me, to);
        let asks = random.chance(20);
        self.asked = if asks { Asked::Request(to, serial) } else { Asked::Send(to, serial) };
        let mut payload = serial.to_le_bytes().to_vec();
        let extra = match random.below(60) {
            0 => 1 << 20,
            1..5 => 100 << 10,
            _ => 20,
        };
        payload.resize((8 + random.below(extra)).min(1 << 20), 0);
        let timeout =
            *random.pick(&[Duration::ZERO, Duration::from_millis(1), Duration::from_secs(60)]);
        let (tag, payload) = (random.next() % 3, Payload(payload));
        if asks {
            return HostCall::Request { to, tag, payload, timeout };
        }
        HostCall::Send { to, tag, payload, timeout }
    }

    fn answer(&mut self, me: Pid, random: &mut Random, ledger: &mut Ledger) -> HostCall {
        let (to, id) = self.requests.swap_remove(random.below(self.requests.len()));
        ledger.answered(me, to, id);
        let payload = Payload(id.get().to_le_bytes().to_vec());
        self.other(HostCall::Answer { to, id, payload })
    }

    fn receive(&mut self, random: &mut Random) -> HostCall {
        let tag = random.chance(30).then(|| random.next() % 3);
        let tight = !self.wants_room && random.chance(20);
        let capacity = if tight { 20 } else { usize::MAX };
        self.wants_room = false;
        let most = if tag.is_some() { 2 } else { 3 };
        let timeout = match random.below(most) {
            0 => Some(Duration::ZERO),
            1 => Some(Duration::from_millis(1)),
            _ => None,
        };
        self.asked = Asked::Receive { tag };
        HostCall::Receive { tag, timeout, capacity }
    }

    fn spawn(&mut self, random: &mut Random) -> HostCall {
        let monitor = random.chance(50);
        self.asked = Asked::Spawn { monitor };
        let limits = ProcessLimits {
            memory_bytes: 0,
            mailbox_messages: *random.pick(&[1, 2, 8, 256]),
            mailbox_bytes: *random.pick(&[MAILBOX_BYTES_MIN as u32, 64 << 10, 2 << 20]),
            cpu_share: *random.pick(&[1, CPU_SHARE, CPU_SHARE_MAX]),
            ..ProcessLimits::default()
        };
        HostCall::Spawn(Box::new(SpawnCall {
            place: Place::Anywhere,
            program: None,
            entry: "child".into(),
            argument: Payload::default(),
            monitor,
            link: false,
            limits,
        }))
    }
}
