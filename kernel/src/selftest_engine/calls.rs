//! Tests of the host calls: what leaves the fiber, and what the guest finds of the answer.
//!
//! The guest checks what it gets and traps with `unreachable` where it is wrong.

use super::{Bench, INCARNATION, NODE, Outcomes, check};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::{
    Duration, ErrorCode, ExitReason, Incarnation, MonitorId, NodeId, Payload, Pid, Place,
    ProcessLimits, ProgramId, Slot, TimerId, TrapKind, limit,
};
use craton_shard::port::{
    HostCall, HostReply, LivingNode, LogLevel, NameCall, Outcome, Received, Resume, SpawnCall,
};

/// What a process is expected to ask, and the answer.
pub(super) type Talk = Vec<(HostCall, HostReply)>;

/// Runs `entry`, answers as `talk` says, and expects the end to be `normal`.
pub(super) fn converse(bench: &mut Bench, entry: &str, argument: &[u8], talk: Talk) -> Outcomes {
    let slot = bench.start(entry, argument)?;
    let mut resume = Resume::Start;
    for (expected, reply) in talk {
        match bench.advance(slot, resume) {
            Outcome::Call(call) if call == expected => resume = Resume::Reply(reply),
            other => return Err(format!("{entry}: {other:?} instead of {expected:?}")),
        }
    }
    let end = bench.finish(slot, resume).map_err(|why| format!("{entry}: {why}"))?;
    check(end == ExitReason::Normal, || format!("{entry} ended with {end}"))
}

pub(super) fn pid_a() -> Pid {
    Pid::from_bytes(b"pid A, twenty-four bytes")
}

pub(super) fn pid_b() -> Pid {
    Pid::from_bytes(b"pid B, twenty-four bytes")
}

/// A pid that begins with a number that the guest knows.
pub(super) fn pid_known() -> Pid {
    Pid { node: NodeId::new(0x3333), incarnation: Incarnation::new(1), slot: Slot::default() }
}

pub(super) fn failed(error: ErrorCode) -> HostReply {
    HostReply::Failed(error)
}

pub(super) fn own_calls(bench: &mut Bench) -> Outcomes {
    check(NODE.get() == 0x1111 && INCARNATION.get() == 0x2222, || String::from("the pid"))?;
    converse(bench, "own", b"an argument", Vec::from([]))?;
    converse(bench, "random_long", b"", Vec::from([(HostCall::Yield, HostReply::Done)]))
}

pub(super) fn log_yield_exit(bench: &mut Bench) -> Outcomes {
    let line = |level, text: &str| {
        Vec::from([(HostCall::Log { level, text: text.into() }, HostReply::Done)])
    };
    converse(bench, "log", b"", line(LogLevel::Warn, "a message"))?;
    converse(bench, "log_not_text", b"", line(LogLevel::Debug, "\u{fffd}\u{fffd} x"))?;
    converse(bench, "yield", b"", Vec::from([(HostCall::Yield, HostReply::Done)]))?;
    let end = bench.run("exit", b"")?;
    check(end == ExitReason::Shutdown, || format!("exit ended with {end}"))?;
    let end = bench.run("exit_claims_killed", b"")?;
    check(matches!(end, ExitReason::Trap(TrapKind::Other, _)), || {
        format!("a process that claims to be killed ended with {end}")
    })
}

pub(super) fn spawn(bench: &mut Bench) -> Outcomes {
    let mut program = [0; 32];
    program[..24].copy_from_slice(b"pid A, twenty-four bytes");
    let first = HostCall::Spawn(Box::new(SpawnCall {
        place: Place::Node(NodeId::new(7)),
        program: Some(ProgramId(program)),
        entry: "child".into(),
        argument: Payload(b"a message".to_vec()),
        monitor: true,
        link: false,
        limits: ProcessLimits {
            memory_bytes: 65536,
            mailbox_messages: 7,
            ..ProcessLimits::default()
        },
    }));
    let second = HostCall::Spawn(Box::new(SpawnCall {
        place: Place::Near(pid_b()),
        program: None,
        entry: "child".into(),
        argument: Payload::default(),
        monitor: false,
        link: true,
        limits: ProcessLimits::default(),
    }));
    let spawned = HostReply::Spawned { pid: pid_known(), monitor: Some(MonitorId::new(0x44)) };
    let talk = Vec::from([(first, spawned), (second, failed(ErrorCode::LimitProcesses))]);
    converse(bench, "spawn", b"", talk)?;
    converse(bench, "spawn_odd", b"", Vec::new())
}

