//! Ends, in every state.

use super::*;
use crate::port::LogLevel;
use craton_abi::Place;
use craton_abi::limit::{EXIT_REASON_BYTES_MAX, LOG_LINE_BYTES_MAX};

fn exited(pid: Pid, reason: ExitReason) -> Effect {
    Effect::Exited { pid, reason }
}

/// Kills `victim` and sees that its watcher is told.
fn kill(rig: &mut Rig, killer: Pid, victim: Pid) {
    let id = rig.monitor(killer, victim);
    assert_eq!(rig.call(killer, HostCall::Kill { target: victim }), Some(HostReply::Done));
    assert_eq!(rig.receive(killer), down(victim, id, ExitReason::Killed));
    assert!(rig.effects.contains(&exited(victim, ExitReason::Killed)));
}

#[test]
fn a_waiting_process_is_killed_at_once() {
    let mut rig = Rig::new();
    let killer = rig.process();
    let full = rig.process_with_mailbox(0, 0);
    let ask = HostCall::Spawn(Box::new(SpawnCall {
        place: Place::Here,
        program: None,
        entry: "child".into(),
        argument: Payload::default(),
        monitor: true,
        link: false,
        limits: ProcessLimits::default(),
    }));
    let wait = HostCall::Receive { tag: None, timeout: Some(Duration::MAX), capacity: 0 };
    for call in [receive(None), wait, ask, HostCall::Nodes] {
        let victim = rig.process();
        assert_eq!(rig.call(victim, call), None);
        kill(&mut rig, killer, victim);
        let effects = rig.effects();
        assert!(effects.contains(&reclaim_of(victim)));
        assert_eq!(rig.state(victim), "gone");
    }
    assert_eq!(rig.shard.deadline(), None);
    kill(&mut rig, killer, full);
}

#[test]
fn a_waiting_sender_is_killed_and_its_message_dropped() {
    let mut rig = Rig::new();
    let killer = rig.process();
    let b = rig.process_with_mailbox(1, 0);
    let (victim, next) = (rig.process(), rig.process());
    rig.send(killer, b, 1, 0);
    assert_eq!(rig.send(victim, b, 2, 0), None);
    assert_eq!(rig.send(next, b, 3, 0), None);
    kill(&mut rig, killer, victim);
    assert_eq!(rig.receive_tag(b), Some(1));
    assert_eq!(rig.receive_tag(b), Some(3));
    assert_eq!(rig.answer(next), Some(HostReply::Done));
}

#[test]
fn a_running_process_is_reclaimed_when_its_host_lets_go() {
    let mut rig = Rig::new();
    let (killer, victim) = (rig.process(), rig.process());
    kill(&mut rig, killer, victim);
    let reclaim = reclaim_of(victim);
    assert!(!rig.effects().contains(&reclaim));
    assert_eq!(rig.state(victim), "ending");
    assert_eq!(rig.send(killer, victim, 1, 0), failed(ErrorCode::NoProcess));
    rig.ran(victim, Outcome::Call(send(killer, 9, 0, Duration::ZERO)));
    assert_eq!(rig.effects(), [reclaim]);
    assert_eq!(rig.state(victim), "gone");
    assert_eq!(rig.receive(killer), None, "what it did while it was dead does not count");
}

#[test]
fn a_runnable_process_is_killed_before_it_runs() {
    let mut rig = Rig::new();
    let order = rig.order();
    let victim = rig.starting(order);
    let mut out = Vec::new();
    let started = Input::Started { slot: victim.slot, result: Ok(()) };
    rig.shard.step(started, rig.now, &mut out);
    assert!(rig.shard.runnable());
    rig.signal(away(2, 1), victim, SignalBody::Kill);
    assert!(!rig.shard.runnable());
    assert!(rig.running.is_empty());
    assert!(rig.effects().contains(&reclaim_of(victim)));
}

#[test]
fn a_starting_process_is_killed_when_its_host_has_answered() {
    for result in [Ok(()), Err(ErrorCode::LimitMemory)] {
        let mut rig = Rig::new();
        let mut order = rig.order();
        order.monitor = Some(MonitorId::new(5));
        let (request, parent) = (order.request, order.parent);
        let victim = rig.starting(order);
        assert_eq!(rig.state(victim), "starting");
        rig.effects();
        rig.signal(away(2, 1), victim, SignalBody::Kill);
        let body = SignalBody::Down { id: MonitorId::new(5), reason: ExitReason::Killed };
        let told = Signal { trace: TraceId::new(3), ..signal(victim, parent, body) };
        let reply = Effect::SpawnReply { request, parent, result: Ok(victim) };
        let ended = exited(victim, ExitReason::Killed);
        assert_eq!(rig.effects(), [reply, Effect::Signal(told), ended]);
        rig.step(Input::Started { slot: victim.slot, result });
        let reclaim = vec![reclaim_of(victim)];
        assert_eq!(rig.effects(), if result.is_ok() { reclaim } else { vec![] });
        assert!(rig.shard.is_empty());
    }
}

