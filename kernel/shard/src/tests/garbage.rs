//! Nonsense from every side: nothing panics, nothing breaks the table, nothing is left behind.

use super::random::{Random, Replay, seeds};
use super::*;
use crate::port::{LogLevel, NameCall};
use craton_abi::limit::{ARGUMENT_BYTES_MAX, MESSAGE_BYTES_MAX};
use craton_abi::{Place, Resource, SocketCall, SocketEvent, SocketId, SocketReply, TrapKind};

const SEEDS: u64 = 10;
const INPUTS: usize = 10_000;
const PROCESSES_MAX: usize = 20;

/// Makes inputs that may or may not fit the shard.
struct Liar {
    random: Random,
    /// Pids that were good once.
    pids: Vec<Pid>,
    requests: Vec<(RequestId, Pid)>,
}

impl Liar {
    fn pid(&mut self) -> Pid {
        match self.random.below(10) {
            0 => Pid::from_bytes(&core::array::from_fn(|_| self.random.next() as u8)),
            1 => away(1 + self.random.next() % 4, self.random.next() as u32 % 4),
            2 => Pid { incarnation: Incarnation::new(self.random.next() % 12), ..self.known() },
            _ => self.known(),
        }
    }

    fn known(&mut self) -> Pid {
        match self.pids.len() {
            0 => Pid::default(),
            len => self.pids[len - 1 - self.random.below(len.min(2 * PROCESSES_MAX))],
        }
    }

    fn slot(&mut self) -> Slot {
        self.pid().slot
    }

    fn id(&mut self) -> MonitorId {
        let serial = self.random.next() % 300;
        MonitorId::new(if self.random.chance(70) { (2 << 55) + serial } else { serial })
    }

    fn payload(&mut self) -> Payload {
        let len = match self.random.below(40) {
            0 => MESSAGE_BYTES_MAX + self.random.below(2),
            1 => ARGUMENT_BYTES_MAX + self.random.below(2),
            _ => self.random.below(300),
        };
        Payload(vec![0; len])
    }

    fn reason(&mut self) -> ExitReason {
        match self.random.below(5) {
            0 => ExitReason::Error(vec![1; self.random.below(10_000)]),
            1 => ExitReason::Trap(TrapKind::Other, "ü".repeat(self.random.below(5_000))),
            2 => ExitReason::Limit(Resource::Memory),
            3 => ExitReason::NoConnection,
            _ => ExitReason::Normal,
        }
    }

    fn error(&mut self) -> ErrorCode {
        *self.random.pick(&ErrorCode::ALL)
    }

    fn duration(&mut self) -> Duration {
        *self.random.pick(&[Duration::ZERO, Duration::from_millis(2), Duration::MAX])
    }

    fn limits(&mut self) -> ProcessLimits {
        let mut number = || *self.random.pick(&[0, 1, 3, 1_000, u32::MAX]);
        ProcessLimits {
            memory_bytes: 0,
            mailbox_messages: number(),
            mailbox_bytes: number(),
            stack_bytes: number(),
            cpu_share: number(),
        }
    }

    fn order(&mut self) -> SpawnOrder {
        SpawnOrder {
            request: RequestId::new(self.random.next() % 100),
            parent: self.pid(),
            monitor: self.random.chance(50).then(|| self.id()),
            link: self.random.chance(30),
            app: AppId::new(self.random.next() % 3),
            trace: TraceId::new(0),
            program: ProgramId::default(),
            entry: "e".repeat(self.random.below(70)),
            argument: self.payload(),
            limits: self.limits(),
            shard: None,
        }
    }

    fn call(&mut self) -> HostCall {
        match self.random.below(21) {
            0 => {
                let SpawnOrder { entry, argument, limits, .. } = self.order();
                let (program, monitor) = (None, self.random.chance(50));
                let place = Place::Near(self.pid());
                HostCall::Spawn(Box::new(SpawnCall {
                    place,
                    program,
                    entry: entry.into(),
                    argument,
                    monitor,
                    link: self.random.chance(30),
                    limits,
                }))
            }
            1 | 2 => HostCall::Send {
                to: self.pid(),
                tag: self.random.next() % 4,
                payload: self.payload(),
                timeout: self.duration(),
            },
            3 | 4 => HostCall::Receive {
                tag: self.random.chance(50).then(|| self.random.next() % 4),
                timeout: self.random.chance(50).then(|| self.duration()),
                capacity: self.random.below(2) * usize::MAX,
            },
            5 => HostCall::Monitor { target: self.pid() },
            6 => HostCall::Demonitor { id: self.id() },
            7 => HostCall::Kill { target: self.pid() },
            8 if self.random.chance(30) => HostCall::Exit { reason: self.reason() },
            8 => HostCall::Nodes,
            9 => HostCall::Link { target: self.pid() },
            10 => HostCall::Unlink { target: self.pid() },
            11 => HostCall::TrapExits { trap: self.random.chance(70) },
            12 | 13 => HostCall::Request {
                to: self.pid(),
                tag: self.random.next() % 4,
                payload: self.payload(),
                timeout: self.duration(),
            },
            14 => HostCall::Answer { to: self.pid(), id: self.id(), payload: self.payload() },
            15 => HostCall::Await {
                id: self.id().get(),
                timeout: self.random.chance(50).then(|| self.duration()),
                capacity: self.random.below(2) * usize::MAX,
            },
            16 => HostCall::SetTimer { after: self.duration(), tag: self.random.next() % 4 },
            18 => HostCall::Names {
                call: *self.random.pick(&[NameCall::Register, NameCall::Find, NameCall::Leave]),
                name: "n".repeat(self.random.below(70)),
            },
            17 => HostCall::CancelTimer { id: TimerId::new(self.id().get()) },
            19 => HostCall::Socket(Box::new(SocketCall::Take { timeout: None })),
            _ => HostCall::Log { level: LogLevel::Info, text: "ö".repeat(self.random.below(999)) },
        }
    }

