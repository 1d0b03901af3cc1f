//! What a message costs in the shard alone, with no engine.
//!
//! Run it by `cargo run --release -p craton-shard --example measure`. Owns nothing.
//!
//! Each figure is the time for one message sent and received on one shard: two calls, two ticks,
//! two runs. The host answers at once, so nothing but the shard's own work is counted.

use craton_abi::{
    AppId, Duration, Incarnation, Instant, NodeId, Payload, Pid, ProcessLimits, ProgramId,
    RequestId, ShardId, Slot, SpawnOrder, TraceId,
};
use craton_shard::port::{Effect, HostCall, HostEffect, HostReply, Input, Outcome, Resume};
use craton_shard::{Shard, ShardConfig};

const MESSAGES: u64 = 2_000_000;

struct Bench {
    shard: Shard,
    out: Vec<Effect>,
}

impl Bench {
    fn new(processes: usize, mailbox_messages: u32) -> (Self, Vec<Pid>) {
        let shard = Shard::new(ShardConfig {
            node: NodeId::new(1),
            incarnation: Incarnation::new(1),
            shard: ShardId::new(0),
            processes_max: processes,
        });
        let mut bench = Bench { shard, out: Vec::new() };
        let mut pids = Vec::new();
        for _ in 0..processes {
            let limits = ProcessLimits { mailbox_messages, ..ProcessLimits::default() };
            let order = SpawnOrder {
                request: RequestId::new(0),
                parent: Pid { node: NodeId::new(2), ..Pid::default() },
                monitor: None,
                link: false,
                app: AppId::new(1),
                trace: TraceId::new(0),
                program: ProgramId::default(),
                entry: String::from("main"),
                argument: Payload::default(),
                limits,
                shard: None,
            };
            bench.step(Input::Spawn(Box::new(order)));
            let Some(Effect::Host(HostEffect::Start(start))) = bench.out.pop() else {
                panic!("no start")
            };
            let pid = start.pid;
            bench.step(Input::Started { slot: pid.slot, result: Ok(()) });
            pids.push(pid);
        }
        (bench, pids)
    }

    fn step(&mut self, input: Input) {
        self.out.clear();
        self.shard.step(input, Instant::ZERO, &mut self.out);
    }

    fn next(&mut self) -> (Slot, Resume) {
        self.step(Input::Tick);
        match self.out.pop() {
            Some(Effect::Host(HostEffect::Run { slot, resume, .. })) => (slot, resume),
            other => panic!("nobody runs: {other:?}"),
        }
    }

    fn call(&mut self, slot: Slot, call: HostCall) {
        let (outcome, used) = (Outcome::Call(call), Duration::from_nanos(100));
        self.step(Input::Ran { slot, outcome, used });
    }
}

fn send(to: Pid, tag: u64) -> HostCall {
    let timeout = Duration::from_secs(5);
    HostCall::Send { to, tag, payload: Payload::default(), timeout }
}

fn receive(tag: Option<u64>) -> HostCall {
    HostCall::Receive { tag, timeout: None, capacity: 0 }
}

/// Pairs that each throw one message to and fro.
fn ping_pong(processes: usize) -> f64 {
    let (mut bench, pids) = Bench::new(processes, 8);
    // A new table gives places out in order.
    let partner = |slot: Slot| pids[slot.index() ^ 1];
    let mut received = 0;
    let start = std::time::Instant::now();
    while received < MESSAGES {
        let (slot, resume) = bench.next();
        let call = match resume {
            Resume::Start if slot.index() % 2 == 1 => receive(None),
            Resume::Reply(HostReply::Done) => receive(None),
            Resume::Reply(HostReply::Received(_)) => {
                received += 1;
                send(partner(slot), 0)
            }
            _ => send(partner(slot), 0),
        };
        bench.call(slot, call);
    }
    start.elapsed().as_nanos() as f64 / MESSAGES as f64
}

/// A message sent to oneself and taken by tag, behind a backlog of others.
fn by_tag(backlog: u32) -> f64 {
    let (mut bench, pids) = Bench::new(1, backlog + 1);
    let me = pids[0];
    for _ in 0..backlog {
        let (slot, _) = bench.next();
        bench.call(slot, send(me, 1));
    }
    let start = std::time::Instant::now();
    for _ in 0..MESSAGES / 4 {
        for call in [send(me, 2), receive(Some(2))] {
            let (slot, _) = bench.next();
            bench.call(slot, call);
        }
    }
    let (_, resume) = bench.next();
    assert!(matches!(resume, Resume::Reply(HostReply::Received(_))), "{resume:?}");
    start.elapsed().as_nanos() as f64 / (MESSAGES / 4) as f64
}

fn main() {
    for processes in [2, 100, 10_000, 100_000] {
        println!("send + receive, {processes} processes: {:.0} ns", ping_pong(processes));
    }
    for backlog in [0, 100, 100_000] {
        println!("send + receive by tag, {backlog} queued: {:.0} ns", by_tag(backlog));
    }
}