#[test]
fn a_process_ends_itself_in_three_ways() {
    let mut rig = Rig::new();
    let killer = rig.process();
    let pid = rig.process();
    rig.call(pid, HostCall::Exit { reason: ExitReason::Error(vec![7; EXIT_REASON_BYTES_MAX + 1]) });
    let reason = ExitReason::Error(vec![7; EXIT_REASON_BYTES_MAX]);
    assert_eq!(rig.effects(), [reclaim_of(pid), exited(pid, reason)]);
    let pid = rig.process();
    rig.call(pid, HostCall::Kill { target: pid });
    let effects = rig.effects();
    assert_eq!(effects, [reclaim_of(pid), exited(pid, ExitReason::Killed)]);
    let pid = rig.process();
    rig.ran(pid, Outcome::Exited(ExitReason::Normal));
    assert_eq!(rig.effects(), [reclaim_of(pid)], "an orderly end is news to nobody");
    assert_eq!(rig.call(killer, HostCall::Kill { target: pid }), Some(HostReply::Done));
    let far = away(2, 1);
    assert_eq!(rig.call(killer, HostCall::Kill { target: far }), Some(HostReply::Done));
    let told = Signal { trace: TraceId::new(3), ..signal(killer, far, SignalBody::Kill) };
    assert_eq!(rig.effects(), [Effect::Signal(told)]);
}

#[test]
fn a_log_line_is_cut_on_a_character() {
    let mut rig = Rig::new();
    let pid = rig.process();
    let text = "é".repeat(LOG_LINE_BYTES_MAX);
    rig.call(pid, HostCall::Log { level: LogLevel::Info, text: alloc::format!("a{text}") });
    match &rig.effects()[..] {
        [Effect::Log { text, .. }] => assert_eq!(text.len(), LOG_LINE_BYTES_MAX - 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_nodes_are_asked_for_and_answered_once() {
    let mut rig = Rig::new();
    let pid = rig.process();
    assert_eq!(rig.call(pid, HostCall::Nodes), None);
    assert_eq!(rig.state(pid), "asking the node");
    assert_eq!(rig.effects(), [Effect::AskNodes { slot: pid.slot }]);
    let alive = |node, shards| LivingNode { node: NodeId::new(node), shards };
    let nodes = vec![alive(1, 1), alive(4, 2)];
    rig.step(Input::Nodes { slot: pid.slot, nodes: nodes.clone() });
    assert_eq!(rig.answer(pid), Some(HostReply::Nodes(nodes)));
    rig.step(Input::Nodes { slot: pid.slot, nodes: vec![] });
    assert!(matches!(&rig.effects()[..], [Effect::Log { .. }]));
}

#[test]
fn a_stale_pid_reaches_nobody_though_its_slot_is_used_again() {
    let mut rig = Rig::new();
    let a = rig.process();
    let trap = HostCall::TrapExits { trap: true };
    assert_eq!(rig.call(a, trap), Some(HostReply::Flag(false)));
    let gone = rig.process();
    rig.ran(gone, Outcome::Exited(ExitReason::Normal));
    let tenant = rig.process();
    assert_eq!(tenant.slot.index(), gone.slot.index());
    assert_ne!(tenant, gone);
    assert_eq!(rig.send(a, gone, 1, 1), failed(ErrorCode::NoProcess));
    let (payload, timeout) = (Payload(vec![]), Duration::ZERO);
    let request = HostCall::Request { to: gone, tag: 1, payload, timeout };
    assert_eq!(rig.call(a, request), failed(ErrorCode::NoProcess));
    let id = rig.monitor(a, gone);
    assert_eq!(rig.receive(a), down(gone, id, ExitReason::NoProcess));
    assert_eq!(rig.call(a, HostCall::Link { target: gone }), Some(HostReply::Done));
    let end = Received::Exit { from: gone, reason: ExitReason::NoProcess };
    assert_eq!(rig.receive(a), Some(HostReply::Received(end)));
    assert_eq!(rig.call(a, HostCall::Kill { target: gone }), Some(HostReply::Done));
    for body in [SignalBody::Kill, message(1, 1), SignalBody::Link] {
        rig.signal(away(2, 1), gone, body);
    }
    assert_eq!(rig.receive(tenant), None, "the tenant heard of nothing of this");
    assert_eq!(rig.state(tenant), "receiving");
}