pub(super) fn send_and_receive(bench: &mut Bench) -> Outcomes {
    let send = |to, tag, text: &[u8], timeout| HostCall::Send {
        to,
        tag,
        payload: Payload(text.to_vec()),
        timeout,
    };
    let talk = Vec::from([
        (send(pid_a(), u64::MAX - 1, b"a message", limit::SEND_TIMEOUT), HostReply::Done),
        (send(pid_b(), 0, b"", Duration::ZERO), failed(ErrorCode::Full)),
    ]);
    converse(bench, "send", b"", talk)?;
    let receive = |nanos: Option<u64>| HostCall::Receive {
        tag: Some(9),
        timeout: nanos.map(Duration::from_nanos),
        capacity: 16,
    };
    let from = pid_known();
    let message = Received::Message { from, tag: 9, payload: Payload(b"hello".to_vec()) };
    let down = Received::Down { from, id: MonitorId::new(0x55), reason: ExitReason::Killed };
    let talk = Vec::from([
        (receive(None), HostReply::Received(message)),
        (receive(Some(0)), HostReply::Received(down)),
        (receive(Some(5)), HostReply::Longer { bytes: 17 }),
        (receive(Some(5)), failed(ErrorCode::TimedOut)),
    ]);
    converse(bench, "receive", b"", talk)
}

pub(super) fn requests_and_timers(bench: &mut Bench) -> Outcomes {
    let id = MonitorId::new(0x55);
    let request = |to, tag, text: &[u8], timeout| HostCall::Request {
        to,
        tag,
        payload: Payload(text.to_vec()),
        timeout,
    };
    let payload = Payload(b"a message".to_vec());
    let answer = HostCall::Answer { to: pid_a(), id: MonitorId::new(0x66), payload };
    let await_news = HostCall::Await { id: id.get(), timeout: None, capacity: 16 };
    let receive = HostCall::Receive { tag: Some(9), timeout: None, capacity: 16 };
    let (from, hello) = (pid_known(), Payload(b"hello".to_vec()));
    let answered = Received::Answer { from, id, payload: hello.clone() };
    let asked = Received::Request { from, tag: 9, payload: hello, id: MonitorId::new(0x77) };
    let set = HostCall::SetTimer { after: Duration::from_nanos(5), tag: 3 };
    let timer = TimerId::new(0x88);
    let talk = Vec::from([
        (request(pid_a(), 7, b"a message", limit::SEND_TIMEOUT), HostReply::Monitoring(id)),
        (request(pid_b(), 0, b"", Duration::ZERO), failed(ErrorCode::LimitRequests)),
        (answer, HostReply::Done),
        (await_news, HostReply::Received(answered)),
        (receive.clone(), HostReply::Received(asked)),
        (set.clone(), HostReply::Timer(timer)),
        (set, failed(ErrorCode::LimitTimers)),
        (HostCall::CancelTimer { id: timer }, HostReply::Flag(true)),
        (receive, HostReply::Received(Received::Timer { id: timer, tag: 3 })),
    ]);
    converse(bench, "requests", b"", talk)
}

pub(super) fn names(bench: &mut Bench) -> Outcomes {
    let asks = |call| HostCall::Names { call, name: "child".into() };
    let talk = Vec::from([
        (asks(NameCall::Register), HostReply::Done),
        (asks(NameCall::Register), failed(ErrorCode::Taken)),
        (asks(NameCall::Find), HostReply::Pids(Vec::from([pid_known()]))),
        (asks(NameCall::Find), HostReply::Pids(Vec::new())),
        (asks(NameCall::Unregister), HostReply::Flag(true)),
        (asks(NameCall::Join), HostReply::Done),
        (asks(NameCall::Members), HostReply::Pids(Vec::from([pid_known(), pid_a()]))),
        (asks(NameCall::Leave), HostReply::Flag(false)),
    ]);
    converse(bench, "names", b"", talk)
}

pub(super) fn watch_and_nodes(bench: &mut Bench) -> Outcomes {
    let id = MonitorId::new(0x55);
    let monitor = HostCall::Monitor { target: pid_a() };
    let talk = Vec::from([
        (monitor.clone(), HostReply::Monitoring(id)),
        (monitor, failed(ErrorCode::LimitMonitors)),
        (HostCall::Demonitor { id }, HostReply::Flag(true)),
        (HostCall::Demonitor { id }, HostReply::Flag(false)),
        (HostCall::Kill { target: pid_b() }, HostReply::Done),
    ]);
    converse(bench, "watch", b"", talk)?;
    let link = HostCall::Link { target: pid_a() };
    let exit = Received::Exit { from: pid_known(), reason: ExitReason::Killed };
    let receive = HostCall::Receive { tag: Some(9), timeout: None, capacity: 16 };
    let talk = Vec::from([
        (link.clone(), HostReply::Done),
        (link, failed(ErrorCode::LimitLinks)),
        (HostCall::Unlink { target: pid_b() }, HostReply::Done),
        (HostCall::TrapExits { trap: true }, HostReply::Flag(false)),
        (HostCall::TrapExits { trap: false }, HostReply::Flag(true)),
        (receive, HostReply::Received(exit)),
    ]);
    converse(bench, "links", b"", talk)?;
    let nodes = [(0x3333, 1), (0x3334, 2), (0x3335, 1)];
    let nodes = nodes.map(|(node, shards)| LivingNode { node: NodeId::new(node), shards });
    // Once for the list, twice for the shards of one of them.
    let asked = (HostCall::Nodes, HostReply::Nodes(nodes.to_vec()));
    converse(bench, "nodes", b"", Vec::from([asked.clone(), asked.clone(), asked]))
}