    fn body(&mut self) -> SignalBody {
        match self.random.below(13) {
            8 | 9 => SignalBody::Request {
                id: self.id(),
                tag: self.random.next() % 4,
                payload: self.payload(),
            },
            10 => SignalBody::Answer { id: self.id(), payload: self.payload() },
            0 => SignalBody::Kill,
            4 => SignalBody::Link,
            5 => SignalBody::Unlink { id: RequestId::new(self.random.next() % 100) },
            6 => SignalBody::Unlinked { id: RequestId::new(self.random.next() % 100) },
            7 => SignalBody::Exit { reason: self.reason() },
            1 => SignalBody::Monitor { id: self.id() },
            2 => SignalBody::Demonitor { id: self.id() },
            3 => SignalBody::Down { id: self.id(), reason: self.reason() },
            _ => SignalBody::Message { tag: self.random.next() % 4, payload: self.payload() },
        }
    }

    fn spawn_reply(&mut self) -> Input {
        let random = (RequestId::new(self.random.next() % 100), self.pid());
        let known = self.requests.pop().filter(|_| self.random.chance(80));
        let (request, parent) = known.unwrap_or(random);
        let fine = self.random.chance(70);
        let result = if fine { Ok(self.pid()) } else { Err(self.error()) };
        Input::SpawnReply { request, parent, result }
    }

    fn socket_event(&mut self) -> SocketEvent {
        let to = self.pid();
        if self.random.chance(50) {
            return SocketEvent::Done { to, reply: SocketReply::Count(self.random.next() as u32) };
        }
        let (app, socket) = (AppId::new(self.random.next() % 3), SocketId::new(1));
        SocketEvent::Given { to, app, socket }
    }

    fn input(&mut self) -> Input {
        match self.random.below(17) {
            0 | 1 => Input::Spawn(Box::new(self.order())),
            2 | 3 => {
                let result = if self.random.chance(80) { Ok(()) } else { Err(self.error()) };
                Input::Started { slot: self.slot(), result }
            }
            4..=7 => {
                let outcome = match self.random.below(20) {
                    0 => Outcome::Exited(self.reason()),
                    1 => Outcome::Preempted,
                    _ => Outcome::Call(self.call()),
                };
                let used = self.duration();
                Input::Ran { slot: self.slot(), outcome, used }
            }
            8 if self.random.chance(50) => {
                Input::Names { slot: self.slot(), reply: HostReply::Done }
            }
            8 => Input::Nodes { slot: self.slot(), nodes: vec![] },
            9 | 10 => {
                let app = AppId::new(self.random.next() % 3);
                let (from, to) = (self.pid(), self.pid());
                Input::Signal(Signal { app, ..signal(from, to, self.body()) })
            }
            11 => Input::Credit {
                mailbox: self.pid(),
                messages: self.random.next() as u32 % 20,
                bytes: self.random.next() as u32,
            },
            12 => Input::Gone { pid: self.pid() },
            13 => self.spawn_reply(),
            14 => Input::SpawnHeard { child: self.pid() },
            15 => Input::Socket(self.socket_event()),
            _ => {
                let Pid { node, incarnation, .. } = self.pid();
                Input::NodeLost { node, incarnation }
            }
        }
    }
}

#[test]
fn garbage() {
    for seed in seeds(SEEDS) {
        let _replay = Replay { test: "garbage", seed };
        let mut rig = Rig::with_room(PROCESSES_MAX);
        let mut liar = Liar { random: Random::new(seed), pids: Vec::new(), requests: Vec::new() };
        let mut resumed = 0;
        for _ in 0..INPUTS {
            let input = liar.input();
            let mut out = Vec::new();
            rig.shard.step(input, rig.now, &mut out);
            check(&rig.shard);
            if liar.random.chance(50) {
                rig.now += Duration::from_micros(200);
                rig.shard.step(Input::Tick, rig.now, &mut out);
                check(&rig.shard);
            }
            assert!(rig.shard.len() <= PROCESSES_MAX);
            for effect in out {
                match effect {
                    Effect::Host(HostEffect::Start(start)) => liar.pids.push(start.pid),
                    Effect::Place { order, .. } => {
                        liar.requests.push((order.request, order.parent));
                    }
                    Effect::Host(HostEffect::Run { resume: Resume::Reply(_), .. }) => resumed += 1,
                    _ => {}
                }
            }
        }
        assert!(liar.pids.len() > 50, "only {} processes", liar.pids.len());
        assert!(resumed > 100, "only {resumed} calls were answered");
        assert_nothing_is_left(&mut rig, &liar.pids);
    }
}

/// Ends every process and looks that its slot, its timers and its monitors are free.
fn assert_nothing_is_left(rig: &mut Rig, pids: &[Pid]) {
    let mut out = Vec::new();
    for &pid in pids {
        let kill = Signal { app: AppId::new(0), ..signal(away(2, 1), pid, SignalBody::Kill) };
        rig.shard.step(Input::Signal(kill), rig.now, &mut out);
        rig.shard.step(Input::Started { slot: pid.slot, result: Ok(()) }, rig.now, &mut out);
        let (outcome, used) = (Outcome::Preempted, Duration::ZERO);
        rig.shard.step(Input::Ran { slot: pid.slot, outcome, used }, rig.now, &mut out);
        check(&rig.shard);
    }
    assert!(rig.shard.is_empty());
    assert!(rig.shard.watches.is_empty());
    assert_eq!((rig.shard.deadline(), rig.shard.runnable()), (None, false));
}
