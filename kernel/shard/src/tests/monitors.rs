//! Monitors, near and far.

use super::*;
use craton_abi::Resource;
use craton_abi::limit::MONITORS_PER_PROCESS_MAX;

fn exit(rig: &mut Rig, pid: Pid) {
    rig.ran(pid, Outcome::Exited(ExitReason::Shutdown));
}

#[test]
fn each_monitor_fires_once() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let ids: Vec<MonitorId> = (0..3).map(|_| rig.monitor(a, b)).collect();
    exit(&mut rig, b);
    for id in ids {
        assert_eq!(rig.receive(a), down(b, id, ExitReason::Shutdown));
    }
    assert_eq!(rig.receive(a), None);
}

#[test]
fn a_dead_target_gives_no_process() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    exit(&mut rig, b);
    let id = rig.monitor(a, b);
    assert_eq!(rig.receive(a), down(b, id, ExitReason::NoProcess));
    let far = away(2, 1);
    let id = MonitorId::new(4);
    rig.effects();
    rig.signal(far, b, SignalBody::Monitor { id });
    let body = SignalBody::Down { id, reason: ExitReason::NoProcess };
    assert_eq!(rig.effects(), [Effect::Signal(signal(b, far, body))]);
}

#[test]
fn nothing_comes_after_demonitor() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let (early, late) = (rig.monitor(a, b), rig.monitor(a, b));
    assert_eq!(rig.call(a, HostCall::Demonitor { id: early }), Some(HostReply::Flag(false)));
    exit(&mut rig, b);
    assert_eq!(rig.call(a, HostCall::Demonitor { id: late }), Some(HostReply::Flag(true)));
    assert_eq!(rig.call(a, HostCall::Demonitor { id: late }), Some(HostReply::Flag(false)));
    assert_eq!(rig.receive(a), None);
}

#[test]
fn a_far_target_is_asked_and_answers_once() {
    let mut rig = Rig::new();
    let a = rig.process();
    let far = away(2, 1);
    let id = rig.monitor(a, far);
    let ask = Signal { trace: TraceId::new(3), ..signal(a, far, SignalBody::Monitor { id }) };
    assert_eq!(rig.effects(), [Effect::Signal(ask)]);
    let told = || SignalBody::Down { id, reason: ExitReason::Normal };
    rig.signal(away(2, 2), a, told());
    rig.signal(far, a, told());
    rig.signal(far, a, told());
    assert_eq!(rig.receive(a), down(far, id, ExitReason::Normal));
    assert_eq!(rig.receive(a), None);
    rig.step(Input::NodeLost { node: far.node, incarnation: far.incarnation });
    assert_eq!(rig.answer(a), None, "it has fired");
}

#[test]
fn a_far_monitor_is_taken_back() {
    let mut rig = Rig::new();
    let a = rig.process();
    let far = away(2, 1);
    let id = rig.monitor(a, far);
    rig.effects();
    assert_eq!(rig.call(a, HostCall::Demonitor { id }), Some(HostReply::Flag(false)));
    let body = SignalBody::Demonitor { id };
    let told = Signal { trace: TraceId::new(3), ..signal(a, far, body) };
    assert_eq!(rig.effects(), [Effect::Signal(told)]);
    rig.signal(far, a, SignalBody::Down { id, reason: ExitReason::Normal });
    rig.step(Input::NodeLost { node: far.node, incarnation: far.incarnation });
    assert_eq!(rig.receive(a), None);
}

#[test]
fn a_far_watcher_is_told_or_forgotten() {
    let mut rig = Rig::new();
    let b = rig.process();
    let id = MonitorId::new;
    for (watcher, n) in [(away(2, 1), 1), (away(2, 1), 2), (away(3, 1), 3), (away(4, 1), 4)] {
        rig.signal(watcher, b, SignalBody::Monitor { id: id(n) });
    }
    rig.signal(away(2, 1), b, SignalBody::Demonitor { id: id(2) });
    rig.step(Input::NodeLost { node: NodeId::new(3), incarnation: Incarnation::new(30) });
    rig.step(Input::NodeLost { node: NodeId::new(4), incarnation: Incarnation::new(41) });
    exit(&mut rig, b);
    let told: Vec<(Pid, SignalBody)> = rig
        .effects()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Signal(signal) => Some((signal.to, signal.body)),
            _ => None,
        })
        .collect();
    let body = |n| SignalBody::Down { id: id(n), reason: ExitReason::Shutdown };
    assert_eq!(told, [(away(2, 1), body(1)), (away(4, 1), body(4))]);
}

#[test]
fn a_lost_node_gives_no_connection() {
    let mut rig = Rig::new();
    let a = rig.process();
    let (lost, kept) = (away(2, 1), away(3, 1));
    let ids = [rig.monitor(a, lost), rig.monitor(a, kept), rig.monitor(a, lost)];
    rig.step(Input::NodeLost { node: lost.node, incarnation: lost.incarnation });
    assert_eq!(rig.receive(a), down(lost, ids[0], ExitReason::NoConnection));
    assert_eq!(rig.receive(a), down(lost, ids[2], ExitReason::NoConnection));
    assert_eq!(rig.receive(a), None);
}

#[test]
fn a_dead_watcher_takes_its_monitors_back() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let far = away(2, 1);
    rig.monitor(a, b);
    let id = rig.monitor(a, far);
    rig.effects();
    exit(&mut rig, a);
    let body = SignalBody::Demonitor { id };
    let told = Signal { trace: TraceId::new(3), ..signal(a, far, body) };
    assert!(rig.effects().contains(&Effect::Signal(told)));
    assert!(rig.shard.live(b.slot).expect("it lives").watchers.is_empty());
    assert!(rig.shard.watches.is_empty());
}

#[test]
fn there_is_an_end_to_monitors() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    for _ in 0..MONITORS_PER_PROCESS_MAX {
        rig.monitor(a, b);
    }
    let another = HostCall::Monitor { target: b };
    assert_eq!(rig.call(a, another.clone()), failed(ErrorCode::LimitMonitors));
    exit(&mut rig, b);
    assert_eq!(rig.call(a, another), failed(ErrorCode::LimitMonitors), "notices count");
    for _ in 0..MONITORS_PER_PROCESS_MAX {
        assert!(matches!(rig.receive(a), Some(HostReply::Received(Received::Down { .. }))));
    }
    rig.monitor(a, b);
}

#[test]
fn an_exit_is_seen_between_messages() {
    let mut rig = Rig::new();
    let a = rig.process();
    for _ in 0..100 {
        let (b, c) = (rig.process(), rig.process());
        let id = rig.monitor(a, b);
        rig.send(b, a, 1, 0);
        exit(&mut rig, b);
        rig.send(c, a, 2, 0);
        exit(&mut rig, c);
        assert_eq!(rig.receive_tag(a), Some(1));
        assert_eq!(rig.receive(a), down(b, id, ExitReason::Shutdown));
        assert_eq!(rig.receive_tag(a), Some(2));
    }
}

#[test]
fn monitor_ids_are_the_shards_own_and_positive() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let (first, second) = (rig.monitor(a, b), rig.monitor(a, b));
    assert_eq!(first.get() >> 55, 2, "the shard's index");
    assert_eq!(second.get(), first.get() + 1);
    assert!(first.get() <= i64::MAX as u64);
}

#[test]
fn a_notice_needs_room_in_the_callers_buffer_too() {
    let mut rig = Rig::new();
    let (a, b) = (rig.process(), rig.process());
    let id = rig.monitor(a, b);
    let reason = ExitReason::Limit(Resource::Memory);
    rig.ran(b, Outcome::Exited(reason.clone()));
    let small = HostCall::Receive { tag: None, timeout: None, capacity: 1 };
    assert_eq!(rig.call(a, small), Some(HostReply::Longer { bytes: 2 }));
    assert_eq!(rig.receive(a), down(b, id, reason));
}
